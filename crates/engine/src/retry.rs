//! Retries calls where it is safe: after a lost connection or a restart of containerd.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reclaim_store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// The waits between attempts: about three seconds in total, in which a service manager restarts
/// containerd.
const WAITS: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
];

/// How long a run that has removed images retries: no longer than a caller waits, and longer than
/// most outages.
pub(crate) const TO_END: Duration = Duration::from_secs(3 * 60);

/// The wait between these attempts.
const WAIT_TO_END: Duration = Duration::from_secs(1);

/// The number of timeouts after which a call fails. Each attempt has its own deadline, and a run with
/// a silent containerd must end within a minute.
const MAX_TIMEOUTS: usize = 2;

/// Retries a call until it succeeds, fails permanently, or the attempts are used up.
///
/// Precondition: the call is idempotent.
///
/// Not an async closure, because the compiler cannot prove that its future is `Send`, and runs are
/// spawned.
pub(crate) async fn retry<T, F>(call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    Patience::default().retry(call).await
}

/// The retry budget that several calls share.
///
/// Once one call has failed after all attempts, containerd is not just restarting. Then the others
/// are tried once each until one succeeds, so that a thousand removals do not wait a thousand times.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    is_spent: AtomicBool,
    is_silent: AtomicBool,
    /// How long to continue after [`WAITS`], unless it is cancelled.
    to_end: Option<(Duration, CancellationToken)>,
}

impl Patience {
    /// Returns the budget of a run that has removed images: `limit`, or seconds once it is cancelled.
    pub(crate) fn to_end(limit: Duration, cancel: &CancellationToken) -> Self {
        Self {
            is_spent: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            to_end: Some((limit, cancel.clone())),
        }
    }

    /// Returns whether a call has used up its timeouts, and no call has succeeded since. The others
    /// would wait as long.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// As [`retry`].
    pub(crate) async fn retry<T, F>(&self, call: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut waits = WAITS.into_iter();
        let began = Instant::now();
        let mut is_logged = false;
        let mut timeouts = 0;
        loop {
            let done = call().await;
            let Some(error) = done.as_ref().err().filter(|error| error.is_transient()) else {
                self.is_spent.store(false, Ordering::Relaxed);
                self.is_silent.store(false, Ordering::Relaxed);
                return done;
            };
            timeouts += usize::from(error.is_timeout());
            let is_timeout = error.is_timeout();
            let error = reclaim_model::chain(error);
            let is_spent = self.is_spent.load(Ordering::Relaxed);
            let may_try = timeouts < MAX_TIMEOUTS && !is_spent;
            if let Some(wait) = waits.next().filter(|_| may_try) {
                debug!(%error, "retrying");
                tokio::time::sleep(wait).await;
            } else if !is_spent && self.wait_for_next(began).await {
                if !is_logged {
                    warn!(%error, "containerd does not answer; retrying");
                }
                is_logged = true;
            } else {
                self.is_spent.store(true, Ordering::Relaxed);
                self.is_silent.store(is_timeout, Ordering::Relaxed);
                return done;
            }
        }
    }

    /// Waits for the next attempt. Returns whether there is one.
    async fn wait_for_next(&self, began: Instant) -> bool {
        let Some((limit, cancel)) = &self.to_end else {
            return false;
        };
        if began.elapsed() >= *limit {
            return false;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => false,
            () = tokio::time::sleep(WAIT_TO_END) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use reclaim_store::Containerd;

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

    /// A run that has removed images survives an outage of minutes, unless it is cancelled. It waits
    /// for a longer outage only once.
    #[tokio::test]
    async fn the_end_of_a_run_is_retried_for_minutes() {
        let mut containerd = reclaim_testkit::Containerd::start().await;
        let store = Containerd::connect(containerd.address()).await.unwrap();
        let cancel = CancellationToken::new();
        let patience = Patience::to_end(TO_END, &cancel);
        containerd.kill().await;
        tokio::time::pause();
        let began = Instant::now();
        let (n_tries, is_answered) = ask(&patience, &store).await;
        assert!(!is_answered && n_tries > 60, "{n_tries}");
        assert!(began.elapsed() >= TO_END);
        assert_eq!(ask(&patience, &store).await, (1, false));
        tokio::time::resume();
        containerd.restart().await;
        assert_eq!(ask(&patience, &store).await, (1, true));
        containerd.kill().await;
        cancel.cancel();
        tokio::time::pause();
        assert_eq!(ask(&patience, &store).await, (1 + WAITS.len(), false));
    }
}
