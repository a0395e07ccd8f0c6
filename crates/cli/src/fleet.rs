//! Connects the engine with the cluster lock.

use std::error::Error;
use std::{env, fmt, fs, io};

use async_trait::async_trait;
use reclaim_engine::{HostTurn, HostTurns};
use reclaim_fleet::{ClusterLock, ClusterLockConfig, ClusterLockError, ClusterLockGuard};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::config::Fleet;

/// Why the cluster lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    /// The configuration, the environment and the kernel all have no name for this node.
    #[error("find this node's name; set NODE_NAME or fleet.node")]
    NoName {
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Lock(#[from] ClusterLockError),
}

/// The cluster lock of a configuration. It connects to the cluster when the lock is first acquired,
/// so that a node whose API server is away can start.
pub(crate) struct ClusterTurns {
    fleet: Fleet,
    lock: OnceCell<ClusterLock>,
}

/// The guard of the cluster lock.
struct NodeTurn(ClusterLockGuard);

impl ClusterTurns {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self {
            fleet,
            lock: OnceCell::new(),
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
        let lock = self.lock.get_or_try_init(|| connect(&self.fleet)).await?;
        Ok(Box::new(NodeTurn(lock.acquire(cancel).await?)))
    }
}

#[async_trait]
impl HostTurn for NodeTurn {
    fn lost(&self) -> CancellationToken {
        self.0.lost()
    }

    async fn give_back(self: Box<Self>) {
        self.0.release().await;
    }
}

/// Finds the cluster. Does not contact its API server.
async fn connect(fleet: &Fleet) -> Result<ClusterLock, FleetError> {
    let Fleet {
        at_once,
        namespace,
        lease_name,
        node,
        lease_duration,
    } = fleet.clone();
    let config = ClusterLockConfig {
        max_holders: at_once,
        namespace,
        lease_name,
        node: match node {
            Some(node) => node,
            None => node_name()?,
        },
        lease_duration,
    };
    Ok(ClusterLock::connect(config).await?)
}

/// Returns the node's name from `NODE_NAME`, which a pod has, or else the host's name.
fn node_name() -> Result<String, FleetError> {
    if let Some(name) = env::var_os("NODE_NAME").filter(|it| !it.is_empty()) {
        return Ok(name.to_string_lossy().into_owned());
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.map_err(|source| FleetError::NoName { source })?;
    Ok(name.trim().to_owned())
}
