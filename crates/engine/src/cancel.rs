//! Cancels a run while it only reads or waits.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::RunError;

/// Waits for a future that only reads, unless the run is cancelled first.
///
/// Precondition: `reading` may be dropped; it sends no changes.
///
/// # Errors
///
/// [`RunError::Cancelled`], or the error of `reading`.
pub async fn unless_cancelled<T, E>(
    cancel: &CancellationToken,
    reading: impl Future<Output = Result<T, E>>,
) -> Result<T, RunError>
where
    RunError: From<E>,
{
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RunError::Cancelled),
        done = reading => Ok(done?),
    }
}

/// The remaining grace period that a cancelled run still waits for, and its caller with it.
const LAST: Duration = Duration::from_secs(5);

/// Waits for the grace period. Returns whether all of it has passed; a cancelled run waits at most a
/// few seconds more.
pub(crate) async fn wait_for_grace(cancel: &CancellationToken, grace: Duration) -> bool {
    let end = Instant::now() + grace;
    tokio::select! {
        () = sleep_until(end) => return true,
        () = cancel.cancelled() => {}
    }
    let last = Instant::now() + LAST;
    sleep_until(end.min(last)).await;
    end <= last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn cancelling_cuts_only_a_long_grace_period_short() {
        let cancel = CancellationToken::new();
        assert!(wait_for_grace(&cancel, Duration::from_secs(60)).await);
        cancel.cancel();
        let began = Instant::now();
        assert!(wait_for_grace(&cancel, LAST).await);
        assert_eq!(began.elapsed(), LAST);
        let began = Instant::now();
        assert!(!wait_for_grace(&cancel, Duration::from_secs(60)).await);
        assert_eq!(began.elapsed(), LAST);
    }

    #[tokio::test]
    async fn cancelling_drops_a_read() {
        let cancel = CancellationToken::new();
        let ready = std::future::ready(Ok::<_, RunError>(7));
        assert_eq!(unless_cancelled(&cancel, ready).await.unwrap(), 7);
        cancel.cancel();
        let never = std::future::pending::<Result<(), RunError>>();
        let error = unless_cancelled(&cancel, never).await.unwrap_err();
        assert!(matches!(error, RunError::Cancelled), "{error}");
    }
}
