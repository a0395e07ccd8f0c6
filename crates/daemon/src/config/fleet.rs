//! The section about nodes that take turns: as typed, and what it means.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::meaning::MeaningError;
use super::values::{Count, Lease, Span};

/// The longest name of a lease, which a number is added to.
const MAX_LEASE_NAME: usize = 200;
/// The longest name of a namespace of Kubernetes.
const MAX_NAMESPACE: usize = 63;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FleetText {
    turns: Count<0, 1_000>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    lease_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    lease_duration: Span<Lease>,
}

impl Default for FleetText {
    fn default() -> Self {
        Self {
            turns: Count(0),
            namespace: None,
            lease_name: "reclaim-turn".to_owned(),
            node: None,
            lease_duration: Span::of_secs(60),
        }
    }
}

/// That this node waits for its turn among those of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// How many nodes have a turn at once.
    pub at_once: NonZeroU32,
    /// Where the leases are, unless in the pod's own namespace.
    pub namespace: Option<String>,
    /// What they are called, without the number.
    pub lease_name: String,
    /// What this node is called, if the file says so.
    pub node: Option<String>,
    /// How long a dead node keeps its turn.
    pub lease_duration: Duration,
}

impl Fleet {
    /// Checks what was typed. Without turns there is no fleet, but what is wrong is wrong.
    pub(super) fn new(typed: FleetText) -> Result<Option<Self>, MeaningError> {
        let FleetText {
            turns,
            namespace,
            lease_name,
            node,
            lease_duration,
        } = typed;
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
            let problem = "this reclaim was built without turns (feature `fleet`)";
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

/// Whether Kubernetes takes the name for a lease or a namespace.
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
