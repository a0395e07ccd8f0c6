//! Checks whether containerd answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reclaim_model::chain;
use reclaim_store::Containerd;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The time between two checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The time limit for an answer.
const ANSWER: Duration = Duration::from_secs(3);

/// The maximum age of the last answer: one check in a row may fail.
const MAX_AGE: Duration = Duration::from_secs(2 * CHECK_INTERVAL.as_secs() + ANSWER.as_secs());

/// When a containerd last answered.
#[derive(Debug, Default)]
pub struct Health {
    answered: Mutex<Option<Instant>>,
}

impl Health {
    /// Returns whether containerd has answered recently. Without checks, it becomes false.
    pub fn is_up(&self) -> bool {
        self.age().is_some_and(|age| age <= MAX_AGE)
    }

    /// Returns the age of the last answer, if there was one.
    pub fn age(&self) -> Option<Duration> {
        self.answered().map(|at| at.elapsed())
    }

    fn answered(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // It is replaced as a whole.
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests the version every few seconds until it is cancelled, and logs when containerd stops
    /// answering and when it answers again. `store` should be a separate connection, because others
    /// may be busy.
    pub async fn watch(&self, store: &Containerd, cancel: &CancellationToken) {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A successful first check is not logged.
        let mut was_up = true;
        let mut since = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                _ = checks.tick() => {}
            }
            let answer = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                answer = timeout(ANSWER, store.refresh_version()) => answer,
            };
            let error = match answer {
                Ok(Ok(())) => {
                    *self.answered() = Some(Instant::now());
                    String::new()
                }
                Ok(Err(error)) => chain(&error),
                Err(_) => format!("no answer from containerd within {} s", ANSWER.as_secs()),
            };
            // The check itself takes time, so the age can be just below the limit.
            let is_up = self.age().is_some_and(|age| age < MAX_AGE);
            if was_up && !is_up {
                since = self.answered().unwrap_or(since);
                warn!(%error, "containerd does not answer; not ready until it does");
            } else if !was_up && is_up {
                let seconds = since.elapsed().as_secs();
                info!(seconds, "containerd answers again");
            }
            was_up = is_up;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_missed_checks_are_too_many() {
        let health = Health::default();
        assert!(!health.is_up(), "there was no check");
        *health.answered() = Some(Instant::now());
        tokio::time::advance(CHECK_INTERVAL + ANSWER).await;
        assert!(health.is_up(), "one check was missed");
        tokio::time::advance(CHECK_INTERVAL).await;
        assert!(health.is_up(), "the second may still have an answer");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!health.is_up());
    }
}
