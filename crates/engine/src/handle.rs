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
#[must_use = "without an await the report is only sent to `Engine::reports`"]
pub struct RunHandle {
    progress: mpsc::Receiver<Progress>,
    report: oneshot::Receiver<Result<Report, RunError>>,
    cancel: CancellationToken,
}

impl RunHandle {
    /// Waits for the next progress event; `None` when the run has ended.
    ///
    /// Cancellation safe. Events are dropped when the reader is too slow.
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
    /// Starts a run in a task of its own, like [`Self::prune`]. Cancelling `cancel` stops it, too.
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
                // A full channel drops the event: a slow reader must not delay the run.
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use std::time::Duration;

    use reclaim_fake::{Fake, Fault, Image, Labels, Layer};
    use reclaim_model::{RefuseReason, Refused, Removed};
    use reclaim_store::Containerd;
    use tokio::time::Instant;

    use super::*;
    use crate::grace::Grace;

    const NAMESPACE: &str = "default";

    /// Returns a containerd with unused images, and an engine that works on it.
    fn host(images: &[String]) -> (Fake, Arc<Engine>) {
        let fake = Fake::new("2.1.9");
        let now = fake.now();
        fake.change(|state| {
            for name in images {
                let image = Image::new(vec![Layer::of(name)], &Labels::new());
                image.store(state, NAMESPACE, "overlayfs", None);
                state.put_image(NAMESPACE, image.record(name), now);
            }
        });
        let store = Containerd::from_channel(fake.channel());
        (fake, Arc::new(Engine::new(store)))
    }

    fn old_images(count: usize) -> Vec<String> {
        (0..count)
            .map(|tag| format!("docker.io/library/old:{tag:03}"))
            .collect()
    }

    fn prune(engine: &Arc<Engine>, options: RunOptions) -> RunHandle {
        let request = PruneRequest::unused(NAMESPACE.parse().unwrap());
        engine.start(request, None, options, &CancellationToken::new())
    }

    fn names_of(removed: &[Removed]) -> Vec<String> {
        removed.iter().map(|image| image.name.clone()).collect()
    }

    fn records(fake: &Fake) -> Vec<String> {
        fake.look(|state| state.namespaces[NAMESPACE].images.keys().cloned().collect())
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_handle_does_not_end_the_run() {
        let images = old_images(3);
        let (fake, engine) = host(&images);
        let mut reports = engine.reports();
        drop(prune(&engine, RunOptions::default()));
        let report = reports.recv().await.unwrap();
        assert_eq!(names_of(&report.removed), images);
        assert!(report.collection.is_some(), "{report:?}");
        assert_eq!(records(&fake), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn cancel_stops_the_run_and_the_report_has_what_was_removed() {
        let images = old_images(3);
        let (fake, engine) = host(&images);
        let mut run = prune(
            &engine,
            RunOptions {
                max_deletes_per_second: Some(1),
                ..RunOptions::default()
            },
        );
        while let Some(progress) = run.progress().await {
            if let Progress::Step { done: 1, .. } = progress {
                run.cancel();
            }
        }
        let report = run.await.unwrap();
        let removed = names_of(&report.removed);
        assert_eq!(removed.len(), 1, "{report:?}");
        assert_eq!(report.refused.len(), 2, "{report:?}");
        for Refused { name, reason } in &report.refused {
            assert_eq!(*reason, RefuseReason::Cancelled, "{name}");
        }
        let left: Vec<_> = images
            .into_iter()
            .filter(|name| !removed.contains(name))
            .collect();
        assert_eq!(records(&fake), left);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_is_cancelled_before_its_first_removal_changes_nothing() {
        let images = old_images(3);
        let (fake, engine) = host(&images);
        let run = prune(&engine, RunOptions::default());
        run.cancel();
        let error = run.await.unwrap_err();
        assert!(matches!(error, RunError::Cancelled), "{error}");
        assert_eq!(records(&fake), images);
    }

    /// How long a run waits before its second look if each removal takes so long.
    async fn waits(grace: Grace, removal: Duration) -> Duration {
        let (fake, engine) = host(&old_images(2));
        fake.on_call(move |call| match call.method.as_str() {
            "Images/Delete" => Fault::Delay(removal),
            _ => Fault::None,
        });
        let options = RunOptions {
            grace,
            ..RunOptions::default()
        };
        let mut run = prune(&engine, options);
        let mut last_removal = Instant::now();
        while let Some(progress) = run.progress().await {
            if let Progress::Step { .. } = progress {
                last_removal = Instant::now();
            } else if progress == Progress::LookingAgain {
                break;
            }
        }
        last_removal.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_adapted_grace_period_is_long_where_containerd_is_slow() {
        for (removal, expected) in [(0, 100), (30, 225), (2000, 1000)] {
            let [removal, expected] = [removal, expected].map(Duration::from_millis);
            assert_eq!(
                waits(Grace::Adapted, removal).await,
                expected,
                "{removal:?}"
            );
            let fixed = Duration::from_secs(3);
            assert_eq!(waits(Grace::Fixed(fixed), removal).await, fixed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_ends_with_the_run() {
        let (_fake, engine) = host(&old_images(2));
        let mut run = prune(&engine, RunOptions::default());
        let mut progress = Vec::new();
        while let Some(event) = run.progress().await {
            progress.push(event);
        }
        let expected = [
            Progress::Observing,
            Progress::Planned { steps: 2, kept: 0 },
            Progress::Step { done: 1, steps: 2 },
            Progress::Step { done: 2, steps: 2 },
            Progress::LookingAgain,
            Progress::Collecting,
            Progress::Measuring,
        ];
        assert_eq!(progress, expected);
        let report = run.now_or_never().expect("the run has ended");
        assert_eq!(report.unwrap().removed.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_does_not_wait_for_a_reader_of_its_progress() {
        let images = old_images(WAITING + 1);
        let (_fake, engine) = host(&images);
        let report = prune(&engine, RunOptions::default()).await.unwrap();
        assert_eq!(report.removed.len(), images.len());
    }
}
