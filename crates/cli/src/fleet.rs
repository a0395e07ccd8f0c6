//! The turns of a cluster's nodes, for the engine that waits for them.

use std::error::Error;

use async_trait::async_trait;
use reclaim_engine::{HostTurn, HostTurns};
use reclaim_fleet::{Turn, Turns, TurnsConfig};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::config::Fleet;

/// The variable by which a pod is told the name of its node.
const NODE_VARIABLE: &str = "NODE_NAME";

/// The turns by a configuration. The cluster is looked for when the first turn is wanted: a node
/// whose API server is away starts all the same.
pub(crate) struct ClusterTurns {
    fleet: Fleet,
    turns: OnceCell<Turns>,
}

struct NodeTurn(Turn);

impl std::fmt::Debug for ClusterTurns {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("ClusterTurns");
        debug.field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

impl ClusterTurns {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self {
            fleet,
            turns: OnceCell::new(),
        }
    }

    async fn connect(&self) -> Result<Turns, Box<dyn Error + Send + Sync>> {
        let Fleet {
            at_once,
            namespace,
            lease_name,
            node,
            lease_duration,
        } = self.fleet.clone();
        let config = TurnsConfig {
            at_once,
            namespace,
            lease_name,
            node: match node.or_else(node_name) {
                Some(node) => node,
                None => host_name()?,
            },
            lease_duration,
        };
        Ok(Turns::connect(config).await?)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the binary")]
fn node_name() -> Option<String> {
    std::env::var(NODE_VARIABLE)
        .ok()
        .filter(|it| !it.is_empty())
}

fn host_name() -> std::io::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    Ok(name.trim().to_owned())
}

#[async_trait]
impl HostTurns for ClusterTurns {
    async fn take(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn HostTurn>, Box<dyn Error + Send + Sync>> {
        let turns = self.turns.get_or_try_init(|| self.connect()).await?;
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
