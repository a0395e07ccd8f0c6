//! Built images, with all their digests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reclaim_model::Digest;
use tonic::{Code, Status};

use crate::labels::Labels;
use crate::namespace::{Descriptor, NamespaceClient};

/// Labels that moby does not copy to a dangling record.
const NAME_LABELS: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    pub(super) name: Option<String>,
    /// The target of the record: a manifest or an index.
    pub target: Descriptor,
    /// The labels of the record.
    pub record_labels: Labels,
    /// The manifests, in the order of the index; attestations are not included.
    pub manifests: Vec<BuiltManifest>,
    /// All written blobs with their sizes, including those of attestations.
    pub blobs: BTreeMap<Digest, u64>,
}

/// A built manifest, the image of one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltManifest {
    /// The platform, such as `linux/amd64`.
    pub platform: String,
    /// The manifest.
    pub manifest: Descriptor,
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first. They are uncompressed, so their digests are the diff IDs.
    pub layers: Vec<Descriptor>,
    /// The chain IDs, lowest first, which are the names of the snapshots if it is unpacked.
    pub chain_ids: Vec<Digest>,
    /// The snapshotters that it is unpacked in.
    pub snapshotters: Vec<String>,
    /// Whether the blobs were written.
    pub present: bool,
}

impl BuiltManifest {
    /// Returns the first snapshotter that it is unpacked in, and the top snapshot.
    pub fn unpacked(&self) -> Option<(&str, &Digest)> {
        let snapshotter = self.snapshotters.first().filter(|_| self.present)?;
        Some((snapshotter, self.chain_ids.last()?))
    }
}

impl BuiltImage {
    /// Returns the name of the record.
    ///
    /// # Panics
    ///
    /// If the image was built without one.
    pub fn name(&self) -> &str {
        let name = self.name.as_deref();
        name.expect("this image was built without a record")
    }

    /// Returns the total size of all written blobs.
    pub fn bytes(&self) -> u64 {
        self.blobs.values().sum()
    }

    /// Returns the snapshotter and the top snapshot of the first unpacked manifest.
    ///
    /// # Panics
    ///
    /// If the image is not unpacked.
    pub fn unpacked(&self) -> (&str, &Digest) {
        let unpacked = self.manifests.iter().find_map(BuiltManifest::unpacked);
        unpacked.expect("this image was built without `unpack`, or without layers")
    }

    /// Labels the target with the repository of the image's name as the source, as a pull does.
    ///
    /// # Panics
    ///
    /// If the image has no name with a registry.
    pub async fn pulled(self, namespace: &NamespaceClient) -> Result<Self, Status> {
        let (registry, path) = self.name().split_once('/').expect("a registry");
        let repository = path.split(['@', ':']).next().unwrap_or(path);
        let label = format!("containerd.io/distribution.source.{registry}");
        let target = &self.target.digest;
        namespace.set_blob_label(target, &label, repository).await?;
        Ok(self)
    }

    /// Creates the record `name` with the same target, or points an existing one to it.
    pub async fn tag(&self, namespace: &NamespaceClient, name: &str) -> Result<Self, Status> {
        put_record(namespace, name, &self.target, &self.record_labels, None).await?;
        Ok(Self {
            name: Some(name.to_owned()),
            ..self.clone()
        })
    }

    /// Creates the record `moby-dangling@<digest>`, by which moby keeps an image that has lost its
    /// last name. The named record, if there is one, stays.
    pub async fn dangling(&self, namespace: &NamespaceClient) -> Result<Self, Status> {
        let mut dangling = self.clone();
        for label in NAME_LABELS {
            dangling.record_labels.remove(label);
        }
        let name = format!("moby-dangling@{}", self.target.digest);
        dangling.tag(namespace, &name).await
    }
}

/// Creates a record, or updates an existing one as a pull does, which keeps its creation time.
pub(super) async fn put_record(
    namespace: &NamespaceClient,
    name: &str,
    target: &Descriptor,
    labels: &Labels,
    created: Option<Timestamp>,
) -> Result<(), Status> {
    let creation = namespace.create_image_at(name, target, labels, created);
    match creation.await {
        Err(status) if status.code() == Code::AlreadyExists => {
            namespace.update_image(name, target, labels).await
        }
        other => other,
    }
}
