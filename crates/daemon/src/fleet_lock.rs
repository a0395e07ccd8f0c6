//! The cluster lock of `[fleet]`, by coordination Leases.

use std::error::Error;
use std::{fmt, io};

use async_trait::async_trait;
use reclaim_api::page::node_name;
use reclaim_fleet::{ClusterLockConfig, ClusterLockError, NodeEventError};
use reclaim_maintenance::{ClusterLock, ClusterLockGuard, PolicyRun};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::config::Fleet;
use crate::node_events::NodeEventQueue;

/// Why the cluster lock cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    #[error("read the host name, because neither fleet.node nor NODE_NAME is set")]
    NoName {
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Lock(#[from] ClusterLockError),
    #[error(transparent)]
    Event(#[from] NodeEventError),
}

/// The cluster lock of a configuration. It connects when it is first acquired, so that a node
/// starts while its API server is down.
pub(crate) struct FleetLock {
    fleet: Fleet,
    lock: OnceCell<reclaim_fleet::ClusterLock>,
    events: NodeEventQueue,
}

/// The cluster lock while this node has it.
struct FleetLockGuard(reclaim_fleet::ClusterLockGuard);

impl FleetLock {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self {
            events: NodeEventQueue::new(fleet.clone()),
            fleet,
            lock: OnceCell::new(),
        }
    }
}

impl fmt::Debug for FleetLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("FleetLock");
        debug.field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

#[async_trait]
impl ClusterLock for FleetLock {
    async fn acquire(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn ClusterLockGuard>, Box<dyn Error + Send + Sync>> {
        let lock = self.lock.get_or_try_init(|| connect(&self.fleet)).await?;
        Ok(Box::new(FleetLockGuard(lock.acquire(cancel).await?)))
    }

    fn ran(&self, run: &PolicyRun) {
        self.events.put(run);
    }
}

#[async_trait]
impl ClusterLockGuard for FleetLockGuard {
    fn lost(&self) -> CancellationToken {
        self.0.lost()
    }

    async fn release(self: Box<Self>) {
        self.0.release().await;
    }
}

/// Returns the name of this node in the cluster.
pub(crate) fn node_of(configured: Option<String>) -> Result<String, FleetError> {
    match configured {
        Some(node) => Ok(node),
        // As the kubelet makes the name of a node of the host's.
        None => node_name()
            .map(|name| name.to_lowercase())
            .map_err(|source| FleetError::NoName { source }),
    }
}

/// Reads the settings of the cluster. The API server receives no request yet.
async fn connect(fleet: &Fleet) -> Result<reclaim_fleet::ClusterLock, FleetError> {
    let Fleet {
        at_once,
        namespace,
        lease_name,
        node,
        lease_duration,
        critical: _,
    } = fleet.clone();
    let config = ClusterLockConfig {
        max_holders: at_once,
        namespace,
        lease_name,
        node: node_of(node)?,
        lease_duration,
    };
    Ok(reclaim_fleet::ClusterLock::connect(config).await?)
}
