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
use crate::observation::{Observation, Observations, Record};

/// The cluster lock, as one node sees it.
pub struct ClusterLock {
    config: ClusterLockConfig,
    lease: LeaseClient,
    /// The last observation of each lease of another node. Locked while this node waits for the cluster lock or
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
        let holder = Holder {
            node: config.node.clone(),
            seconds: config.lease_seconds(),
        };
        let lease = LeaseClient {
            leases: Api::namespaced(client, &namespace),
            namespace,
            lock: config.lease_name.clone(),
            name: config.own_lease(),
            holder,
            // Several attempts fit between the first renewal and the loss of the lock.
            timeout: (config.lease_duration / 12).min(MAX_TIMEOUT),
        };
        Self {
            lease,
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

    /// Creates the lease of this node, if there is room for it before and afterwards.
    async fn try_acquire(
        &self,
        observations: &mut Observations,
    ) -> Result<Option<HeldLease>, ClusterLockError> {
        if !self.has_room(observations).await? {
            return Ok(None);
        }
        let since = Instant::now();
        let WriteResult::Done(lease) = self.lease.claim().await? else {
            return Ok(None);
        };
        let held = HeldLease::new(&self.lease, lease, since);
        // Other nodes may have found the same room.
        let has_room = self.has_room(observations).await;
        if matches!(has_room, Ok(true)) {
            return Ok(Some(held));
        }
        held.release().await;
        has_room.map(|_| None)
    }

    /// Lists the leases. Whether other nodes hold fewer of them than nodes may hold the lock.
    async fn has_room(&self, observations: &mut Observations) -> Result<bool, ClusterLockError> {
        let leases = self.lease.list().await?;
        let now = Instant::now();
        let before = std::mem::take(observations);
        for lease in leases {
            let name = lease.metadata.name.clone().unwrap_or_default();
            if name != self.lease.name {
                let observation = Observation::new(before.get(&name), Record::of(&lease), now);
                observations.insert(name, observation);
            }
        }
        let held = observations.values();
        let held = held.filter(|lease| lease.is_held(self.config.lease_duration, now));
        Ok(held.count() < self.config.max_holders.get() as usize)
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

/// The pause before the next attempt: longer each time, so that a thousand waiting nodes do not load
/// the API server, and different for each node and attempt, so that two nodes that find the same room do
/// not hinder each other for long.
#[derive(Debug)]
struct Pause<'a> {
    node: &'a str,
    attempt: u32,
    next: Duration,
    longest: Duration,
}

impl<'a> Pause<'a> {
    fn new(config: &'a ClusterLockConfig) -> Self {
        Self {
            node: &config.node,
            attempt: 0,
            next: config.lease_duration / 20,
            longest: config.lease_duration / 2,
        }
    }

    fn next(&mut self) -> Duration {
        self.attempt += 1;
        let percent = 50 + hash(&format!("{} {}", self.node, self.attempt)) % 51;
        let pause = self.next * percent / 100;
        self.next = (self.next * 3 / 2).min(self.longest);
        pause
    }
}
