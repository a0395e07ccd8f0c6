//! A filesystem that holds content or snapshots, at one moment.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Freed, Snapshotter};

/// How much of something there is, and how much of it is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// All of it.
    pub total: u64,
    /// What any process may still take, without the blocks that are reserved for root.
    pub left: u64,
}

impl Room {
    /// Returns what is not left.
    pub fn used(self) -> u64 {
        self.total.saturating_sub(self.left)
    }

    /// Returns the used percentage, rounded down; 0 if there is nothing.
    pub fn used_percent(self) -> u64 {
        let percent = u128::from(self.used()) * 100 / u128::from(self.total.max(1));
        u64::try_from(percent).unwrap_or(100)
    }
}

/// A filesystem that holds content or snapshots, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// Where it is mounted, as this process sees it.
    pub mount_point: PathBuf,
    /// Length of a block in bytes. Files occupy whole ones.
    #[serde(rename = "block_bytes")]
    pub block: u64,
    /// Its bytes.
    #[serde(flatten, with = "BytesForm")]
    pub bytes: Room,
    /// Its inodes; zero if it creates them on demand.
    #[serde(flatten, with = "InodesForm")]
    pub inodes: Room,
    /// Whether it holds the content store.
    #[serde(rename = "content")]
    pub has_content: bool,
    /// The snapshotters whose snapshots it holds.
    pub snapshotters: BTreeSet<Snapshotter>,
}

impl Filesystem {
    /// Returns the bytes of these blobs, in whole blocks of this length, and snapshots that it holds.
    pub fn bytes_of(&self, things: &Freed, block: u64) -> u64 {
        let blobs = things.blobs.iter().filter(|_| self.has_content);
        let blobs = blobs.map(|blob| blob.bytes.next_multiple_of(block.max(1)));
        let snapshots = things.snapshots.iter();
        let snapshots = snapshots.filter(|it| self.snapshotters.contains(&it.id.snapshotter));
        let snapshots = snapshots.map(|snapshot| snapshot.bytes.unwrap_or(0));
        blobs.chain(snapshots).fold(0, u64::saturating_add)
    }

    /// Returns the filesystem with the largest used part; of several, the first.
    pub fn fullest(all: &[Self]) -> Option<&Self> {
        let product = |used: &Self, total: &Self| {
            u128::from(used.bytes.used()) * u128::from(total.bytes.total.max(1))
        };
        all.iter()
            .rev()
            .max_by(|a, b| product(a, b).cmp(&product(b, a)))
    }
}

/// The JSON form of the bytes of a filesystem.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Room")]
struct BytesForm {
    #[serde(rename = "total_bytes")]
    total: u64,
    #[serde(rename = "left_bytes")]
    left: u64,
}

/// The JSON form of the inodes of a filesystem.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Room")]
struct InodesForm {
    #[serde(rename = "total_inodes")]
    total: u64,
    #[serde(rename = "left_inodes")]
    left: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, FreedBlob, FreedSnapshot, SnapshotId};

    fn blob(bytes: u64) -> FreedBlob {
        let digest: Digest = format!("sha256:{bytes:064x}").parse().unwrap();
        FreedBlob { digest, bytes }
    }

    fn snapshot(snapshotter: &str, bytes: Option<u64>) -> FreedSnapshot {
        let id = SnapshotId::new(snapshotter, "layer");
        FreedSnapshot { id, bytes }
    }

    #[test]
    fn the_fullest_has_the_largest_used_part() {
        let filesystem = |mount_point: &str, total, left| Filesystem {
            mount_point: mount_point.into(),
            block: 1,
            bytes: Room { total, left },
            inodes: Room::default(),
            has_content: false,
            snapshotters: BTreeSet::new(),
        };
        let all = [
            filesystem("/large", u64::MAX, u64::MAX / 2),
            filesystem("/full", 100, 10),
            filesystem("/as full", 1000, 100),
            filesystem("/empty", 0, 0),
        ];
        let fullest =
            |all: &[Filesystem]| Filesystem::fullest(all).map(|it| it.mount_point.clone());
        assert_eq!(fullest(&all), Some("/full".into()));
        assert_eq!(fullest(&all[..1]), Some("/large".into()));
        assert_eq!(fullest(&[]), None);
    }

    #[test]
    fn content_counts_in_blocks_and_snapshots_where_they_are() {
        let things = Freed::new(
            vec![blob(1), blob(4096)],
            vec![
                snapshot("overlayfs", Some(10)),
                snapshot("overlayfs", None),
                snapshot("native", Some(100)),
            ],
        );
        for (has_content, snapshotters, block, bytes) in [
            (false, &[][..], 1, 0),
            (true, &[], 1, 4097),
            (true, &[], 4096, 8192),
            (true, &["overlayfs"], 0, 4107),
            (false, &["native", "overlayfs"], 4096, 110),
        ] {
            let filesystem = Filesystem {
                mount_point: "/".into(),
                block,
                bytes: Room::default(),
                inodes: Room::default(),
                has_content,
                snapshotters: snapshotters
                    .iter()
                    .map(|it| Snapshotter::from(*it))
                    .collect(),
            };
            assert_eq!(filesystem.bytes_of(&things, block), bytes, "{filesystem:?}");
        }
    }

    #[test]
    fn what_is_used_is_what_is_not_left() {
        for (total, left, used, percent) in [
            (1000, 150, 850, 85),
            (1000, 141, 859, 85),
            (1000, 0, 1000, 100),
            (1000, 1000, 0, 0),
            // More left than there is, and a filesystem that creates inodes on demand.
            (1000, 1001, 0, 0),
            (0, 0, 0, 0),
            (u64::MAX, 0, u64::MAX, 100),
        ] {
            let room = Room { total, left };
            assert_eq!(
                (room.used(), room.used_percent()),
                (used, percent),
                "{room:?}"
            );
        }
    }
}
