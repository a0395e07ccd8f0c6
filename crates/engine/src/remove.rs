//! Removes the records of a plan, several at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, StreamExt};
use reclaim_model::{
    Holder, HolderKind, KeepReason, Namespace, Plan, RefuseReason, RemoveReason, Step, chain,
};
use reclaim_store::{Class, Deletion};
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{Instrument, info_span};

use crate::controls::Progress;
use crate::dependents::Dependents;
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

impl Outcome {
    /// Whether the record is gone.
    fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Removed | Self::Refused(RefuseReason::AlreadyGone)
        )
    }
}

/// What the removals of a plan have in common.
struct Removals<'a> {
    run: Run<'a>,
    plan: &'a Plan,
    pace: Option<Mutex<Interval>>,
    // Separate, because a successful read does not mean that removals succeed.
    patience: Patience,
    reading: Patience,
}

impl Engine {
    /// Removes the records of a plan. The outcomes are in the order of its steps.
    ///
    /// A dependent image goes before what it depends on, and if it stays, so does that.
    pub(crate) async fn remove_all(&self, run: Run<'_>, plan: &Plan) -> Vec<Outcome> {
        let removals = Removals {
            run,
            plan,
            pace: run.options.max_deletes_per_second.map(pace),
            patience: Patience::default(),
            reading: Patience::default(),
        };
        let dependents = Dependents::among(plan.steps.iter().map(|step| &step.image));
        let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
        for group in dependents.removal_order() {
            let stays = |it: &usize| outcomes.get(it).is_some_and(|it| !it.is_gone());
            let kept_for = |step: usize| dependents.of(step).iter().copied().find(stays);
            let (refused, group): (Vec<usize>, Vec<usize>) = group
                .into_iter()
                .partition(|step| kept_for(*step).is_some());
            let refused = refused.into_iter().filter_map(|step| {
                let dependent = &plan.steps[kept_for(step)?].image.name;
                Some((step, Outcome::Refused(must_stay_for(dependent))))
            });
            let refused: Vec<(usize, Outcome)> = refused.collect();
            outcomes.extend(refused);
            self.remove_group(&removals, group, &mut outcomes).await;
        }
        outcomes.into_values().collect()
    }

    /// Removes some of the records of a plan, by the positions of their steps.
    async fn remove_group(
        &self,
        removals: &Removals<'_>,
        group: Vec<usize>,
        outcomes: &mut BTreeMap<usize, Outcome>,
    ) {
        let Removals {
            run,
            plan,
            pace,
            patience,
            reading,
        } = removals;
        let (run, steps) = (*run, plan.steps.len());
        let removals = group.into_iter().map(|index| {
            let step = &plan.steps[index];
            let removing = async move {
                keep_pace(run, pace.as_ref()).await;
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
        let removals = stream::iter(removals).boxed();
        let mut removals = removals.buffer_unordered(REMOVALS_AT_ONCE);
        while let Some((index, outcome)) = removals.next().await {
            outcomes.insert(index, outcome);
            self.heartbeat.beat();
            let done = outcomes.len();
            (run.progress)(Progress::Step { done, steps });
        }
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

/// Returns the reason of an image that stays for one that depends on it.
fn must_stay_for(dependent: &str) -> RefuseReason {
    RefuseReason::MustStay {
        reason: KeepReason::DependentStays,
        holders: vec![Holder::new(HolderKind::Image, dependent)],
    }
}

/// Waits for the next removal that the limit of the run allows, but no longer than the run lasts.
pub(crate) async fn keep_pace(run: Run<'_>, pace: Option<&Mutex<Interval>>) {
    let Some(pace) = pace else {
        return;
    };
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => {}
        () = tick(pace) => {}
    }
}

async fn tick(pace: &Mutex<Interval>) {
    pace.lock().await.tick().await;
}

/// Returns a ticker for removals per second. It does not make up for late ticks with a burst.
pub(crate) fn pace(per_second: u32) -> Mutex<Interval> {
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
