//! What was planned to go and is still there, with its holders.

use serde::{Deserialize, Serialize};

use crate::{Digest, Holder, Namespace, SnapshotId};

/// A blob or snapshot that was planned to go and that the collection left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Left {
    /// Which.
    #[serde(flatten)]
    pub thing: LeftThing,
    /// What it occupies, in bytes.
    pub bytes: u64,
    /// Everything that holds it, sorted. Without a holder the next collection takes it.
    pub holders: Vec<LeftHolder>,
}

/// A blob or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LeftThing {
    /// A blob.
    Blob {
        /// Its digest.
        digest: Digest,
    },
    /// A snapshot.
    Snapshot(SnapshotId),
}

/// A holder, in whichever namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftHolder {
    /// The namespace of the holder.
    pub namespace: Namespace,
    /// The holder.
    #[serde(flatten)]
    pub holder: Holder,
}
