//! Trying again where it is safe: after a connection was lost or a server restarted.

use std::time::Duration;

use reclaim_store::{Class, StoreError};
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
    for wait in WAITS {
        match call().await {
            Err(error) if error.class() == Class::Retry => {
                debug!(error = %reclaim_model::chain(&error), "trying again");
                tokio::time::sleep(wait).await;
            }
            done => return done,
        }
    }
    call().await
}
