//! Runs work that must not block an async thread: long computations, and waits for a disk.
//!
//! A node with one core has one async thread, and every server on it waits while one future is
//! polled.

use std::panic::resume_unwind;

use tokio::runtime::Handle;
use tokio::task::{spawn_blocking, yield_now};
use tracing::Span;

/// How many items are processed between two yields: some microseconds each.
const ITEMS_PER_YIELD: usize = 1024;

/// Runs work on a thread that may block, within the current span. A panic in it continues here.
///
/// Dropping the future does not stop the work; its result is then dropped on that thread.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let span = Span::current();
    let working = spawn_blocking(move || span.in_scope(work));
    match working.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends, and drops this future with all others.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Drops a large value on a thread that may block, without waiting. Outside of a tokio runtime
/// there is no async thread to block, and it drops the value at once.
pub fn discard(large: impl Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        // A runtime that is shutting down drops it at once.
        drop(runtime.spawn_blocking(move || drop(large)));
    }
}

/// Calls `each` for each item of a long list, and yields to other tasks in between. For lists that
/// are only borrowed, which [`blocking`] cannot take.
///
/// Cancellation safe if `each` is: it stops between two items.
pub async fn for_each_yielding<I: IntoIterator>(items: I, mut each: impl FnMut(I::Item)) {
    for (index, item) in items.into_iter().enumerate() {
        if index % ITEMS_PER_YIELD == ITEMS_PER_YIELD - 1 {
            yield_now().await;
        }
        each(item);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn blocking_work_leaves_the_only_async_thread_free() {
        let (other, waits) = mpsc::channel();
        let working = tokio::spawn(blocking(move || waits.recv().unwrap()));
        // This task runs on the thread that the work would block otherwise.
        tokio::spawn(async move { other.send(7).unwrap() });
        assert_eq!(working.await.unwrap(), 7);
    }

    #[test]
    fn discard_drops_at_once_outside_of_a_runtime() {
        let (large, dropped) = mpsc::channel::<()>();
        discard(large);
        assert_eq!(dropped.recv(), Err(mpsc::RecvError));
    }

    #[tokio::test]
    async fn a_panic_continues_in_the_caller() {
        let panicked = tokio::spawn(blocking(|| panic!("in the middle of the work")));
        let panic = panicked.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"in the middle of the work"));
    }

    #[tokio::test]
    async fn a_long_list_yields_to_other_tasks() {
        let n_polls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&n_polls);
        let other = tokio::spawn(async move {
            loop {
                counter.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        let mut seen = Vec::new();
        for_each_yielding(0..10 * ITEMS_PER_YIELD, |item| seen.push(item)).await;
        other.abort();
        assert!(seen.into_iter().eq(0..10 * ITEMS_PER_YIELD));
        let n_polls = n_polls.load(Ordering::Relaxed);
        assert!((9..=11).contains(&n_polls), "{n_polls}");
    }
}
