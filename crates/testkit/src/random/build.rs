//! Builds a store in a containerd.
//!
//! No lease holds the objects meanwhile, so containerd must not collect by itself:
//! [`Containerd::quiet`] starts one that does not. Objects are created concurrently, snapshots after
//! their parents, and leases last.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use tonic::{Code, Status};

use super::store::{ObjectKind, RandomStore, StoreObject};
use crate::containerd::{Containerd, ContainerdBuilder};
use crate::namespace::{
    NamespaceClient, NewContainer, NewLease, SnapshotKind, unique_lease_id, write_file,
};

/// The objects that are created concurrently. containerd writes one at a time; a few requests keep it
/// busy.
const CONCURRENT: usize = 16;

/// The name of the file of a snapshot.
const FILE: &str = "file";

impl Containerd {
    /// Returns a builder for a containerd that collects only on request.
    ///
    /// A collection at another time would free the garbage that a test has just created. After each
    /// collection the scheduler pauses for the time it took, divided by this threshold: for hours.
    /// Call [`NamespaceClient::collect`] once, because the first collection starts the pause.
    pub fn quiet() -> ContainerdBuilder {
        Self::builder().collector_option("pause_threshold", "0.0000001")
    }
}

impl RandomStore {
    /// Builds the store in a containerd that is [quiet](Containerd::quiet) and has no objects of the
    /// same names.
    pub async fn build(&self, containerd: &Containerd) -> Result<(), Status> {
        let namespaces: BTreeSet<&str> = self
            .objects
            .iter()
            .map(|object| &*object.namespace)
            .collect();
        let clients: BTreeMap<&str, NamespaceClient> = namespaces
            .into_iter()
            .map(|name| (name, containerd.namespace(name)))
            .collect();
        let create = |object| create(&clients, object);
        let (snapshots, others): (Vec<&StoreObject>, Vec<&StoreObject>) = self
            .objects
            .iter()
            .partition(|object| matches!(object.kind, ObjectKind::Snapshot { .. }));
        let (leases, others): (Vec<&StoreObject>, Vec<&StoreObject>) = others
            .into_iter()
            .partition(|object| matches!(object.kind, ObjectKind::Lease { .. }));
        let others = stream::iter(others)
            .map(create)
            .buffer_unordered(CONCURRENT)
            .try_collect::<Vec<()>>();
        let snapshots = async {
            for generation in generations(&snapshots) {
                let siblings = stream::iter(generation)
                    .map(create)
                    .buffer_unordered(CONCURRENT);
                siblings.try_collect::<Vec<()>>().await?;
            }
            Ok(())
        };
        futures::try_join!(others, snapshots)?;
        let leases = stream::iter(leases)
            .map(create)
            .buffer_unordered(CONCURRENT);
        leases.try_collect::<Vec<()>>().await?;
        Ok(())
    }
}

/// A snapshot: namespace, snapshotter and key.
type SnapshotId<'a> = (&'a str, &'a str, &'a str);

/// Groups snapshots by the number of their ancestors. Those without an existing parent are left out,
/// with their descendants.
fn generations<'a>(snapshots: &[&'a StoreObject]) -> Vec<Vec<&'a StoreObject>> {
    let mut depths: BTreeMap<SnapshotId<'a>, usize> = BTreeMap::new();
    let mut generations: Vec<Vec<&StoreObject>> = Vec::new();
    for object in snapshots {
        let ObjectKind::Snapshot {
            snapshotter,
            key,
            parent,
            kind: _,
            bytes: _,
        } = &object.kind
        else {
            continue;
        };
        let depth = match parent {
            None => Some(0),
            Some(parent) => {
                let below = depths.get(&(&*object.namespace, &**snapshotter, &**parent));
                below.map(|below| below + 1)
            }
        };
        if let Some(depth) = depth {
            depths.insert((&object.namespace, snapshotter, key), depth);
            generations.resize_with(generations.len().max(depth + 1), Vec::new);
            generations[depth].push(object);
        }
    }
    generations
}

async fn create(
    clients: &BTreeMap<&str, NamespaceClient>,
    object: &StoreObject,
) -> Result<(), Status> {
    let client = &clients[&*object.namespace];
    let labels = &object.labels;
    match &object.kind {
        ObjectKind::Blob { bytes, note: _ } => {
            client.write_blob(bytes, labels).await?;
            Ok(())
        }
        ObjectKind::Snapshot { .. } => create_snapshot(client, object).await,
        ObjectKind::Image {
            name,
            target,
            created,
        } => {
            let created_at = created
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|_| invalid("time", object))?;
            client
                .create_image_at(name, target, labels, created_at)
                .await
        }
        ObjectKind::Container {
            id,
            image,
            snapshot,
        } => {
            let mut container = NewContainer::new(id).image(image).labels(labels.clone());
            if let Some((snapshotter, key)) = snapshot {
                container = container.snapshot(snapshotter, key);
            }
            client.create_container(container).await
        }
        ObjectKind::Lease { id, resources } => {
            client
                .create_lease(NewLease::new(id).labels(labels.clone()))
                .await?;
            for resource in resources {
                ignore_unsupported(client.add_lease_resource(id, resource).await)?;
            }
            Ok(())
        }
        ObjectKind::Ingest { reference, bytes } => {
            client.begin_ingest(reference, &vec![b'i'; *bytes]).await
        }
        ObjectKind::Sandbox { id } => ignore_unsupported(client.create_sandbox(id, labels).await),
    }
}

/// Prepares, fills and, by its kind, commits a snapshot.
async fn create_snapshot(client: &NamespaceClient, object: &StoreObject) -> Result<(), Status> {
    let ObjectKind::Snapshot {
        snapshotter,
        key,
        parent,
        kind,
        bytes,
    } = &object.kind
    else {
        return Err(invalid("snapshot", object));
    };
    let labels = &object.labels;
    let parent = parent.as_deref().unwrap_or_default();
    let file = vec![b's'; *bytes];
    match kind {
        SnapshotKind::View => {
            client.view(snapshotter, key, parent, labels).await?;
        }
        SnapshotKind::Active => {
            let mounts = client.prepare(snapshotter, key, parent, labels).await?;
            write_file(&mounts, FILE, &file);
        }
        SnapshotKind::Committed => {
            let temporary = unique_lease_id("commit");
            let mounts = client
                .prepare(snapshotter, &temporary, parent, labels)
                .await?;
            write_file(&mounts, FILE, &file);
            client.commit(snapshotter, key, &temporary, labels).await?;
        }
    }
    Ok(())
}

/// Ignores the error of a server that does not support the object.
fn ignore_unsupported(result: Result<(), Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code() == Code::Unimplemented => Ok(()),
        result => result,
    }
}

fn invalid(part: &str, object: &StoreObject) -> Status {
    Status::invalid_argument(format!("invalid {part}: {object}"))
}
