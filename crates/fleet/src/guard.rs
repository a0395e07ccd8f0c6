//! The guard of the cluster lock, which renews its lease until it is released or lost.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use reclaim_model::chain;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::error::ClusterLockError;
use crate::lease::{LeaseClient, WriteResult};
use crate::observation::{Observations, Record};

/// The cluster lock, held by this node. Dropping the guard releases the lock, as long as the
/// runtime lives; [`ClusterLockGuard::release`] also waits for that.
#[derive(Debug)]
#[must_use = "dropping the guard releases the lock"]
pub struct ClusterLockGuard {
    lost: CancellationToken,
    done: CancellationToken,
    renewing: Option<JoinHandle<()>>,
}

/// A lease that was just written with this node as its holder.
pub(crate) struct HeldLease {
    pub(crate) client: LeaseClient,
    lease: Lease,
    /// When the write began. No other node has observed it earlier.
    since: Instant,
}

impl HeldLease {
    pub(crate) fn new(client: &LeaseClient, lease: Box<Lease>, since: Instant) -> Self {
        Self {
            client: client.clone(),
            lease: *lease,
            since,
        }
    }

    pub(crate) async fn release(self) {
        let Self { client, lease, .. } = self;
        if let Err(error) = client.release(lease).await {
            let lease = client.full_name();
            warn!(%lease, error = chain(&error), "cannot delete the lease; it will expire");
        }
    }
}

impl ClusterLockGuard {
    pub(crate) fn new(
        held: HeldLease,
        duration: Duration,
        observations: OwnedMutexGuard<Observations>,
    ) -> Self {
        let lost = CancellationToken::new();
        let done = CancellationToken::new();
        let renewer = Renewer {
            held,
            duration,
            lost: lost.clone(),
            done: done.clone(),
        };
        let renewing = tokio::spawn(async move {
            renewer.run().await;
            // Until here this node cannot acquire the lock a second time.
            drop(observations);
        });
        Self {
            lost,
            done,
            renewing: Some(renewing),
        }
    }

    /// Returns a token that is cancelled when the lease could not be renewed in time, or when
    /// another node holds it. The holder must stop then: another node may start after a third of
    /// the lease's duration.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Releases the lock, and returns when the next node can acquire it.
    ///
    /// Cancellation safe: the lock is released in any case.
    pub async fn release(mut self) {
        self.done.cancel();
        if let Some(renewing) = self.renewing.take() {
            // The only error is a panic of the task, and then the lease expires.
            renewing.await.ok();
        }
    }
}

impl Drop for ClusterLockGuard {
    fn drop(&mut self) {
        self.done.cancel();
    }
}

/// The task that renews a lease.
struct Renewer {
    held: HeldLease,
    duration: Duration,
    lost: CancellationToken,
    done: CancellationToken,
}

/// Whether this node still holds the lease.
enum Renewal {
    Held,
    Lost,
}

impl Renewer {
    async fn run(mut self) {
        loop {
            // No other node takes the lease before it has observed it unchanged for its duration.
            // The last third of that is for this node to stop.
            let deadline = self.held.since + self.duration * 2 / 3;
            let due = self.held.since + self.duration / 6;
            tokio::select! {
                () = self.done.cancelled() => break,
                () = tokio::time::sleep_until(due) => {}
            }
            match tokio::time::timeout_at(deadline, self.renew_with_retries()).await {
                Ok(Some(Renewal::Held)) => {}
                Ok(Some(Renewal::Lost)) => return self.lose("another node holds the lease"),
                Ok(None) => break,
                Err(_elapsed) => return self.lose("could not renew the lease in time"),
            }
        }
        self.release().await;
    }

    fn lose(&self, reason: &'static str) {
        let lease = self.held.client.full_name();
        warn!(%lease, reason, "lost the cluster lock");
        self.lost.cancel();
    }

    /// Renews the lease, and retries after each error; `None` if the lock is being released.
    async fn renew_with_retries(&mut self) -> Option<Renewal> {
        loop {
            match self.renew().await {
                Ok(renewal) => return Some(renewal),
                Err(error) => debug!(error = chain(&error), "cannot renew the lease; retrying"),
            }
            tokio::select! {
                () = self.done.cancelled() => return None,
                () = tokio::time::sleep(self.duration / 30) => {}
            }
        }
    }

    async fn renew(&mut self) -> Result<Renewal, ClusterLockError> {
        let since = Instant::now();
        let HeldLease { client, lease, .. } = &self.held;
        let renewed = match client.renew(lease.clone()).await? {
            WriteResult::Done(renewed) => *renewed,
            // Another write, of labels perhaps. If this node is still the holder, renew that version.
            WriteResult::Conflict => match client.read().await? {
                Some(lease) if Record::of(&lease).is_of(&client.holder.node) => {
                    match client.renew(lease).await? {
                        WriteResult::Done(renewed) => *renewed,
                        WriteResult::Conflict => return Ok(Renewal::Lost),
                    }
                }
                Some(_) | None => return Ok(Renewal::Lost),
            },
        };
        self.held.lease = renewed;
        self.held.since = since;
        Ok(Renewal::Held)
    }

    async fn release(self) {
        self.held.release().await;
    }
}
