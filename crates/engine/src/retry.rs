//! Trying again where it is safe: after a connection was lost or a server restarted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reclaim_store::StoreError;
use tracing::debug;

/// The waits between tries: some three seconds in all, the time in which a service manager has
/// containerd back.
const WAITS: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
];

/// How many calls without an answer in time are enough. Each has been patient itself: a run that
/// meets a silent containerd has to end within a minute.
const MAX_TIMEOUTS: usize = 2;

/// Calls until it succeeds, fails for good, or has been tried long enough.
///
/// Precondition: the call may be made twice: it only reads, or it asks for a state rather than
/// for a change.
///
/// Not an async closure: of one the compiler cannot say that its future may move between threads,
/// and then no run could be spawned.
pub(crate) async fn retry<T, F>(call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    Patience::default().retry(call).await
}

/// The patience that many calls share.
///
/// Once one of them was tried in vain for as long as it takes, containerd is not just being
/// restarted, and the others are tried once each until one succeeds: a thousand removals must not
/// wait for it a thousand times.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    is_spent: AtomicBool,
    is_silent: AtomicBool,
}

impl Patience {
    /// Whether a call had no answer in time as often as it may, and none has had one since. The
    /// rest would wait as long each.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// As [`retry`].
    pub(crate) async fn retry<T, F>(&self, call: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut waits = WAITS.into_iter();
        let mut timeouts = 0;
        loop {
            let done = call().await;
            let Some(error) = done.as_ref().err().filter(|it| it.is_passing()) else {
                self.is_spent.store(false, Ordering::Relaxed);
                self.is_silent.store(false, Ordering::Relaxed);
                return done;
            };
            timeouts += usize::from(error.is_timeout());
            let wait = waits
                .next()
                .filter(|_| timeouts < MAX_TIMEOUTS && !self.is_spent.load(Ordering::Relaxed));
            let Some(wait) = wait else {
                self.is_spent.store(true, Ordering::Relaxed);
                self.is_silent.store(error.is_timeout(), Ordering::Relaxed);
                return done;
            };
            debug!(error = %reclaim_model::chain(error), "trying again");
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use reclaim_store::Containerd;
    use tokio::time::Instant;

    use super::*;

    /// Asks once for the namespaces. Returns how often that was tried, and whether it succeeded.
    async fn ask(patience: &Patience, store: &Containerd) -> (usize, bool) {
        let n_tries = AtomicUsize::new(0);
        let asking = patience.retry(|| {
            n_tries.fetch_add(1, Ordering::Relaxed);
            store.namespaces()
        });
        let is_answered = asking.await.is_ok();
        (n_tries.into_inner(), is_answered)
    }

    #[tokio::test]
    async fn many_calls_wait_once_for_a_containerd_that_is_gone() {
        let mut containerd = reclaim_testkit::Containerd::start().await;
        let store = Containerd::connect(containerd.address()).await.unwrap();
        let patience = Patience::default();
        assert_eq!(ask(&patience, &store).await, (1, true));
        containerd.kill().await;
        tokio::time::pause();
        let began = Instant::now();
        assert_eq!(ask(&patience, &store).await, (1 + WAITS.len(), false));
        let waited = began.elapsed();
        assert!(waited >= WAITS.iter().sum(), "{waited:?}");
        for _ in 0..10 {
            assert_eq!(ask(&patience, &store).await, (1, false));
        }
        tokio::time::resume();
        containerd.restart().await;
        assert_eq!(ask(&patience, &store).await, (1, true));
        containerd.kill().await;
        tokio::time::pause();
        assert_eq!(ask(&patience, &store).await, (1 + WAITS.len(), false));
    }
}
