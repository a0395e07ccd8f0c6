//! What snapshots occupy, as far as their snapshotters say so.

use std::collections::BTreeMap;

use crate::{SnapshotId, Snapshotter};

/// What each snapshot occupies by itself, in bytes or in inodes.
///
/// A snapshot without an entry was gone when it was measured. One whose size its snapshotter does
/// not know, or whose directory cannot be walked, is there and of unknown size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotSizes {
    sizes: BTreeMap<SnapshotId, Option<u64>>,
    /// By snapshotter: how many have no size, and why the first has none.
    unknown: BTreeMap<Snapshotter, (usize, String)>,
}

impl SnapshotSizes {
    /// Enters a size.
    pub fn insert(&mut self, id: SnapshotId, size: u64) {
        self.sizes.insert(id, Some(size));
    }

    /// Enters that a snapshot is there and its size is not known, and why.
    pub fn insert_unknown(&mut self, id: SnapshotId, why: &str) {
        let unknown = self.unknown.entry(id.snapshotter.clone());
        let (count, _) = unknown.or_insert_with(|| (0, why.to_owned()));
        *count += 1;
        self.sizes.insert(id, None);
    }

    /// Returns the size of a snapshot: `None` if it was gone, `Some(None)` if it is unknown.
    pub fn get(&self, id: &SnapshotId) -> Option<Option<u64>> {
        self.sizes.get(id).copied()
    }

    /// Returns every snapshot that was there with its size, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&SnapshotId, Option<u64>)> {
        self.sizes.iter().map(|(id, size)| (id, *size))
    }

    /// Returns for a person which sizes are not known, and why: one line for each snapshotter.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.unknown.iter().map(|(snapshotter, (count, why))| {
            let plural = if *count == 1 { "" } else { "s" };
            format!(
                "the size of {count} snapshot{plural} of `{snapshotter}` is unknown and counts as \
                 nothing: {why}"
            )
        })
    }
}

impl FromIterator<(SnapshotId, u64)> for SnapshotSizes {
    fn from_iter<T: IntoIterator<Item = (SnapshotId, u64)>>(sizes: T) -> Self {
        let sizes = sizes.into_iter();
        Self {
            sizes: sizes.map(|(id, size)| (id, Some(size))).collect(),
            unknown: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_known_or_unknown_or_the_snapshot_was_gone() {
        let id = |key: &str| SnapshotId::new("lazy", key);
        let mut sizes = SnapshotSizes::from_iter([(id("known"), 7)]);
        assert_eq!(sizes.warnings().count(), 0);
        sizes.insert_unknown(id("a"), "no such file");
        sizes.insert_unknown(id("b"), "another reason");
        sizes.insert_unknown(SnapshotId::new("zfs", "c"), "not implemented");
        assert_eq!(sizes.get(&id("known")), Some(Some(7)));
        assert_eq!(sizes.get(&id("a")), Some(None));
        assert_eq!(sizes.get(&id("gone")), None);
        let expected = [
            "the size of 2 snapshots of `lazy` is unknown and counts as nothing: no such file",
            "the size of 1 snapshot of `zfs` is unknown and counts as nothing: not implemented",
        ];
        assert_eq!(sizes.warnings().collect::<Vec<_>>(), expected);
    }
}
