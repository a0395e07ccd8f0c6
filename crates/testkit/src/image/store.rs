//! Stores a rendered image in a namespace: blobs, snapshots and record, under a lease.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt, stream};
use reclaim_model::Digest;
use tonic::{Code, Status};

use super::blob::Blob;
use super::builder::Record;
use super::built::{BuiltImage, put_record};
use super::layer::Layer;
use super::manifest::RenderedManifest;
use crate::labels::labels;
use crate::namespace::{
    Deletion, Descriptor, LeaseResource, NamespaceClient, NewLease, unique_lease_id, write_file,
};

/// The blobs that are written concurrently. containerd commits one at a time, so more would wait.
const CONCURRENT_WRITES: usize = 8;

/// A rendered image, not stored yet.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) target: Descriptor,
    /// The blobs that are not of `manifests`: the index and attestations.
    pub(crate) blobs: Vec<Blob>,
    pub(crate) manifests: Vec<RenderedManifest>,
}

/// Stores the image.
///
/// Without a lease, a concurrent collection could free the first blobs before the record exists.
pub(super) async fn store(
    namespace: &NamespaceClient,
    record: Record,
    rendered: Rendered,
) -> Result<BuiltImage, Status> {
    if let Some(lease) = namespace.lease() {
        return store_leased(namespace, lease, record, rendered).await;
    }
    let lease = unique_lease_id("build");
    namespace.create_lease(NewLease::new(&lease)).await?;
    let leased = namespace.with_lease(&lease);
    let built = store_leased(&leased, &lease, record, rendered).await;
    namespace.delete_lease(&lease, Deletion::Async).await?;
    built
}

async fn store_leased(
    namespace: &NamespaceClient,
    lease: &str,
    record: Record,
    rendered: Rendered,
) -> Result<BuiltImage, Status> {
    let Rendered {
        target,
        blobs,
        manifests,
    } = rendered;
    let blobs = write_blobs(namespace, blobs, &manifests).await?;
    for manifest in &manifests {
        if manifest.built.present {
            for snapshotter in &manifest.built.snapshotters {
                let chain = manifest.layers.iter().zip(&manifest.built.chain_ids);
                unpack(namespace, lease, snapshotter, chain).await?;
            }
        }
    }
    if let Some(name) = &record.name {
        put_record(namespace, name, &target, &record.labels, record.created).await?;
    }
    Ok(BuiltImage {
        name: record.name,
        target,
        record_labels: record.labels,
        manifests: manifests
            .into_iter()
            .map(|manifest| manifest.built)
            .collect(),
        blobs,
    })
}

/// Writes all blobs, each digest once, and returns their sizes.
async fn write_blobs(
    namespace: &NamespaceClient,
    blobs: Vec<Blob>,
    manifests: &[RenderedManifest],
) -> Result<BTreeMap<Digest, u64>, Status> {
    let of_manifests = manifests.iter().flat_map(|manifest| &manifest.blobs);
    let mut unique: BTreeMap<&Digest, Blob> = BTreeMap::new();
    for blob in blobs.iter().chain(of_manifests) {
        unique
            .entry(&blob.descriptor.digest)
            .or_insert_with(|| blob.clone())
            .labels
            .extend(blob.labels.clone());
    }
    let sizes = unique
        .iter()
        .map(|(digest, blob)| ((*digest).clone(), blob.descriptor.size))
        .collect();
    stream::iter(unique.into_values())
        .map(async |blob| namespace.write_blob(&blob.bytes, &blob.labels).await)
        .buffer_unordered(CONCURRENT_WRITES)
        .try_collect::<Vec<Digest>>()
        .await?;
    Ok(sizes)
}

/// Creates the chain of snapshots as containerd's unpacker does.
async fn unpack<'a>(
    namespace: &NamespaceClient,
    lease: &str,
    snapshotter: &str,
    chain: impl Iterator<Item = (&'a Layer, &'a Digest)>,
) -> Result<(), Status> {
    let mut parent = String::new();
    for (layer, chain_id) in chain {
        let name = chain_id.to_string();
        // Retries only if the snapshot was created or removed meanwhile.
        while !hold_snapshot(namespace, lease, snapshotter, &name).await?
            && !unpack_layer(namespace, snapshotter, &parent, layer, &name).await?
        {}
        parent = name;
    }
    Ok(())
}

/// Adds a snapshot to the lease, and returns whether it exists. Checks again after adding it, because
/// a collection may have removed it meanwhile, and containerd adds resources that do not exist.
async fn hold_snapshot(
    namespace: &NamespaceClient,
    lease: &str,
    snapshotter: &str,
    name: &str,
) -> Result<bool, Status> {
    if !exists(namespace, snapshotter, name).await? {
        return Ok(false);
    }
    let resource = LeaseResource::snapshot(snapshotter, name);
    namespace.add_lease_resource(lease, &resource).await?;
    exists(namespace, snapshotter, name).await
}

async fn exists(
    namespace: &NamespaceClient,
    snapshotter: &str,
    name: &str,
) -> Result<bool, Status> {
    match namespace.snapshot(snapshotter, name).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(status),
    }
}

/// Prepares a snapshot on the parent under a temporary key, fills it, and commits it under its chain
/// ID. Returns false if another build did so meanwhile.
async fn unpack_layer(
    namespace: &NamespaceClient,
    snapshotter: &str,
    parent: &str,
    layer: &Layer,
    name: &str,
) -> Result<bool, Status> {
    static EXTRACTIONS: AtomicU64 = AtomicU64::new(0);
    let number = EXTRACTIONS.fetch_add(1, Ordering::Relaxed);
    let key = format!("extract-{}-{number} {name}", std::process::id());
    let labels = labels([("containerd.io/snapshot.ref", name)]);
    let unpacked = async {
        let preparation = namespace.prepare(snapshotter, &key, parent, &labels);
        let file = write_file(&preparation.await?, &layer.file_name(), &layer.file());
        fs::set_permissions(file, Permissions::from_mode(layer.mode()))
            .expect("the file was just created");
        namespace.commit(snapshotter, name, &key, &labels).await
    };
    match unpacked.await {
        Ok(()) => Ok(true),
        Err(status) if status.code() == Code::AlreadyExists => Ok(false),
        Err(status) => Err(status),
    }
}
