//! The store, object by object: which images keep each blob and snapshot.
//!
//! The page draws it, the screen adds it up, and `df --format ncdu` lists it. See `docs/json.md`
//! for its form.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Column, Digest, DiskUsage, Namespace, Platform};

/// Every blob and snapshot of a containerd, and which images keep it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreMap {
    /// When containerd was read.
    pub observed_at: Timestamp,
    /// The totals of the same observation, with the images of each namespace.
    pub usage: DiskUsage,
    /// The objects of each namespace, in the order of [`DiskUsage::namespaces`].
    pub namespaces: Vec<NamespaceMap>,
}

/// The objects of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceMap {
    /// Every blob and snapshot, each once: blobs by digest, then snapshots by snapshotter and key.
    pub objects: Vec<StoredObject>,
    /// What each image consists of, in the order of [`NamespaceUsage::image_usage`].
    ///
    /// [`NamespaceUsage::image_usage`]: crate::NamespaceUsage::image_usage
    pub images: Vec<Vec<ManifestObjects>>,
}

/// A blob or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// What it is.
    pub kind: ObjectKind,
    /// The digest of a blob; `SNAPSHOTTER/KEY` of a snapshot.
    pub id: String,
    /// Its length, or what the snapshot occupies by itself; `None` if that is not known.
    pub bytes: Option<u64>,
    /// Why it is on disk.
    pub column: Column,
    /// The images that keep it, by position, ascending.
    pub images: Vec<u32>,
    /// Whether it stays when all these images are removed: something else keeps it, such as a lease,
    /// a container or another namespace.
    pub held: bool,
}

/// What an object is, by its bytes and by the manifests that list it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A list of manifests.
    Index,
    /// The manifest of a platform, or of an artifact.
    Manifest,
    /// A configuration.
    Config,
    /// A compressed layer.
    Layer,
    /// Other content, such as a build cache or an attestation.
    Content,
    /// A snapshot.
    Snapshot,
}

impl ObjectKind {
    /// Returns it for a person.
    pub fn text(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::Content => "content",
            Self::Snapshot => "unpacked",
        }
    }
}

/// An index or manifest of an image, and the objects that it lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestObjects {
    /// Which document.
    pub digest: Digest,
    /// The platform, if it is the manifest of one and its configuration is here.
    pub platform: Option<Platform>,
    /// The document itself, and for a manifest its configuration, layers and snapshots, the base
    /// first: positions in [`NamespaceMap::objects`]. What is not here is left out.
    pub objects: Vec<u32>,
}

impl StoreMap {
    /// Returns the objects of a namespace; `None` if the map does not have it.
    pub fn namespace(&self, namespace: &Namespace) -> Option<&NamespaceMap> {
        let mut namespaces = self.usage.namespaces.iter().zip(&self.namespaces);
        let found = namespaces.find(|(usage, _)| usage.namespace == *namespace);
        found.map(|(_, map)| map)
    }

    /// Leaves out all namespaces except one. The totals stay those of all.
    pub fn retain_namespace(&mut self, only: &Namespace) {
        let mut is_it = self
            .usage
            .namespaces
            .iter()
            .map(|usage| usage.namespace == *only);
        self.namespaces.retain(|_| is_it.next() == Some(true));
        self.usage
            .namespaces
            .retain(|usage| usage.namespace == *only);
    }
}

impl NamespaceMap {
    /// Returns what removing images, by position, frees together.
    pub fn freed_by(&self, is_removed: impl Fn(u32) -> bool) -> u64 {
        let freed = self
            .objects
            .iter()
            .filter(|object| object.is_freed_by(&is_removed));
        freed.filter_map(|object| object.bytes).sum()
    }
}

impl StoredObject {
    /// Whether removing images, by position, frees it.
    pub fn is_freed_by(&self, is_removed: impl Fn(u32) -> bool) -> bool {
        !self.held && !self.images.is_empty() && self.images.iter().all(|image| is_removed(*image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(bytes: Option<u64>, images: &[u32], held: bool) -> StoredObject {
        StoredObject {
            kind: ObjectKind::Layer,
            id: String::new(),
            bytes,
            column: Column::Unused,
            images: images.to_vec(),
            held,
        }
    }

    #[test]
    fn an_object_goes_with_the_last_image_that_keeps_it() {
        let map = NamespaceMap {
            objects: vec![
                object(Some(1), &[0], false),
                object(Some(10), &[1], false),
                object(Some(100), &[0, 1], false),
                object(Some(1000), &[0, 1], true),
                object(Some(10_000), &[], false),
                object(None, &[0], false),
            ],
            images: Vec::new(),
        };
        let freed = |removed: &[u32]| map.freed_by(|image| removed.contains(&image));
        assert_eq!(freed(&[]), 0);
        assert_eq!(freed(&[0]), 1);
        assert_eq!(freed(&[1]), 10);
        assert_eq!(freed(&[0, 1]), 111);
    }
}
