//! The configuration of the cluster lock.

use std::num::NonZeroU32;
use std::time::Duration;

/// The leases of a cluster lock, and how this node uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterLockConfig {
    /// How many nodes may hold the lock at the same time. If nodes are configured differently, the
    /// largest number applies.
    pub max_holders: NonZeroU32,
    /// The namespace of the leases; by default the namespace of the pod, or of the kubeconfig.
    pub namespace: Option<String>,
    /// The name of the leases, to which `-` and the name of a node are added. It is also the value of
    /// their label.
    pub lease_name: String,
    /// The name of this node, which must be unique: by it a restarted daemon finds its own lease.
    pub node: String,
    /// How long a node that died holds its lease.
    pub lease_duration: Duration,
}

impl ClusterLockConfig {
    /// The shortest lease. With a shorter one, a single slow answer would lose the lock.
    pub const MIN_LEASE: Duration = Duration::from_secs(15);
    /// The longest lease. A node that died makes the others wait as long.
    pub const MAX_LEASE: Duration = Duration::from_secs(60 * 60);

    pub(crate) fn lease_seconds(&self) -> i32 {
        i32::try_from(self.lease_duration.as_secs()).unwrap_or(i32::MAX)
    }

    /// Returns the name of the lease of this node.
    pub(crate) fn own_lease(&self) -> String {
        format!("{}-{}", self.lease_name, self.node)
    }
}

/// FNV-1a. Unlike the standard library's hash it never changes, so a node keeps its pauses.
pub(crate) fn hash(text: &str) -> u32 {
    let mix = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, mix)
}
