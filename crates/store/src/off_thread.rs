//! Work that must not hold an async thread: long computations, and what waits for a disk.
//!
//! A node with one core has one async thread, and whatever is served there waits as long as one
//! poll takes.

use std::panic::resume_unwind;

use tokio::runtime::Handle;
use tokio::task::{spawn_blocking, yield_now};
use tracing::Span;

/// How many items of a list are worked on before others get their turn: some microseconds each.
const PER_TURN: usize = 1024;

/// Does work on a thread that may block, within the current span. A panic in it goes on here.
///
/// Not stopped by dropping: the work goes on to its end, and what it returns is dropped there.
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

/// Drops something large on a thread that may block, and does not wait for that. Without a tokio
/// runtime there is no async thread to spare, and it is dropped at once.
pub fn discard(large: impl Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        // A runtime that is ending drops it at once.
        drop(runtime.spawn_blocking(move || drop(large)));
    }
}

/// Does something with each item of a long list that is only borrowed, and lets others have the
/// thread in between.
///
/// Cancellation safe as far as `each` is: between two items.
pub async fn in_turns<I: IntoIterator>(items: I, mut each: impl FnMut(I::Item)) {
    for (index, item) in items.into_iter().enumerate() {
        if index % PER_TURN == PER_TURN - 1 {
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
    async fn work_that_blocks_leaves_the_only_thread_to_others() {
        let (other, waits) = mpsc::channel();
        let working = tokio::spawn(blocking(move || waits.recv().unwrap()));
        // On this very thread, which the work would hold otherwise.
        tokio::spawn(async move { other.send(7).unwrap() });
        assert_eq!(working.await.unwrap(), 7);
    }

    #[test]
    fn without_a_runtime_it_is_dropped_at_once() {
        let (large, dropped) = mpsc::channel::<()>();
        discard(large);
        assert_eq!(dropped.recv(), Err(mpsc::RecvError));
    }

    #[tokio::test]
    async fn a_panic_goes_on_where_the_work_is_waited_for() {
        let panicked = tokio::spawn(blocking(|| panic!("in the middle of the work")));
        let panic = panicked.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"in the middle of the work"));
    }

    #[tokio::test]
    async fn others_have_their_turn_in_the_middle_of_a_long_list() {
        let n_turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_turns);
        let others = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        let mut seen = Vec::new();
        in_turns(0..10 * PER_TURN, |item| seen.push(item)).await;
        others.abort();
        assert!(seen.into_iter().eq(0..10 * PER_TURN));
        let n_turns = n_turns.load(Ordering::Relaxed);
        assert!((9..=11).contains(&n_turns), "{n_turns}");
    }
}
