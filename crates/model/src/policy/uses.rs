//! What a scan or an event of a namespace says about the use of its images.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{Digest, Namespace};

/// The targets of a namespace that a scan found, and which of them are in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetsInUse {
    /// Every target that a record points at.
    pub present: BTreeMap<Digest, PresentTarget>,
    /// Those of them that are, or may be, in use.
    pub used: BTreeSet<Digest>,
    /// The targets that each container uses, by its ID.
    pub containers: BTreeMap<String, BTreeSet<Digest>>,
    /// How many image records a prune would keep because their image cannot be read.
    pub unreadable: usize,
}

/// A target that a scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresentTarget {
    /// The names that point at it.
    pub names: BTreeMap<String, RecordTimes>,
    /// The chain IDs under which its platforms are unpacked.
    pub chains: BTreeSet<Digest>,
}

/// When a record was written; `None` if unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordTimes {
    /// When it was created. Moving a name to another target does not change it.
    pub created: Option<Timestamp>,
    /// When it was last written.
    pub updated: Option<Timestamp>,
}

/// An event of containerd that concerns the use of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseEvent {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its time, by the clock of the server.
    pub at: Timestamp,
    /// What happened.
    pub kind: UseEventKind,
}

/// The kind of a [`UseEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UseEventKind {
    /// A container was created, or its record changed.
    ContainerWritten {
        /// Its ID.
        id: String,
        /// What it was created from, as its engine wrote it; may be empty.
        image: String,
    },
    /// A container's record was deleted.
    ContainerDeleted {
        /// Its ID.
        id: String,
    },
    /// A container's process began or ended.
    Task {
        /// The container's ID.
        container: String,
    },
    /// An image record was created or changed.
    ImageWritten {
        /// Its name.
        name: String,
        /// Its contents, which are not part of containerd's event.
        record: Option<WrittenRecord>,
    },
    /// An image record was deleted.
    ImageDeleted {
        /// Its name.
        name: String,
    },
    /// Reclaim is about to restore an image record, which is not a pull.
    ImageRestoring {
        /// Its name.
        name: String,
    },
    /// A snapshot was prepared on another.
    SnapshotPrepared {
        /// The key of the other; `None` if there is none.
        parent: Option<String>,
    },
    /// A snapshot was committed or removed.
    SnapshotChanged,
    /// An event that cannot be decoded.
    Unclear,
}

/// The contents of a record that was just written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenRecord {
    /// Its target.
    pub target: Digest,
    /// When it was written, by its own times.
    pub times: RecordTimes,
}
