//! Cancels a run while it only reads or waits.

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

#[cfg(test)]
mod tests {
    use super::*;

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
