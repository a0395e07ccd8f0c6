//! How long an answer may be waited for.

use std::time::Duration;

use tonic::Status;

/// How long a stream, or a call that is one small read, may go without progress. containerd
/// answers from its database; what takes longer waits for something that may never come: a
/// snapshotter's process, a network file system.
const WITHOUT_PROGRESS: Duration = Duration::from_secs(20);

/// Waits for the next thing that containerd sends.
///
/// # Errors
///
/// What the call returns; after 20 s without any answer [`tonic::Code::DeadlineExceeded`].
pub(crate) async fn progressing<T>(
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let waited = tokio::time::timeout(WITHOUT_PROGRESS, call).await;
    waited.unwrap_or_else(|_| {
        let seconds = WITHOUT_PROGRESS.as_secs();
        Err(Status::deadline_exceeded(format!(
            "no answer within {seconds} s"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_an_error_in_the_end() {
        let never = std::future::pending::<Result<(), Status>>();
        let status = progressing(never).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(status.message(), "no answer within 20 s");
        let answer = progressing(std::future::ready(Ok(7))).await;
        assert_eq!(answer.unwrap(), 7);
    }
}
