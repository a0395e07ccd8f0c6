//! What is to be told about turns.

use std::num::NonZeroU32;
use std::time::Duration;

/// Whose turns they are, and how many nodes have one at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnsConfig {
    /// How many nodes may have a turn at the same time. There are as many leases. All nodes should
    /// be told the same; where they are not, the largest number holds.
    pub at_once: NonZeroU32,
    /// The namespace of the leases. Without one it is that of the pod, or of the kubeconfig.
    pub namespace: Option<String>,
    /// What the leases are called: this, `-`, and a number from 0.
    pub lease_name: String,
    /// This node's name, which no other node may have: by it a daemon that was restarted finds
    /// what it held.
    pub node: String,
    /// For how long a node that has died keeps its turn.
    pub lease_duration: Duration,
}

impl TurnsConfig {
    /// The shortest lease. Below it, one slow answer of the API server is a lost turn.
    pub const MIN_LEASE: Duration = Duration::from_secs(15);
    /// The longest lease. So long does a node that died keep the others waiting.
    pub const MAX_LEASE: Duration = Duration::from_secs(60 * 60);

    pub(crate) fn lease_seconds(&self) -> i32 {
        i32::try_from(self.lease_duration.as_secs()).unwrap_or(i32::MAX)
    }

    /// Returns the leases' names, in the order in which this node asks for them. Nodes begin at
    /// different ones, so that not all fail at the first.
    pub(crate) fn lease_names(&self) -> Vec<String> {
        let count = self.at_once.get();
        let first = hash(&self.node) % count;
        let numbers = (first..count).chain(0..first);
        numbers
            .map(|number| format!("{}-{number}", self.lease_name))
            .collect()
    }
}

/// FNV-1a. The standard library's hash may change, and the same node should ask in the same order.
pub(crate) fn hash(text: &str) -> u32 {
    let mix = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_ask_for_the_same_leases_in_different_order() {
        let mut firsts = std::collections::BTreeSet::new();
        for number in 0..20 {
            let names = TurnsConfig {
                at_once: NonZeroU32::new(3).unwrap(),
                namespace: None,
                lease_name: "turn".to_owned(),
                node: format!("node-{number}"),
                lease_duration: TurnsConfig::MIN_LEASE,
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
