//! How long the polls of a future take.

use std::fs;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

/// What a future took.
pub(crate) struct Took {
    /// From its first poll to its end, on the clock.
    pub(crate) all: Duration,
    /// The longest of its polls, on a processor: what else the machine does is not in it.
    pub(crate) longest: Duration,
}

struct Measured<F> {
    inner: Pin<Box<F>>,
    longest: Duration,
}

impl<F: Future> Future for Measured<F> {
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let before = on_processor();
        let polled = self.inner.as_mut().poll(context);
        self.longest = self.longest.max(on_processor().saturating_sub(before));
        polled.map(|output| (output, self.longest))
    }
}

/// Waits for a future. Returns what it came to, and what it took.
pub(crate) async fn measured<F: Future>(future: F) -> (F::Output, Took) {
    let began = Instant::now();
    let polling = Measured {
        inner: Box::pin(future),
        longest: Duration::ZERO,
    };
    let (output, longest) = polling.await;
    let all = began.elapsed();
    (output, Took { all, longest })
}

/// What this thread has had of a processor, to a few milliseconds.
fn on_processor() -> Duration {
    let spent = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = spent.split(' ').next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the kernel tells it"))
}
