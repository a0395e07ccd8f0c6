//! Trying again where it is safe: after a connection was lost or a server restarted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reclaim_store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

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

/// How long a run that has removed something tries to bring it to an end: no longer than a caller
/// waits for, and longer than most outages.
pub(crate) const TO_END: Duration = Duration::from_secs(3 * 60);

/// The wait between those tries.
const WAIT_TO_END: Duration = Duration::from_secs(1);
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
    /// How long to try on after the waits of [`WAITS`], unless it is cancelled.
    to_end: Option<(Duration, CancellationToken)>,
}

impl Patience {
    /// The patience to bring to an end what has begun: so long, or seconds once it is cancelled.
    pub(crate) fn to_end(limit: Duration, cancel: &CancellationToken) -> Self {
        Self {
            is_spent: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            to_end: Some((limit, cancel.clone())),
        }
    }

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
        let began = Instant::now();
        let mut is_told = false;
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
                debug!(%error, "trying again");
                tokio::time::sleep(wait).await;
            } else if !is_spent && self.waits_on(began).await {
                if !is_told {
                    warn!(%error, "containerd does not answer; trying on");
                }
                is_told = true;
            } else {
                self.is_spent.store(true, Ordering::Relaxed);
                self.is_silent.store(is_timeout, Ordering::Relaxed);
                return done;
            }
        }
    }

    /// Waits for the next try to bring something to an end. Returns whether there is one.
    async fn waits_on(&self, began: Instant) -> bool {
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
    /// What has begun is brought to an end after an outage of minutes, unless it is cancelled; and
    /// an outage that lasts longer is waited out once.
    #[tokio::test]
    async fn what_has_begun_is_tried_for_minutes() {
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
