//! This node's part in the turns of a cluster.

use std::{env, fs, io};

use reclaim_fleet::{TurnError, Turns, TurnsConfig};

use crate::config::Fleet;

/// Why there are no turns to take.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    /// Neither the configuration nor the environment nor the kernel has a name for this node.
    #[error("find this node's name; set NODE_NAME or fleet.node")]
    NoName {
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Turns(#[from] TurnError),
}

/// Finds the cluster whose turns this node takes. Asks its API server nothing yet.
pub(crate) async fn connect(fleet: &Fleet) -> Result<Turns, FleetError> {
    let Fleet {
        at_once,
        namespace,
        lease_name,
        node,
        lease_duration,
    } = fleet.clone();
    let config = TurnsConfig {
        at_once,
        namespace,
        lease_name,
        node: match node {
            Some(node) => node,
            None => node_name()?,
        },
        lease_duration,
    };
    Ok(Turns::connect(config).await?)
}

/// Returns the name that a pod is told (`NODE_NAME`), or else the host's.
fn node_name() -> Result<String, FleetError> {
    if let Some(name) = env::var_os("NODE_NAME").filter(|it| !it.is_empty()) {
        return Ok(name.to_string_lossy().into_owned());
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.map_err(|source| FleetError::NoName { source })?;
    Ok(name.trim().to_owned())
}
