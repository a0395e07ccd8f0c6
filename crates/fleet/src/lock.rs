//! The cluster lock, and how a node acquires it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client};
use reclaim_model::chain;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::client::{MAX_TIMEOUT, client};
use crate::config::{ClusterLockConfig, hash};
use crate::error::ClusterLockError;
use crate::guard::{ClusterLockGuard, HeldLease};
use crate::lease::{Holder, LeaseClient, WriteResult};
use crate::observation::{LeaseState, Observation, Observations, Record};

/// The cluster lock, as one node sees it.
pub struct ClusterLock {
    config: ClusterLockConfig,
    leases: Vec<LeaseClient>,
    /// The last observation of each lease. Locked while this node waits for the cluster lock or
    /// holds it, so that it never holds two leases.
    observations: Arc<Mutex<Observations>>,
}

impl ClusterLock {
    /// Finds the cluster: by a kubeconfig (`KUBECONFIG`, `~/.kube/config`), or else by the service
    /// account of this pod. Does not contact the API server.
    ///
    /// # Errors
    ///
    /// [`ClusterLockError::NoCluster`] and [`ClusterLockError::NoClient`].
    pub async fn connect(config: ClusterLockConfig) -> Result<Self, ClusterLockError> {
        Ok(Self::new(client().await?, config))
    }

    /// Uses an existing client for the API server.
    pub fn new(client: Client, config: ClusterLockConfig) -> Self {
        let namespace = config
            .namespace
            .clone()
            .unwrap_or_else(|| client.default_namespace().to_owned());
        let api = Api::namespaced(client, &namespace);
        let holder = Holder {
            node: config.node.clone(),
            seconds: config.lease_seconds(),
        };
        let lease = |name| LeaseClient {
            leases: api.clone(),
            namespace: namespace.clone(),
            name,
            holder: holder.clone(),
            // Several attempts fit between the first renewal and the loss of the lock.
            timeout: (config.lease_duration / 12).min(MAX_TIMEOUT),
        };
        Self {
            leases: config.lease_names().into_iter().map(lease).collect(),
            config,
            observations: Arc::default(),
        }
    }

    /// Waits until this node has acquired the lock. If this node holds it already, waits for its
    /// release first.
    ///
    /// Cancellation safe in that no lease is renewed afterwards. But if the future is dropped while
    /// it takes a lease, other nodes wait until that expires; `cancel` releases it instead.
    ///
    /// # Errors
    ///
    /// [`ClusterLockError::Cancelled`]; at once if the API server refuses a call; and after the
    /// duration of a lease if the API server is unavailable for so long.
    pub async fn acquire(
        &self,
        cancel: &CancellationToken,
    ) -> Result<ClusterLockGuard, ClusterLockError> {
        let locking = Arc::clone(&self.observations).lock_owned();
        let mut observations = tokio::select! {
            () = cancel.cancelled() => return Err(ClusterLockError::Cancelled),
            observations = locking => observations,
        };
        let mut pause = Pause::new(&self.config);
        let mut unavailable_since = None;
        loop {
            let began = Instant::now();
            match self.try_acquire(&mut observations).await {
                Ok(Some(held)) => return self.hold(held, observations, cancel).await,
                Ok(None) => unavailable_since = None,
                Err(error) => {
                    let since = *unavailable_since.get_or_insert(began);
                    if !error.is_transient() || since.elapsed() >= self.config.lease_duration {
                        return Err(error);
                    }
                    debug!(error = chain(&error), "cannot read the leases; retrying");
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(ClusterLockError::Cancelled),
                () = tokio::time::sleep(pause.next()) => {}
            }
        }
    }

    async fn hold(
        &self,
        held: HeldLease,
        observations: OwnedMutexGuard<Observations>,
        cancel: &CancellationToken,
    ) -> Result<ClusterLockGuard, ClusterLockError> {
        let lease = held.client.full_name();
        let guard = ClusterLockGuard::new(held, self.config.lease_duration, observations);
        // The caller may have cancelled while the lease was written.
        if cancel.is_cancelled() {
            guard.release().await;
            return Err(ClusterLockError::Cancelled);
        }
        info!(%lease, "acquired the cluster lock");
        Ok(guard)
    }

    /// Reads every lease once, and takes the first that is free, expired or this node's.
    async fn try_acquire(
        &self,
        observations: &mut Observations,
    ) -> Result<Option<HeldLease>, ClusterLockError> {
        for client in &self.leases {
            let Some(lease) = client.read().await? else {
                let since = Instant::now();
                if let WriteResult::Done(lease) = client.create().await? {
                    return Ok(Some(HeldLease::new(client, lease, since)));
                }
                continue;
            };
            let since = Instant::now();
            let before = observations.get(&client.name);
            let observation = Observation::new(before, Record::of(&lease), since);
            let state = observation.state(&self.config.node, self.config.lease_duration, since);
            observations.insert(client.name.clone(), observation);
            match state {
                LeaseState::Held => continue,
                LeaseState::Expired => {
                    info!(lease = client.full_name(), "taking over an expired lease");
                }
                LeaseState::Free | LeaseState::Ours => {}
            }
            if let WriteResult::Done(lease) = client.take(lease).await? {
                return Ok(Some(HeldLease::new(client, lease, since)));
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for ClusterLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClusterLock")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The pause before the next attempt: longer each time, and different for each node, so that a
/// thousand waiting nodes do not load the API server.
#[derive(Debug)]
struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    fn new(config: &ClusterLockConfig) -> Self {
        let longest = config.lease_duration / 2;
        // Between a sixtieth and a fifteenth of the lease's duration.
        let share = 60 - hash(&config.node) % 46;
        Self {
            next: config.lease_duration / share,
            longest,
        }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 3 / 2).min(self.longest);
        pause
    }
}
