//! Whether containerd answers, as an age: when it last did.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reclaim_model::chain;
use reclaim_store::Containerd;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// How long an answer to a look may take.
const ANSWER: Duration = Duration::from_secs(3);

/// How old the last answer may be: two looks in a row may not be missed.
const MAX_AGE: Duration = Duration::from_secs(2 * LOOK.as_secs() + ANSWER.as_secs());

/// When a containerd last answered.
#[derive(Debug, Default)]
pub struct Health {
    answered: Mutex<Option<Instant>>,
}

impl Health {
    /// Whether it has answered lately. Without checks the last answer gets old, too.
    pub fn is_up(&self) -> bool {
        self.age().is_some_and(|age| age <= MAX_AGE)
    }

    fn age(&self) -> Option<Duration> {
        self.answered().map(|at| at.elapsed())
    }

    fn answered(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // It is replaced as a whole.
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the version every few seconds until it is cancelled, and says in the log when
    /// answers cease and when they are back. `store` should be a connection of its own: others
    /// may be busy.
    pub async fn watch(&self, store: &Containerd, cancel: &CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Nothing is said of the first look if it has an answer.
        let mut was_up = true;
        let mut since = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                _ = looks.tick() => {}
            }
            let asked = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                asked = timeout(ANSWER, store.refresh_version()) => asked,
            };
            let error = match asked {
                Ok(Ok(())) => {
                    *self.answered() = Some(Instant::now());
                    String::new()
                }
                Ok(Err(error)) => chain(&error),
                Err(_) => format!("no answer from containerd within {} s", ANSWER.as_secs()),
            };
            // The look itself takes time, after which the age is not quite the limit.
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
    async fn two_looks_may_not_be_missed() {
        let health = Health::default();
        assert!(!health.is_up(), "there was no check");
        *health.answered() = Some(Instant::now());
        tokio::time::advance(LOOK + ANSWER).await;
        assert!(health.is_up(), "one look was missed");
        tokio::time::advance(LOOK).await;
        assert!(health.is_up(), "the second may still have an answer");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!health.is_up());
    }
}
