//! `[fleet]`: how nodes of a Kubernetes cluster take turns.

use std::num::NonZeroU32;
use std::time::Duration;

use reclaim_maintenance::settings;
use reclaim_maintenance::settings::{Count, Lease, Span, Text};
use reclaim_model::Watermark;

use super::InvalidSetting;

/// The longest name of the Leases, which is also the value of their label.
const MAX_LEASE_NAME: usize = 63;
/// The longest name of a Kubernetes namespace, and of a part of a node's name.
const MAX_LABEL: usize = 63;

settings! {
    pub(super) struct FleetSection in "fleet" {
        /// How many nodes of a Kubernetes cluster may remove images at once. Others wait until a node has deleted its coordination Lease. Use the same number on all nodes.
        turns: Count<0, 1_000> = Count(0), note "0 is off";
        /// Namespace of the Leases.
        namespace: Option<String>, accepts "a Kubernetes namespace", unset "the pod's";
        /// Name of the Leases, to which - and the name of the node are added.
        lease_name: String = "reclaim-turn".to_owned(),
            accepts "lower-case letters, digits and inner -, up to 63";
        /// Name of this node, as Kubernetes knows it. Each node needs its own.
        node: Option<String>, accepts "lower-case letters, digits and inner - and .", unset "NODE_NAME, or the host's name";
        /// How long a node that died keeps its Lease.
        lease_duration: Span<Lease> = Span::of_secs(60);
        /// Above this on any filesystem that holds content or snapshots, a policy waits for at most a minute, and then runs without a Lease.
        critical: Text<Watermark> = Text(Watermark::Used(95));
    }
}

/// The checked section: a cluster in which nodes take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// How many nodes may remove images at once.
    pub at_once: NonZeroU32,
    /// The namespace of the Leases; `None` for the pod's.
    pub namespace: Option<String>,
    /// The name of the Leases, without that of a node.
    pub lease_name: String,
    /// The name of this node; `None` for `NODE_NAME` or the host name.
    pub node: Option<String>,
    /// How long a node that died keeps its Lease.
    pub lease_duration: Duration,
    /// Above this mark this node does not wait for long.
    pub critical: Watermark,
}

impl Fleet {
    /// Checks the section. Returns `None` if `turns` is 0, but an invalid value is an error even then.
    pub(super) fn new(section: FleetSection) -> Result<Option<Self>, InvalidSetting> {
        let FleetSection {
            turns,
            namespace,
            lease_name,
            node,
            lease_duration,
            critical,
        } = section;
        check_name("fleet.lease_name", &lease_name, MAX_LEASE_NAME)?;
        if let Some(namespace) = &namespace {
            check_name("fleet.namespace", namespace, MAX_LABEL)?;
        }
        if let Some(node) = &node {
            for label in node.split('.') {
                check_name("fleet.node", label, MAX_LABEL)?;
            }
        }
        let Some(at_once) = NonZeroU32::new(turns.0) else {
            return Ok(None);
        };
        if cfg!(not(feature = "fleet")) {
            let problem = "reclaim was built without the `fleet` feature";
            return Err(InvalidSetting::new("fleet.turns", problem.to_owned()));
        }
        Ok(Some(Self {
            at_once,
            namespace,
            lease_name,
            node,
            lease_duration: lease_duration.0,
            critical: critical.0,
        }))
    }
}

/// Checks the name of a Lease or a namespace as Kubernetes does.
fn check_name(key: &str, name: &str, longest: usize) -> Result<(), InvalidSetting> {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_valid = (1..=longest).contains(&name.len())
        && name
            .bytes()
            .all(|byte| is_alphanumeric(byte) || byte == b'-')
        && name.bytes().next().is_some_and(is_alphanumeric)
        && name.bytes().last().is_some_and(is_alphanumeric);
    if is_valid {
        return Ok(());
    }
    let problem = format!(
        "invalid name `{name}`: accepted are 1 to {longest} lower-case letters, digits and inner -"
    );
    Err(InvalidSetting::new(key, problem))
}
