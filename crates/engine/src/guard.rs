//! The guard in this process, which admits one run at a time, and the queue for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::Instant;

/// A guard that one run at a time can hold. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PruneGuard {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the run began that holds the guard.
    running_since: StdMutex<Option<Instant>>,
    freed: Notify,
    refused: AtomicU64,
}

impl State {
    fn running_since(&self) -> MutexGuard<'_, Option<Instant>> {
        // It is replaced as a whole.
        let since = self.running_since.lock();
        since.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run. Dropping it releases the guard, also on a panic or cancellation.
#[derive(Debug)]
#[must_use = "the guard is released when this is dropped"]
pub(crate) struct PruneRunning {
    state: Arc<State>,
}

impl PruneGuard {
    /// Takes the guard; `None` if a run holds it.
    pub(crate) fn try_begin(&self) -> Option<PruneRunning> {
        let mut since = self.state.running_since();
        if since.is_some() {
            return None;
        }
        *since = Some(Instant::now());
        drop(since);
        Some(PruneRunning {
            state: Arc::clone(&self.state),
        })
    }

    /// Returns when the run began that holds it.
    pub(crate) fn running_since(&self) -> Option<Instant> {
        *self.state.running_since()
    }

    /// Returns whether a run holds it.
    pub(crate) fn is_taken(&self) -> bool {
        self.running_since().is_some()
    }

    /// Counts a caller that was refused because of another run.
    pub(crate) fn count_refused(&self) {
        self.state.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many callers were refused because of another run.
    pub(crate) fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// Waits until no run holds it. Another may take it before the caller does.
    pub(crate) async fn freed(&self) {
        loop {
            // Created before the check, so that it misses no release in between.
            let freed = self.state.freed.notified();
            if !self.is_taken() {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for PruneRunning {
    fn drop(&mut self) {
        *self.state.running_since() = None;
        self.state.freed.notify_waiters();
    }
}

/// The maximum number of callers that wait for a run to end; more are refused.
pub(crate) const MAX_WAITING: usize = 8;

/// The waiting callers. Clones share the queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) places: Arc<Semaphore>,
    /// Locked by the caller at the front. The time of the last poll of containerd that found the
    /// guard taken.
    pub(crate) front: Arc<Mutex<Option<Instant>>>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            front: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_exactly_one_of_many() {
        let guard = PruneGuard::default();
        let begun: Vec<Option<PruneRunning>> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..16).map(|_| scope.spawn(|| guard.try_begin())).collect();
            tries.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert_eq!(begun.iter().flatten().count(), 1);
    }

    #[test]
    fn is_free_again_after_a_panic() {
        let guard = PruneGuard::default();
        assert!(!guard.is_taken());
        let held = guard.clone();
        let panicked = std::thread::spawn(move || {
            let _running = held.try_begin().unwrap();
            panic!("in the middle of a run");
        });
        assert!(panicked.join().is_err());
        let again = guard.try_begin();
        assert!(again.is_some() && guard.is_taken());
    }

    #[tokio::test(start_paused = true)]
    async fn knows_since_when_it_is_taken() {
        let guard = PruneGuard::default();
        assert_eq!(guard.running_since(), None);
        let began = Instant::now();
        let running = guard.try_begin();
        tokio::time::advance(std::time::Duration::from_secs(9)).await;
        assert!(guard.try_begin().is_none());
        assert_eq!(guard.running_since(), Some(began));
        drop(running);
        assert_eq!(guard.running_since(), None);
    }
}
