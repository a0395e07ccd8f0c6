//! Unpacked layers that only build history holds.

use serde::{Deserialize, Serialize};

use crate::{Digest, Freed, SnapshotId, form};

/// What becomes of unpacked layers that nothing but build history holds.
///
/// Builders keep the results of past builds by leases that never expire. Such a lease holds an
/// image's configuration and, through a label of it, all that was unpacked of the image, long
/// after the last record of the image went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildHistory {
    /// They stay. The plan says how much they are.
    #[default]
    Keep,
    /// The configurations release them. The configurations and the leases stay.
    Unpin,
}

/// A configuration that releases the unpacked layers of its image: it loses the label that
/// refers to the snapshot, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unpin {
    /// The configuration.
    pub config: Digest,
    /// The top of the chain that was unpacked of it.
    #[serde(flatten)]
    pub snapshot: SnapshotId,
}

/// What only build history holds, and would be freed if the request had it so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// How many configurations hold it.
    pub configs: usize,
    /// What it is.
    #[serde(flatten, with = "form::amount")]
    pub freed: Freed,
}
