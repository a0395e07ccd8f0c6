//! Whether anything that an engine works at moves: what a watchdog is fed by.
//!
//! Time that passes is no motion, and neither is a task that only counts: the phases of runs move,
//! the rounds of the scheduler, and waiting that has an end of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::interval;

use crate::engine::Engine;

/// How often waiting counts as motion.
const WAITING: Duration = Duration::from_secs(10);

/// A counter of progress for a watchdog. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Motion(Arc<AtomicU64>);

impl Motion {
    /// Counts one step.
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
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
                _ = steps.tick() => self.step(),
            }
        }
    }
}

impl Engine {
    /// Returns the counter that phases of runs step, for other work on this engine to step.
    pub fn motion(&self) -> &Motion {
        &self.motion
    }

    /// Returns a number that grows whenever a run's phase or the scheduler moves. One that stays
    /// the same for minutes is that of an engine that hangs.
    pub fn moves(&self) -> u64 {
        self.motion.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_moves_while_it_is_waited() {
        let motion = Motion::default();
        let waiting = tokio::time::sleep(Duration::from_secs(95));
        motion.clone().while_waiting(waiting).await;
        let moves = || motion.0.load(Ordering::Relaxed);
        assert_eq!(moves(), 10);
        tokio::time::sleep(Duration::from_secs(95)).await;
        assert_eq!(moves(), 10);
    }
}
