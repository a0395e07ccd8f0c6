//! What was to be freed and is still there, with who holds it.

use crate::{Digest, Holder, Namespace, SnapshotId};

/// One thing that was to go and is still there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// What it is.
    pub thing: LeftThing,
    /// How much of it was to be freed, as in [`Freed`](crate::Freed).
    pub bytes: u64,
    /// Who holds it, sorted. Empty if nobody can be seen to: then the next collection takes it.
    pub holders: Vec<(Namespace, Holder)>,
}

/// What is left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftThing {
    /// A blob.
    Blob(Digest),
    /// A snapshot.
    Snapshot(SnapshotId),
}
