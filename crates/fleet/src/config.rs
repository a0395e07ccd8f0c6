//! The configuration of the cluster lock.

use std::num::NonZeroU32;
use std::time::Duration;

/// The leases of a cluster lock, and how this node uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterLockConfig {
    /// How many nodes may hold the lock at the same time: the number of leases. If nodes are
    /// configured differently, the largest number applies.
    pub max_holders: NonZeroU32,
    /// The namespace of the leases; by default the namespace of the pod, or of the kubeconfig.
    pub namespace: Option<String>,
    /// The name of the leases, to which `-` and a number from 0 are added.
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

    /// Returns the names of the leases in the order in which this node tries them. Nodes start at
    /// different ones, so that not all of them fail at the first.
    pub(crate) fn lease_names(&self) -> Vec<String> {
        let count = self.max_holders.get();
        let first = hash(&self.node) % count;
        (first..count)
            .chain(0..first)
            .map(|number| format!("{}-{number}", self.lease_name))
            .collect()
    }
}

/// FNV-1a. Unlike the standard library's hash it never changes, so a node keeps its order.
pub(crate) fn hash(text: &str) -> u32 {
    let mix = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_try_the_same_leases_in_different_order() {
        let mut firsts = std::collections::BTreeSet::new();
        for number in 0..20 {
            let names = ClusterLockConfig {
                max_holders: NonZeroU32::new(3).unwrap(),
                namespace: None,
                lease_name: "turn".to_owned(),
                node: format!("node-{number}"),
                lease_duration: ClusterLockConfig::MIN_LEASE,
            }
            .lease_names();
            firsts.insert(names[0].clone());
            let mut sorted = names;
            sorted.sort();
            assert_eq!(sorted, ["turn-0", "turn-1", "turn-2"]);
        }
        assert_eq!(firsts.len(), 3);
    }
}
