//! Putting a described store into a containerd.
//!
//! No lease holds what is written on the way, so the containerd must not collect by itself:
//! [`Containerd::quiet`] starts one that does not. Kind after kind, the things of one kind side
//! by side; only a snapshot waits for its parent.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use tonic::{Code, Status};

use super::store::{RandomStore, Thing, What};
use crate::containerd::{Containerd, ContainerdBuilder};
use crate::namespace::{
    NamespaceClient, NewContainer, NewLease, SnapshotKind, unique_lease_id, write_file,
};

/// How many things are made at a time. containerd writes one after the other; a few on their
/// way keep it from waiting.
const AT_ONCE: usize = 16;

/// The one file of a snapshot.
const FILE: &str = "file";

impl Containerd {
    /// Returns a builder for a containerd that collects only when it is asked to.
    ///
    /// A collection that runs by itself would take away what a test has just put there as
    /// waiting garbage. The scheduler rests after each collection for as long as it took,
    /// divided by this threshold: for hours. It has to have made its first, so
    /// [`NamespaceClient::collect`] once.
    pub fn quiet() -> ContainerdBuilder {
        Self::builder().collector_option("pause_threshold", "0.0000001")
    }
}

impl RandomStore {
    /// Puts the store into a containerd that is [quiet](Containerd::quiet) and has nothing of
    /// the same names.
    pub async fn build(&self, containerd: &Containerd) -> Result<(), Status> {
        let namespaces: BTreeSet<&str> = self.things.iter().map(|it| &*it.namespace).collect();
        let clients: BTreeMap<&str, NamespaceClient> = namespaces
            .into_iter()
            .map(|name| (name, containerd.namespace(name)))
            .collect();
        let make = |thing| make(&clients, thing);
        let (snapshots, others): (Vec<&Thing>, Vec<&Thing>) = self
            .things
            .iter()
            .partition(|it| matches!(it.what, What::Snapshot { .. }));
        let (leases, others): (Vec<&Thing>, Vec<&Thing>) = others
            .into_iter()
            .partition(|it| matches!(it.what, What::Lease { .. }));
        let others = stream::iter(others).map(make).buffer_unordered(AT_ONCE);
        let others = others.try_collect::<Vec<()>>();
        let snapshots = async {
            for generation in generations(&snapshots) {
                let level = stream::iter(generation).map(make).buffer_unordered(AT_ONCE);
                level.try_collect::<Vec<()>>().await?;
            }
            Ok(())
        };
        futures::try_join!(others, snapshots)?;
        let leases = stream::iter(leases).map(make).buffer_unordered(AT_ONCE);
        leases.try_collect::<Vec<()>>().await?;
        Ok(())
    }
}

/// A snapshot's place: namespace, snapshotter and key.
type Place<'a> = (&'a str, &'a str, &'a str);

/// Sorts snapshots by the number of their ancestors. Those whose parent is not there are left
/// out, and what stands on them.
fn generations<'a>(snapshots: &[&'a Thing]) -> Vec<Vec<&'a Thing>> {
    let mut depths: BTreeMap<Place<'a>, usize> = BTreeMap::new();
    let mut generations: Vec<Vec<&Thing>> = Vec::new();
    for thing in snapshots {
        let What::Snapshot {
            snapshotter,
            key,
            parent,
            kind: _,
            bytes: _,
        } = &thing.what
        else {
            continue;
        };
        let depth = match parent {
            None => Some(0),
            Some(parent) => {
                let below = depths.get(&(&*thing.namespace, &**snapshotter, &**parent));
                below.map(|below| below + 1)
            }
        };
        if let Some(depth) = depth {
            depths.insert((&thing.namespace, snapshotter, key), depth);
            generations.resize_with(generations.len().max(depth + 1), Vec::new);
            generations[depth].push(thing);
        }
    }
    generations
}

async fn make(clients: &BTreeMap<&str, NamespaceClient>, thing: &Thing) -> Result<(), Status> {
    let client = &clients[&*thing.namespace];
    let labels = &thing.labels;
    match &thing.what {
        What::Blob { bytes, note: _ } => {
            client.write_blob(bytes, labels).await?;
            Ok(())
        }
        What::Snapshot { .. } => make_snapshot(client, thing).await,
        What::Image {
            name,
            target,
            created,
        } => {
            let created = created.as_deref().map(str::parse);
            let created = created.transpose().map_err(|_| bad("time", thing))?;
            client.create_image_at(name, target, labels, created).await
        }
        What::Container {
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
        What::Lease { id, resources } => {
            client
                .create_lease(NewLease::new(id).labels(labels.clone()))
                .await?;
            for resource in resources {
                unless_unknown(client.add_lease_resource(id, resource).await)?;
            }
            Ok(())
        }
        What::Ingest { reference, bytes } => {
            client.begin_ingest(reference, &vec![b'i'; *bytes]).await
        }
        What::Sandbox { id } => unless_unknown(client.create_sandbox(id, labels).await),
    }
}

/// Prepares, fills and, if it is to be so, commits a snapshot.
async fn make_snapshot(client: &NamespaceClient, thing: &Thing) -> Result<(), Status> {
    let What::Snapshot {
        snapshotter,
        key,
        parent,
        kind,
        bytes,
    } = &thing.what
    else {
        return Err(bad("snapshot", thing));
    };
    let labels = &thing.labels;
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
            let passing = unique_lease_id("commit");
            let mounts = client
                .prepare(snapshotter, &passing, parent, labels)
                .await?;
            write_file(&mounts, FILE, &file);
            client.commit(snapshotter, key, &passing, labels).await?;
        }
    }
    Ok(())
}

/// Passes over what an older server does not know.
fn unless_unknown(made: Result<(), Status>) -> Result<(), Status> {
    match made {
        Err(status) if status.code() == Code::Unimplemented => Ok(()),
        made => made,
    }
}

fn bad(what: &str, thing: &Thing) -> Status {
    Status::invalid_argument(format!("no {what}: {thing}"))
}
