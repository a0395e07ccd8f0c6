//! Notifications to systemd, and its watchdog.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Notifies systemd, if it started this process.
pub(crate) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify systemd");
    }
}

/// Returns how often to check for progress on behalf of systemd's watchdog, if it is enabled: often
/// enough that little of its time is lost between two checks.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 12)
}

/// Feeds a watchdog whenever `moves` has grown. A process that makes no progress is not fed, so that
/// systemd restarts it.
pub(crate) async fn feed_by(
    moves: impl Fn() -> u64,
    feed: impl Fn(),
    every: Duration,
    cancel: &CancellationToken,
) {
    let mut last = None;
    while !cancel.is_cancelled() {
        let now = Some(moves());
        if last != now {
            feed();
            last = now;
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_watchdog_is_fed_only_while_there_is_progress() {
        let (moves, n_fed) = (AtomicU64::new(0), AtomicU64::new(0));
        let cancel = CancellationToken::new();
        let every = Duration::from_millis(1);
        let count = |of: &AtomicU64| of.fetch_add(1, Ordering::Relaxed);
        let n_checks = AtomicU64::new(0);
        // It moves twice, and then never again.
        let check = || match count(&n_checks) {
            0 | 1 => count(&moves),
            2..20 => moves.load(Ordering::Relaxed),
            _ => {
                cancel.cancel();
                moves.load(Ordering::Relaxed)
            }
        };
        let feed = || {
            count(&n_fed);
        };
        feed_by(check, feed, every, &cancel).await;
        assert_eq!(n_fed.into_inner(), 3);
    }
}
