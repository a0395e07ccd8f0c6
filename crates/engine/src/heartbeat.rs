//! Whether anything that an engine works at moves: what a watchdog is fed by.
//!
//! Time that passes is no motion, and neither is a task that only counts: the phases of runs move,
//! the rounds of the scheduler, and waiting that has an end of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::interval;

/// How often waiting counts as motion.
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

    /// Waits, and counts a step every few seconds.
    ///
    /// Precondition: the waiting has an end of its own.
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
    async fn waiting_moves_while_it_is_waited() {
        let heartbeat = Heartbeat::default();
        let waiting = tokio::time::sleep(Duration::from_secs(95));
        heartbeat.clone().while_waiting(waiting).await;
        assert_eq!(heartbeat.count(), 10);
        tokio::time::sleep(Duration::from_secs(95)).await;
        assert_eq!(heartbeat.count(), 10);
    }
}
