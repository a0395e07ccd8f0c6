//! The heartbeat of an engine, for a watchdog.
//!
//! It beats only when work makes progress: with the phases of runs, the rounds of the scheduler, and
//! during waits that are limited in time. A timer alone would also beat while the engine hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::interval;

/// The time between two beats of a wait.
const WAITING: Duration = Duration::from_secs(10);

/// A counter of progress for a watchdog. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Counts one beat.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many beats were counted.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits, and beats every few seconds.
    ///
    /// Precondition: the wait is limited in time.
    pub async fn while_waiting<T>(&self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = std::pin::pin!(waiting);
        let mut steps = interval(WAITING);
        loop {
            tokio::select! {
                biased;
                done = &mut waiting => return done,
                _ = steps.tick() => self.beat(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn beats_only_during_a_wait() {
        let heartbeat = Heartbeat::default();
        let waiting = tokio::time::sleep(Duration::from_secs(95));
        heartbeat.clone().while_waiting(waiting).await;
        assert_eq!(heartbeat.count(), 10);
        tokio::time::sleep(Duration::from_secs(95)).await;
        assert_eq!(heartbeat.count(), 10);
    }
}
