//! How large images are, and how much of that they share.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{Digest, Document, Inventory, Namespace, NamespaceInventory, SnapshotId};

use crate::anatomy::Anatomy;
use crate::finder::Blobs;
use crate::targets::Targets;

/// The size of one image, in bytes. Content is counted in apparent bytes, snapshots in
/// allocated ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageSize {
    /// All blobs of the image that are present.
    pub content: u64,
    /// All snapshots to which it is unpacked, in every snapshotter.
    pub unpacked: u64,
    /// The part of both that images with another target have too.
    pub shared: u64,
}

/// What the images of a namespace are made of. Their snapshots have to be measured to turn it
/// into sizes.
#[derive(Debug)]
pub struct Makeup<'a> {
    by_target: BTreeMap<&'a Digest, Parts<'a>>,
    namespace: Option<&'a NamespaceInventory>,
}

#[derive(Debug)]
struct Parts<'a> {
    blobs: BTreeSet<&'a Digest>,
    snapshots: BTreeSet<SnapshotId>,
}

/// Finds the blobs and snapshots of every image of a namespace.
pub fn makeup<'a>(inventory: &'a Inventory, namespace: &Namespace) -> Makeup<'a> {
    let Some(namespace) = inventory.namespaces.get(namespace) else {
        return Makeup {
            by_target: BTreeMap::new(),
            namespace: None,
        };
    };
    let targets = Targets::new(namespace, &Blobs::new(&namespace.blobs), inventory);
    let parts = targets.iter().map(|(_, target)| {
        let parts = Parts {
            blobs: blobs(&target.anatomy, inventory),
            snapshots: snapshots(&target.anatomy, namespace),
        };
        (target.digest, parts)
    });
    Makeup {
        by_target: parts.collect(),
        namespace: Some(namespace),
    }
}

impl Makeup<'_> {
    /// Returns every snapshot of an image, each once, sorted.
    pub fn snapshots(&self) -> Vec<SnapshotId> {
        let all: BTreeSet<_> = self
            .by_target
            .values()
            .flat_map(|it| &it.snapshots)
            .collect();
        all.into_iter().cloned().collect()
    }

    /// Returns the sizes by target, given the bytes of each snapshot.
    pub fn sizes(&self, bytes: &BTreeMap<SnapshotId, u64>) -> BTreeMap<&Digest, ImageSize> {
        let mut blob_users: BTreeMap<&Digest, usize> = BTreeMap::new();
        let mut snapshot_users: BTreeMap<&SnapshotId, usize> = BTreeMap::new();
        for parts in self.by_target.values() {
            parts
                .blobs
                .iter()
                .for_each(|it| *blob_users.entry(it).or_default() += 1);
            parts
                .snapshots
                .iter()
                .for_each(|it| *snapshot_users.entry(it).or_default() += 1);
        }
        let size_of = |parts: &Parts<'_>| {
            let mut size = ImageSize::default();
            for digest in &parts.blobs {
                let bytes = self.blob_bytes(digest);
                size.content += bytes;
                size.shared += if blob_users[digest] > 1 { bytes } else { 0 };
            }
            for id in &parts.snapshots {
                let bytes = bytes.get(id).copied().unwrap_or(0);
                size.unpacked += bytes;
                size.shared += if snapshot_users[id] > 1 { bytes } else { 0 };
            }
            size
        };
        let sizes = self
            .by_target
            .iter()
            .map(|(target, parts)| (*target, size_of(parts)));
        sizes.collect()
    }

    /// Bytes of a blob; nothing for one that is not there.
    fn blob_bytes(&self, digest: &Digest) -> u64 {
        let blobs = self.namespace.map_or(&[][..], |namespace| &namespace.blobs);
        let found = blobs.binary_search_by(|blob| blob.digest.cmp(digest));
        found.map_or(0, |at| blobs[at].size)
    }
}

/// Every blob of the image, present or not.
fn blobs<'a>(anatomy: &Anatomy<'a>, inventory: &'a Inventory) -> BTreeSet<&'a Digest> {
    let mut blobs: BTreeSet<&Digest> = anatomy.identity.iter().copied().collect();
    for digest in &anatomy.identity {
        if let Some(Document::Index(children) | Document::Manifest(children)) =
            inventory.documents.get(digest)
        {
            blobs.extend(children.iter().map(|child| &child.digest));
        }
    }
    blobs
}

/// The chains of snapshots to which the image is unpacked, from the top down.
fn snapshots(anatomy: &Anatomy<'_>, namespace: &NamespaceInventory) -> BTreeSet<SnapshotId> {
    let mut found = BTreeSet::new();
    for (snapshotter, shelf) in &namespace.snapshots {
        for chain in &anatomy.chains {
            let mut key = Some(chain.to_string());
            while let Some(at) = key.take().and_then(|key| {
                shelf
                    .binary_search_by(|snapshot| (*snapshot.key).cmp(&*key))
                    .ok()
            }) {
                let snapshot = &shelf[at];
                if found.insert(SnapshotId::new(snapshotter.clone(), &*snapshot.key)) {
                    key = snapshot.parent.as_deref().map(str::to_owned);
                }
            }
        }
    }
    found
}
