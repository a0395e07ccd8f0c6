//! Stopping a run while it only reads or waits.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::RunError;

/// Waits for something that only reads, unless the run is cancelled first.
///
/// Precondition: `reading` may be dropped. A change that was sent never is.
///
/// # Errors
///
/// [`RunError::Cancelled`], or that of `reading`.
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

/// How much of its grace period a cancelled run still waits for: its caller waits as long.
const LAST: Duration = Duration::from_secs(5);

/// Waits out the grace. Returns whether all of it has passed: of a run that is cancelled only what
/// takes a few seconds more does.
pub(crate) async fn wait_out(cancel: &CancellationToken, grace: Duration) -> bool {
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
    async fn a_long_grace_is_cut_short_and_a_short_one_is_not() {
        let cancel = CancellationToken::new();
        assert!(wait_out(&cancel, Duration::from_secs(60)).await);
        cancel.cancel();
        let began = Instant::now();
        assert!(wait_out(&cancel, LAST).await);
        assert_eq!(began.elapsed(), LAST);
        let began = Instant::now();
        assert!(!wait_out(&cancel, Duration::from_secs(60)).await);
        assert_eq!(began.elapsed(), LAST);
    }

    #[tokio::test]
    async fn what_reads_is_dropped_when_the_run_is_cancelled() {
        let cancel = CancellationToken::new();
        let ready = std::future::ready(Ok::<_, RunError>(7));
        assert_eq!(unless_cancelled(&cancel, ready).await.unwrap(), 7);
        cancel.cancel();
        let never = std::future::pending::<Result<(), RunError>>();
        let error = unless_cancelled(&cancel, never).await.unwrap_err();
        assert!(matches!(error, RunError::Cancelled), "{error}");
    }
}
