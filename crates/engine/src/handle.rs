//! A run in a task of its own, and the handle to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use reclaim_model::{Plan, PruneRequest, Report};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::controls::Controls;
use crate::controls::Progress;
use crate::controls::RunOptions;
use crate::engine::Engine;
use crate::error::RunError;

/// How many progress events wait for a slow reader. More are dropped.
const WAITING: usize = 64;

/// A run under way. Awaited, it is the report.
///
/// Dropping it is safe: the run goes on to its end, and its report is sent to
/// [`Engine::reports`].
#[derive(Debug)]
#[must_use = "a run that nobody awaits reports to `Engine::reports` alone"]
pub struct RunHandle {
    progress: mpsc::Receiver<Progress>,
    report: oneshot::Receiver<Result<Report, RunError>>,
    cancel: CancellationToken,
}

impl RunHandle {
    /// Waits for the next progress event; `None` when the run has ended.
    ///
    /// Cancellation safe. Events that nobody reads in time are dropped.
    pub async fn progress(&mut self) -> Option<Progress> {
        self.progress.recv().await
    }

    /// Stops the run: it ends after the removals under way, looks again, and reports. A run that
    /// has removed nothing yet ends with [`RunError::Cancelled`].
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl Future for RunHandle {
    type Output = Result<Report, RunError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let report = Pin::new(&mut self.report).poll(context);
        // The task ends without a report if the runtime is shut down or the run panicked.
        report.map(|report| report.unwrap_or(Err(RunError::Ended)))
    }
}

impl Engine {
    /// Starts a run in a task of its own, as [`Self::prune`] would make it. `cancel` stops it, too.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(
        self: &Arc<Self>,
        request: PruneRequest,
        confirmed: Option<Plan>,
        options: RunOptions,
        cancel: &CancellationToken,
    ) -> RunHandle {
        let (sender, progress) = mpsc::channel(WAITING);
        let (reporter, report) = oneshot::channel();
        let (engine, cancel) = (Arc::clone(self), cancel.child_token());
        let token = cancel.clone();
        tokio::spawn(async move {
            let sink = move |event| {
                // Progress that nobody reads in time is dropped.
                sender.try_send(event).ok();
            };
            let controls = Controls {
                options: &options,
                progress: &sink,
                cancel: &token,
            };
            let report = engine.prune(&request, confirmed.as_ref(), controls).await;
            // The caller may have dropped the handle.
            drop(reporter.send(report));
        });
        RunHandle {
            progress,
            report,
            cancel,
        }
    }
}
