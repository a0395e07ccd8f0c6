//! A turn: kept by renewing its lease, until it is given back or lost.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use reclaim_model::chain;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::error::TurnError;
use crate::judge::Record;
use crate::slot::{Slot, Written};
use crate::turns::Sightings;

/// This node's turn. Dropping it gives it back, if there is a runtime left to do so;
/// [`Turn::give_back`] waits for that.
#[derive(Debug)]
#[must_use = "the turn is over when this is dropped"]
pub struct Turn {
    lost: CancellationToken,
    done: CancellationToken,
    keeping: Option<JoinHandle<()>>,
}

/// A lease that was just written with this node as its holder.
pub(crate) struct Held {
    pub(crate) slot: Slot,
    lease: Lease,
    /// When the write began: nobody has seen it earlier.
    since: Instant,
}

impl Held {
    pub(crate) fn new(slot: &Slot, lease: Box<Lease>, since: Instant) -> Self {
        Self {
            slot: slot.clone(),
            lease: *lease,
            since,
        }
    }
}

impl Turn {
    pub(crate) fn begin(held: Held, duration: Duration, seen: OwnedMutexGuard<Sightings>) -> Self {
        let lost = CancellationToken::new();
        let done = CancellationToken::new();
        let keeper = Keeper {
            held,
            duration,
            lost: lost.clone(),
            done: done.clone(),
        };
        let keeping = tokio::spawn(async move {
            keeper.run().await;
            // Until here nobody else on this node has a turn.
            drop(seen);
        });
        Self {
            lost,
            done,
            keeping: Some(keeping),
        }
    }

    /// Returns what is cancelled when the lease could not be renewed in time, or is another's.
    /// Whoever has the turn should stop then; another node may begin a third of the lease later.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives the turn back, and returns when the next node can have it.
    ///
    /// Cancellation safe: it is given back all the same.
    pub async fn give_back(mut self) {
        self.done.cancel();
        if let Some(keeping) = self.keeping.take() {
            // It can only have panicked, and then the lease expires by itself.
            keeping.await.ok();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.done.cancel();
    }
}

/// The task that renews.
struct Keeper {
    held: Held,
    duration: Duration,
    lost: CancellationToken,
    done: CancellationToken,
}

/// Whether the lease is still this node's.
enum Renewal {
    Ours,
    Anothers,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            // Nobody else takes the lease before it has been unchanged for its duration, seen
            // from there. The last third is for stopping.
            let deadline = self.held.since + self.duration * 2 / 3;
            let due = self.held.since + self.duration / 6;
            tokio::select! {
                () = self.done.cancelled() => break,
                () = tokio::time::sleep_until(due) => {}
            }
            match tokio::time::timeout_at(deadline, self.renew_until_it_works()).await {
                Ok(Some(Renewal::Ours)) => {}
                Ok(Some(Renewal::Anothers)) => return self.lose("another node has it"),
                Ok(None) => break,
                Err(_elapsed) => return self.lose("it could not be renewed"),
            }
        }
        self.give_back().await;
    }

    fn lose(&self, reason: &'static str) {
        warn!(
            lease = self.held.slot.full_name(),
            reason, "this node has lost its turn"
        );
        self.lost.cancel();
    }

    /// Tries again and again; `None` when the turn is to be given back.
    async fn renew_until_it_works(&mut self) -> Option<Renewal> {
        loop {
            match self.renew().await {
                Ok(renewal) => return Some(renewal),
                Err(error) => debug!(
                    error = chain(&error),
                    "the turn is not renewed; trying again"
                ),
            }
            tokio::select! {
                () = self.done.cancelled() => return None,
                () = tokio::time::sleep(self.duration / 30) => {}
            }
        }
    }

    async fn renew(&mut self) -> Result<Renewal, TurnError> {
        let since = Instant::now();
        let Held { slot, lease, .. } = &self.held;
        let renewed = match slot.renew(lease.clone()).await? {
            Written::Done(renewed) => *renewed,
            // Somebody wrote: labels, perhaps. Whose it is decides, and the next try renews it.
            Written::Conflict => match slot.read().await? {
                Some(lease) if Record::of(&lease).is_of(&slot.holder.node) => {
                    match slot.renew(lease).await? {
                        Written::Done(renewed) => *renewed,
                        Written::Conflict => return Ok(Renewal::Anothers),
                    }
                }
                Some(_) | None => return Ok(Renewal::Anothers),
            },
        };
        self.held.lease = renewed;
        self.held.since = since;
        Ok(Renewal::Ours)
    }

    async fn give_back(self) {
        let Held { slot, lease, .. } = self.held;
        let mut outcome = slot.give_back(lease).await;
        // A renewal whose answer was lost has made another version of it.
        if let Ok(Written::Conflict) = outcome
            && let Ok(Some(lease)) = slot.read().await
            && Record::of(&lease).is_of(&slot.holder.node)
        {
            outcome = slot.give_back(lease).await;
        }
        if let Err(error) = outcome {
            let lease = slot.full_name();
            warn!(%lease, error = chain(&error), "the turn is not given back; it expires by itself");
        }
    }
}
