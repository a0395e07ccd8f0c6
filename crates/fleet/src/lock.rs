//! Waiting for a turn.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client, Config};
use reclaim_model::chain;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::config::{TurnsConfig, hash};
use crate::error::TurnError;
use crate::judge::{Record, Sighting, Standing};
use crate::keep::{Held, Turn};
use crate::slot::{Holder, Slot, Written};

/// The longest that one answer of the API server is waited for.
const MAX_PATIENCE: Duration = Duration::from_secs(10);

/// The turns of a cluster, as seen from one node.
pub struct Turns {
    config: TurnsConfig,
    slots: Vec<Slot>,
    /// What was seen of each lease. Locked by whoever waits for a turn or has one, so that this
    /// node never counts for two.
    seen: Arc<Mutex<Sightings>>,
}

/// By name of the lease.
pub(crate) type Sightings = BTreeMap<String, Sighting>;

impl Turns {
    /// Finds the cluster: by the service account of the pod that this runs in, or by a kubeconfig
    /// (`KUBECONFIG`, `~/.kube/config`), which goes first. Asks the API server nothing yet.
    ///
    /// # Errors
    ///
    /// [`TurnError::NoCluster`] and [`TurnError::NoClient`].
    pub async fn connect(config: TurnsConfig) -> Result<Self, TurnError> {
        let cluster = Config::infer().await;
        let mut cluster = cluster.map_err(|source| TurnError::NoCluster { source })?;
        cluster.connect_timeout = Some(MAX_PATIENCE);
        cluster.read_timeout = Some(MAX_PATIENCE);
        let client = Client::try_from(cluster);
        let client = client.map_err(|source| TurnError::NoClient { source })?;
        Ok(Self::new(client, config))
    }

    /// Uses a client that there is.
    pub fn new(client: Client, config: TurnsConfig) -> Self {
        let namespace = config.namespace.as_deref();
        let namespace = namespace.unwrap_or(client.default_namespace()).to_owned();
        let leases = Api::namespaced(client, &namespace);
        let holder = Holder {
            node: config.node.clone(),
            seconds: config.lease_seconds(),
        };
        let slot = |name| Slot {
            leases: leases.clone(),
            namespace: namespace.clone(),
            name,
            holder: holder.clone(),
            // Several tries fit between the first renewal and the loss of the turn.
            patience: (config.lease_duration / 12).min(MAX_PATIENCE),
        };
        Self {
            slots: config.lease_names().into_iter().map(slot).collect(),
            config,
            seen: Arc::default(),
        }
    }

    /// Waits until this node has a turn. Waits also for a turn of this node to end.
    ///
    /// Cancellation safe in that no turn is held afterwards that is renewed; but one that was
    /// being taken when the future was dropped keeps the others waiting until it expires. Use
    /// `cancel`, which gives it back.
    ///
    /// # Errors
    ///
    /// [`TurnError::Cancelled`]; at once when the API server refuses; and what it was when the API
    /// server has been away for the duration of a lease: who waits for that is better told.
    pub async fn take(&self, cancel: &CancellationToken) -> Result<Turn, TurnError> {
        let seen = Arc::clone(&self.seen).lock_owned();
        let mut seen = tokio::select! {
            () = cancel.cancelled() => return Err(TurnError::Cancelled),
            seen = seen => seen,
        };
        let mut pause = Pause::new(&self.config);
        let mut away_since = None;
        loop {
            let began = Instant::now();
            match self.look(&mut seen).await {
                Ok(Some(held)) => return self.begin(held, seen, cancel).await,
                Ok(None) => away_since = None,
                Err(error) => {
                    let since = *away_since.get_or_insert(began);
                    if !error.may_pass() || since.elapsed() >= self.config.lease_duration {
                        return Err(error);
                    }
                    debug!(error = chain(&error), "no look at the turns; trying again");
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(TurnError::Cancelled),
                () = tokio::time::sleep(pause.next()) => {}
            }
        }
    }

    async fn begin(
        &self,
        held: Held,
        seen: OwnedMutexGuard<Sightings>,
        cancel: &CancellationToken,
    ) -> Result<Turn, TurnError> {
        let lease = held.slot.full_name();
        let turn = Turn::begin(held, self.config.lease_duration, seen);
        // What was written while the waiter gave up is not kept.
        if cancel.is_cancelled() {
            turn.give_back().await;
            return Err(TurnError::Cancelled);
        }
        info!(%lease, "this node has its turn");
        Ok(turn)
    }

    /// Looks at every lease once, and takes the first that can be taken.
    async fn look(&self, seen: &mut Sightings) -> Result<Option<Held>, TurnError> {
        for slot in &self.slots {
            let Some(lease) = slot.read().await? else {
                let since = Instant::now();
                if let Written::Done(lease) = slot.create().await? {
                    return Ok(Some(Held::new(slot, lease, since)));
                }
                continue;
            };
            let since = Instant::now();
            let sighting = Sighting::new(seen.get(&slot.name), Record::of(&lease), since);
            let standing = sighting.standing(&self.config.node, self.config.lease_duration, since);
            seen.insert(slot.name.clone(), sighting);
            if standing == Standing::Held {
                continue;
            }
            if standing == Standing::Expired {
                info!(
                    lease = slot.full_name(),
                    "a node has not renewed its turn; taking it"
                );
            }
            if let Written::Done(lease) = slot.take(lease).await? {
                return Ok(Some(Held::new(slot, lease, since)));
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Turns");
        debug.field("config", &self.config).finish_non_exhaustive()
    }
}

/// How long to wait between two looks: longer every time, and for every node differently, so that
/// a thousand nodes that wait are not a load for the API server.
#[derive(Debug)]
struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    fn new(config: &TurnsConfig) -> Self {
        let longest = config.lease_duration / 2;
        // From a sixtieth to a fifteenth of a lease.
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
