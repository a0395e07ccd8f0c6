//! What images hold together: each blob and snapshot once.

use std::collections::BTreeMap;

use reclaim_model::{Filesystem, Snapshotter};

use crate::timeline::ObjectKey;

/// The blobs and snapshots of images, each once.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// The length of a block, of which files occupy whole ones.
    pub(super) block: u64,
    users: BTreeMap<ObjectKey, u32>,
    /// In whole blocks.
    content: u64,
    snapshots: BTreeMap<Snapshotter, u64>,
    /// By their lengths.
    pub(super) bytes: u64,
}

impl Holdings {
    /// Adds the objects of an image. Returns the bytes of blobs that no other image has.
    pub(super) fn add(&mut self, objects: &[(ObjectKey, u64)]) -> u64 {
        let mut new = 0;
        for (key, bytes) in objects {
            let users = self.users.entry(key.clone()).or_default();
            *users += 1;
            if *users == 1 {
                let size = self.size_of(key, *bytes);
                *self.place(key) += size;
                self.bytes += *bytes;
                new += if matches!(key, ObjectKey::Blob(_)) {
                    *bytes
                } else {
                    0
                };
            }
        }
        new
    }

    /// Takes the objects of an image away. Returns the bytes of those that no other image has.
    pub(super) fn remove(&mut self, objects: &[(ObjectKey, u64)]) -> u64 {
        let mut gone = 0;
        for (key, bytes) in objects {
            let Some(users) = self.users.get_mut(key) else {
                continue;
            };
            *users -= 1;
            if *users == 0 {
                self.users.remove(key);
                let size = self.size_of(key, *bytes);
                let place = self.place(key);
                *place = place.saturating_sub(size);
                self.bytes = self.bytes.saturating_sub(*bytes);
                gone += *bytes;
            }
        }
        gone
    }

    fn size_of(&self, key: &ObjectKey, bytes: u64) -> u64 {
        match key {
            ObjectKey::Blob(_) => bytes.next_multiple_of(self.block.max(1)),
            ObjectKey::Snapshot { .. } => bytes,
        }
    }

    fn place(&mut self, key: &ObjectKey) -> &mut u64 {
        match key {
            ObjectKey::Blob(_) => &mut self.content,
            ObjectKey::Snapshot { snapshotter, .. } => {
                self.snapshots.entry(snapshotter.clone()).or_default()
            }
        }
    }

    /// Returns the bytes on a filesystem.
    pub(super) fn bytes_on(&self, filesystem: &Filesystem) -> u64 {
        let content = if filesystem.has_content {
            self.content
        } else {
            0
        };
        let here = |snapshotter| self.snapshots.get(snapshotter).copied().unwrap_or(0);
        let snapshots = filesystem.snapshotters.iter().map(here);
        snapshots.fold(content, u64::saturating_add)
    }
}
