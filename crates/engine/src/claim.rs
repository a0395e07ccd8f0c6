//! Takes the guards, at once or after waiting in a short queue.
//!
//! Only the caller at the front of the queue polls containerd, once a second. Waiting for a run of
//! this process needs no polling.

use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::Namespace;
use reclaim_store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::engine::Engine;
use crate::error::Busy;
use crate::error::RunError;
use crate::guard::{MAX_WAITING, PruneRunning};
use crate::host_guard::{self, Claim};
use crate::lease::{self, MAX_LIFETIME, MAX_RUN};
use crate::presence::Presence;
use crate::retry::retry;

/// The time between two polls of containerd.
const POLL: Duration = Duration::from_secs(1);

/// A caller that takes the guards.
#[derive(Clone, Copy)]
pub(crate) struct Claimant<'a> {
    pub(crate) presence: &'a Presence,
    pub(crate) namespace: &'a Namespace,
    pub(crate) grace: Duration,
    pub(crate) max_deletes_per_second: Option<u32>,
    /// Whether to wait for another run to end.
    pub(crate) wait: bool,
    /// Cancels the wait.
    pub(crate) cancel: &'a CancellationToken,
}

impl Engine {
    /// Takes both guards for a short operation, without waiting.
    pub(crate) async fn try_begin(
        &self,
        presence: &Presence,
        namespace: &Namespace,
    ) -> Result<PruneRunning, RunError> {
        let cancel = CancellationToken::new();
        let begun = self.begin(Claimant {
            presence,
            namespace,
            grace: Duration::ZERO,
            max_deletes_per_second: None,
            wait: false,
            cancel: &cancel,
        });
        let (running, _) = begun.await?;
        Ok(running)
    }

    /// Takes both guards. Returns when they expire.
    pub(crate) async fn begin(
        &self,
        claimant: Claimant<'_>,
    ) -> Result<(PruneRunning, Timestamp), RunError> {
        let begun = self.claim_or_wait(claimant).await;
        if matches!(begun, Err(RunError::Busy(_))) {
            self.guard.count_refused();
        }
        begun
    }

    /// Takes both guards, and waits for them if the claimant does.
    async fn claim_or_wait(
        &self,
        claimant: Claimant<'_>,
    ) -> Result<(PruneRunning, Timestamp), RunError> {
        if !claimant.wait {
            return self.claim(claimant, &mut None).await;
        }
        let namespace = claimant.namespace;
        let Ok(_place) = self.queue.places.try_acquire() else {
            return Err(RunError::Busy(Busy {
                waiting: Some(MAX_WAITING),
                ..Busy::of_this_process(namespace)
            }));
        };
        let front = tokio::select! {
            biased;
            () = claimant.cancel.cancelled() => None,
            front = self.queue.front.lock() => Some(front),
        };
        let Some(mut polled) = front else {
            return Err(RunError::Cancelled);
        };
        // Computed once, because it does not change while this caller waits.
        let mut lifetime = None;
        let mut is_logged = false;
        loop {
            let next = polled.map(|at| at + POLL);
            let may_try = async {
                self.guard.freed().await;
                if let Some(next) = next {
                    tokio::time::sleep_until(next).await;
                }
            };
            tokio::select! {
                biased;
                () = claimant.cancel.cancelled() => return Err(RunError::Cancelled),
                () = may_try => {}
            }
            match self.claim(claimant, &mut lifetime).await {
                Err(RunError::Busy(found)) => {
                    if !is_logged {
                        info!(busy = %found, "waiting for another run to end");
                    }
                    is_logged = true;
                    // A daemon that waits does not hang.
                    self.heartbeat.beat();
                    *polled = Some(Instant::now());
                }
                begun => {
                    *polled = None;
                    return begun;
                }
            }
        }
    }

    /// Takes both guards if they are free. Computes `lifetime` on the first call.
    async fn claim(
        &self,
        claimant: Claimant<'_>,
        lifetime: &mut Option<Duration>,
    ) -> Result<(PruneRunning, Timestamp), RunError> {
        let Claimant {
            presence,
            namespace,
            ..
        } = claimant;
        let Some(running) = self.guard.try_begin() else {
            return Err(RunError::Busy(Busy::of_this_process(namespace)));
        };
        let lifetime = match *lifetime {
            Some(lifetime) => lifetime,
            None => *lifetime.insert(self.lifetime(claimant).await?),
        };
        let expires = lease::expiry(self.store.now(), lifetime);
        let claim = host_guard::claim(&self.store, namespace, presence, lifetime).await;
        let claim = claim.map_err(|error| {
            if error.is_out_of_space() {
                RunError::DiskFull(error)
            } else {
                RunError::Store(error)
            }
        })?;
        match claim {
            Claim::Taken => Ok((running, expires)),
            // The progress needs a list of all images, which is too much for every poll.
            Claim::Busy(lease) if claimant.wait => {
                Err(RunError::Busy(Busy::of_lease(namespace, lease.as_ref())))
            }
            Claim::Busy(lease) => {
                let busy = host_guard::busy(&self.store, namespace, lease);
                Err(RunError::Busy(busy.await?))
            }
        }
    }

    async fn lifetime(&self, claimant: Claimant<'_>) -> Result<Duration, StoreError> {
        let paced = match claimant.max_deletes_per_second {
            Some(per_second) => {
                let (images, _) = retry(|| self.store.images(claimant.namespace)).await?;
                Some((per_second, images.len()))
            }
            None => None,
        };
        Ok(lifetime(claimant.grace, paced))
    }
}

/// Returns the lifetime of the guard: [`MAX_RUN`], the grace period and the pauses between removals,
/// up to a limit.
fn lifetime(grace: Duration, paced: Option<(u32, usize)>) -> Duration {
    let pauses = paced.map_or(Duration::ZERO, |(per_second, images)| {
        let images = u32::try_from(images).unwrap_or(u32::MAX);
        (Duration::from_secs(1) / per_second.max(1)).saturating_mul(images)
    });
    let lifetime = MAX_RUN.saturating_add(grace).saturating_add(pauses);
    lifetime.min(MAX_LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_lasts_for_the_run_and_its_pauses_up_to_a_limit() {
        let (second, month) = (Duration::from_secs(1), Duration::from_hours(720));
        assert_eq!(lifetime(second, None), MAX_RUN + second);
        assert_eq!(lifetime(second, Some((10, 50))), MAX_RUN + 6 * second);
        assert_eq!(lifetime(Duration::ZERO, Some((0, 5))), MAX_RUN + 5 * second);
        assert_eq!(lifetime(month, None), MAX_LIFETIME);
        assert_eq!(lifetime(second, Some((1, usize::MAX))), MAX_LIFETIME);
        assert_eq!(lifetime(Duration::MAX, Some((1, 1))), MAX_LIFETIME);
    }
}
