//! The prune-running guard: one run at a time in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that one run at a time can hold. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct PruneGuard {
    is_running: Arc<AtomicBool>,
}

/// The right to run. Given back when dropped, also by a panic or a cancelled future.
#[derive(Debug)]
#[must_use = "the guard is released when this is dropped"]
pub struct PruneRunning {
    is_running: Arc<AtomicBool>,
}

impl PruneGuard {
    /// Takes the guard; `None` if a run has it. There is no queue: two prunes that ask at once
    /// want the same images gone.
    pub fn try_begin(&self) -> Option<PruneRunning> {
        self.is_running
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
            .then(|| PruneRunning {
                is_running: Arc::clone(&self.is_running),
            })
    }

    /// Whether a run has it at this moment.
    pub fn is_taken(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }
}

impl Drop for PruneRunning {
    fn drop(&mut self) {
        self.is_running.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_exactly_one_of_many_begin() {
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
}
