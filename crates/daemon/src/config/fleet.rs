//! The cluster of `[fleet]`, checked.

use std::num::NonZeroU32;
use std::time::Duration;

use super::file::FleetSection;
use super::meaning::MeaningError;

/// The longest name of a Lease, to which a number is added.
const MAX_LEASE_NAME: usize = 200;
/// The longest name of a Kubernetes namespace.
const MAX_NAMESPACE: usize = 63;

/// A cluster in which nodes take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// How many nodes may remove images at once.
    pub at_once: NonZeroU32,
    /// The namespace of the Leases, unless it is the pod's.
    pub namespace: Option<String>,
    /// The name of the Leases, without the number.
    pub lease_name: String,
    /// The name of this node, if the file has it.
    pub node: Option<String>,
    /// How long a node that died keeps its Lease.
    pub lease_duration: Duration,
}

impl Fleet {
    /// Checks the section; `None` without turns. Invalid values are errors in any case.
    pub(super) fn new(section: FleetSection) -> Result<Option<Self>, MeaningError> {
        let FleetSection {
            turns,
            namespace,
            lease_name,
            node,
            lease_duration,
        } = section;
        if !is_kubernetes_name(&lease_name, MAX_LEASE_NAME) {
            return Err(MeaningError::new(
                "fleet.lease_name",
                not_a_name(&lease_name, MAX_LEASE_NAME),
            ));
        }
        if let Some(namespace) = namespace.as_deref()
            && !is_kubernetes_name(namespace, MAX_NAMESPACE)
        {
            return Err(MeaningError::new(
                "fleet.namespace",
                not_a_name(namespace, MAX_NAMESPACE),
            ));
        }
        if node.as_deref().is_some_and(|it| it.trim().is_empty()) {
            return Err(MeaningError::new(
                "fleet.node",
                "the name is empty".to_owned(),
            ));
        }
        let Some(at_once) = NonZeroU32::new(turns.0) else {
            return Ok(None);
        };
        if cfg!(not(feature = "fleet")) {
            let problem = "this program was built without the feature `fleet`";
            return Err(MeaningError::new("fleet.turns", problem.to_owned()));
        }
        Ok(Some(Self {
            at_once,
            namespace,
            lease_name,
            node,
            lease_duration: lease_duration.0,
        }))
    }
}

/// Whether Kubernetes accepts the name for a Lease or a namespace.
fn is_kubernetes_name(name: &str, longest: usize) -> bool {
    let is_inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    (1..=longest).contains(&name.len())
        && name.bytes().all(|it| is_inner(it) || it == b'-')
        && name.bytes().next().is_some_and(is_inner)
        && name.bytes().last().is_some_and(is_inner)
}

fn not_a_name(name: &str, longest: usize) -> String {
    format!("name is not 1 to {longest} lower-case letters, digits and inner -: `{name}`")
}
