//! This node's part in the turns of a cluster.

use std::error::Error;
use std::{env, fmt, fs, io};

use async_trait::async_trait;
use reclaim_engine::{HostTurn, HostTurns};
use reclaim_fleet::{Turn, TurnError, Turns, TurnsConfig};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

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

/// The turns by a configuration. The cluster is looked for when the first turn is wanted: a node
/// whose API server is away starts all the same.
pub(crate) struct ClusterTurns {
    fleet: Fleet,
    turns: OnceCell<Turns>,
}

/// This node's turn.
struct NodeTurn(Turn);

impl ClusterTurns {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self {
            fleet,
            turns: OnceCell::new(),
        }
    }
}

impl fmt::Debug for ClusterTurns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("ClusterTurns");
        debug.field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

#[async_trait]
impl HostTurns for ClusterTurns {
    async fn take(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn HostTurn>, Box<dyn Error + Send + Sync>> {
        let turns = self.turns.get_or_try_init(|| connect(&self.fleet)).await?;
        Ok(Box::new(NodeTurn(turns.take(cancel).await?)))
    }
}

#[async_trait]
impl HostTurn for NodeTurn {
    fn lost(&self) -> CancellationToken {
        self.0.lost()
    }

    async fn give_back(self: Box<Self>) {
        self.0.give_back().await;
    }
}

/// Finds the cluster whose turns this node takes. Asks its API server nothing yet.
async fn connect(fleet: &Fleet) -> Result<Turns, FleetError> {
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
