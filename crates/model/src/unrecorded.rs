//! What containerd's directories hold that is not in its records.

use serde::{Deserialize, Serialize};

use crate::Snapshotter;

/// Directories of one snapshotter that belong to none of its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrecorded {
    /// The snapshotter.
    pub snapshotter: Snapshotter,
    /// How many.
    pub directories: usize,
    /// What they occupy, in allocated bytes; at least, unless `is_exact`.
    pub bytes: u64,
    /// Whether `bytes` is everything that they occupy.
    pub is_exact: bool,
    /// Those that are known by name, sorted. The others are among the directories of records.
    pub places: Vec<Place>,
}

/// A directory that is known by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Where it is, as containerd names it.
    pub path: String,
    /// What it occupies, in allocated bytes.
    pub bytes: u64,
    /// What keeps it from being removed, if that is known.
    pub why: Option<String>,
}

/// What containerd's directories hold in addition to the bytes of records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideRecords {
    /// Directories of snapshotters without a record.
    pub unrecorded: Vec<Unrecorded>,
    /// Containerd's own files: databases, ingests, state of plugins, directories themselves.
    pub own_bytes: u64,
    /// Snapshotters whose directories cannot be looked into.
    pub unseen: Vec<Snapshotter>,
}

impl Unrecorded {
    /// Whether containerd itself removes these directories together with the next snapshot of the
    /// snapshotter. Only `overlayfs` looks for directories without a record.
    pub fn is_collected(&self) -> bool {
        &*self.snapshotter == "overlayfs"
    }
}

impl OutsideRecords {
    /// Whether nothing below containerd's directories is uncounted.
    pub fn is_whole(&self) -> bool {
        self.unseen.is_empty() && self.unrecorded.iter().all(|it| it.is_exact)
    }
}
