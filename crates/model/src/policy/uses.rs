//! What an observation of a namespace, or one of its events, says about the use of its images.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{Digest, Namespace};

/// The targets of a namespace at one time, and which of them are in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetsInUse {
    /// Every target that a record points at.
    pub present: BTreeMap<Digest, PresentTarget>,
    /// Those of them that are or may be in use.
    pub used: BTreeSet<Digest>,
    /// The targets that each container uses, by its ID.
    pub containers: BTreeMap<String, BTreeSet<Digest>>,
}

/// A target that is there.
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
    /// When it was made. Moving a name to another target does not change it.
    pub created: Option<Timestamp>,
    /// When it was last written.
    pub updated: Option<Timestamp>,
}

/// Something that happened in a containerd and that last use depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseEvent {
    /// Where.
    pub namespace: Namespace,
    /// When, by the clock of the server.
    pub at: Timestamp,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A container was created, or its record changed.
    ContainerWritten {
        /// Its ID.
        id: String,
        /// What it was created from, as its engine wrote it; may be empty.
        image: String,
    },
    /// A container's record is gone.
    ContainerDeleted {
        /// Its ID.
        id: String,
    },
    /// A container's process began or ended.
    Task {
        /// The container's ID.
        container: String,
    },
    /// A record was made or changed.
    ImageWritten {
        /// Its name.
        name: String,
        /// Its contents, which the event itself does not have.
        record: Option<WrittenRecord>,
    },
    /// A record is gone.
    ImageDeleted {
        /// Its name.
        name: String,
    },
    /// An undo by Reclaim is about to write a record again, which is not a pull.
    ImageRestoring {
        /// Its name.
        name: String,
    },
    /// A snapshot was prepared on another.
    SnapshotPrepared {
        /// The key of the other; `None` without a parent.
        parent: Option<String>,
    },
    /// A snapshot was committed, or is gone.
    SnapshotChanged,
    /// Something that cannot be read.
    Unclear,
}

/// The contents of a record that was just written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenRecord {
    /// What it points at.
    pub target: Digest,
    /// When it was written, by its own field.
    pub times: RecordTimes,
}
