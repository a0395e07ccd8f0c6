//! A filesystem that holds content or snapshots, at one moment.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Snapshotter;

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
