//! Removes the records of a plan, several at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, StreamExt};
use reclaim_model::{Namespace, Plan, RefuseReason, RemoveReason, Step, chain};
use reclaim_store::{Class, Deletion};
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{Instrument, info_span};

use crate::controls::Progress;
use crate::engine::Engine;
use crate::retry::Patience;
use crate::run::Run;

/// The maximum number of concurrent removals. containerd writes one after the other; a few more in
/// flight keep it busy.
const REMOVALS_AT_ONCE: usize = 8;

/// Why a removal was not tried.
const SILENT: &str = "not tried: containerd did not answer removals before it";

/// The outcome of a step.
#[derive(Debug)]
pub(crate) enum Outcome {
    Removed,
    Refused(RefuseReason),
    Failed(String),
}

impl Engine {
    /// Removes the records of a plan. The outcomes are in the order of its steps.
    pub(crate) async fn remove_all(&self, run: Run<'_>, plan: &Plan) -> Vec<Outcome> {
        let steps = plan.steps.len();
        let pace = run.options.max_deletes_per_second.map(pace);
        // Separate, because a successful read does not mean that removals succeed.
        let (patience, reading) = (Patience::default(), Patience::default());
        let removals = plan.steps.iter().enumerate().map(|(index, step)| {
            let pace = pace.as_ref();
            let (patience, reading) = (&patience, &reading);
            let removing = async move {
                if let Some(pace) = pace {
                    tokio::select! {
                        biased;
                        () = run.cancel.cancelled() => {}
                        () = tick(pace) => {}
                    }
                }
                if let Some(reason) = run.stop(self.store.now()) {
                    return (index, Outcome::Refused(reason));
                }
                if patience.is_silent() {
                    return (index, Outcome::Failed(SILENT.to_owned()));
                }
                let span = info_span!("remove_image", name = %step.image.name);
                let removing = self.remove(&plan.namespace, step, patience, reading);
                (index, removing.instrument(span).await)
            };
            removing.boxed()
        });
        let mut done = 0;
        let mut outcomes: Vec<(usize, Outcome)> = Vec::with_capacity(steps);
        let removals = stream::iter(removals).boxed();
        let mut removals = removals.buffer_unordered(REMOVALS_AT_ONCE);
        while let Some(outcome) = removals.next().await {
            done += 1;
            self.heartbeat.beat();
            (run.progress)(Progress::Step { done, steps });
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    async fn remove(
        &self,
        namespace: &Namespace,
        step: &Step,
        patience: &Patience,
        reading: &Patience,
    ) -> Outcome {
        let image = &step.image;
        if step.reason == RemoveReason::Replaced {
            // Written first, so that the image always has a record.
            let nameless = image.without_name();
            let writing = patience.retry(|| self.store.restore_image(namespace, &nameless));
            match writing.await {
                Ok(digest) if digest == image.target.digest => {}
                Ok(_) => return Outcome::Failed(format!("name `{}` is taken", nameless.name)),
                Err(error) => return Outcome::Failed(chain(&error)),
            }
        }
        let is_answer_lost = AtomicBool::new(false);
        let is_answer_lost = &is_answer_lost;
        // Safe to retry, because each attempt compares the target.
        let removing = patience.retry(|| async move {
            let deleted = self.store.delete_image(namespace, image).await;
            match deleted {
                // An earlier attempt succeeded, and only its answer was lost.
                Ok(Deletion::Gone) if is_answer_lost.load(Ordering::Relaxed) => {
                    Ok(Deletion::Removed)
                }
                Err(error) => {
                    is_answer_lost.fetch_or(error.class() == Class::Retry, Ordering::Relaxed);
                    Err(error)
                }
                deleted => deleted,
            }
        });
        match removing.await {
            Ok(Deletion::Removed) => Outcome::Removed,
            Ok(Deletion::Moved) => Outcome::Refused(RefuseReason::TargetMoved),
            Ok(Deletion::Gone) => Outcome::Refused(RefuseReason::AlreadyGone),
            Err(error) => {
                // The removal may have taken effect.
                let target = reading.retry(|| self.store.image_target(namespace, &image.name));
                match target.await {
                    Ok(None) => Outcome::Removed,
                    Ok(Some(_)) | Err(_) => Outcome::Failed(chain(&error)),
                }
            }
        }
    }
}

async fn tick(pace: &Mutex<Interval>) {
    pace.lock().await.tick().await;
}

/// Returns a ticker for removals per second. It does not make up for late ticks with a burst.
fn pace(per_second: u32) -> Mutex<Interval> {
    let mut ticks = interval(Duration::from_secs(1) / per_second.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Mutex::new(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn removals_are_spread_over_the_second() {
        for (per_second, millis) in [(1, 1000), (4, 250), (0, 1000)] {
            let ticks = pace(per_second).into_inner();
            assert_eq!(ticks.period(), Duration::from_millis(millis));
            // A late tick delays the others, so no burst follows.
            assert_eq!(ticks.missed_tick_behavior(), MissedTickBehavior::Delay);
        }
    }
}
