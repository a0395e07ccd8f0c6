//! Carrying out a plan: hold, remove, look again, release, measure.
//!
//! # What is true after each step
//!
//! Killed at any point, nothing is lost. Before the hold is written nothing has changed. From
//! then on the run's lease keeps everything that the records kept, and the journal in it can
//! write them again; whoever takes the guard next finds it. The lease expires, so nothing is
//! kept for good either.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use reclaim_model::{
    Digest, Failed, ImageRecord, Mode, Namespace, Plan, PruneRequest, Reclaimed, RefuseReason,
    Refused, RemoveReason, Report, RunId, Step, chain,
};
use reclaim_plan::rows;
use reclaim_store::{Class, Deletion, StoreError};
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use crate::confirm::Restricted;
use crate::engine::{Engine, RunError};
use crate::hold::Hold;
use crate::host_guard;
use crate::named;
use crate::options::RunOptions;
use crate::preview::{Preview, blank_report, removed};
use crate::progress::{Progress, ProgressSink};
use crate::retry::retry;
use crate::second_look::{Looked, Wanted};

/// How many records are removed at a time. containerd writes one after the other anyway; a few
/// on their way keep it from waiting for us.
const REMOVALS_AT_ONCE: usize = 8;

/// What a run is and how it goes about its work.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) id: &'a RunId,
    pub(crate) request: &'a PruneRequest,
    pub(crate) options: &'a RunOptions,
    pub(crate) progress: &'a ProgressSink<'a>,
    pub(crate) cancel: &'a CancellationToken,
}

/// What became of a step.
#[derive(Debug)]
enum Outcome {
    Removed,
    Refused(RefuseReason),
    Failed(String),
}

impl Engine {
    /// Carries out a plan under the guard, and gives the guard back.
    ///
    /// Not cancellation safe: what was removed is released or restored only at the end. Stop
    /// it by the token.
    ///
    /// # Errors
    ///
    /// Only if the hold cannot be written; nothing has changed then, and the caller still has
    /// the guard. Later failures are in the report.
    pub(crate) async fn execute(
        &self,
        run: Run<'_>,
        restricted: Restricted,
    ) -> Result<Report, RunError> {
        let Restricted { preview, refused } = restricted;
        let Preview {
            mut inventory,
            plan,
        } = preview;
        info!(steps = plan.steps.len(), kept = plan.kept.len(), "pruning");
        let alarm = self.store.alarm(&plan.namespace).ok();
        let holding = Hold::write(&self.store, &plan.namespace, run.id, &plan.steps);
        let journals = holding.instrument(info_span!("hold")).await?;

        let mut report = blank_report(run.id.clone(), Mode::Apply, &plan);
        report.guard = Some(self.store.delete_guard());
        report.refused = refused;
        let outcomes = self.remove_all(run, &plan).await;
        record(&mut report, &plan, outcomes);

        let gone = perhaps_gone(&plan, &report);
        if !gone.is_empty() {
            tokio::time::sleep(run.options.grace).await;
        }
        (run.progress)(Progress::LookingAgain);
        let looking = self.restore_used(run.request, &mut inventory, gone, alarm.as_ref());
        let looked = looking.instrument(info_span!("look_again")).await;
        match record_look(&mut report, &plan, looked) {
            None => self.finish(run, &plan, &journals, &mut report).await,
            Some(error) => self.give_up(run, &mut report, &error).await,
        }
        let images = removed_images(&plan, &report);
        report.rows = rows(&images, &inventory, &report.freed.blobs);
        report.refused.sort_by(|a, b| a.name.cmp(&b.name));
        named::settle(&mut report, &plan);
        info!(
            removed = report.removed.len(),
            reclaimed_bytes = report.reclaimed.0.total_bytes(),
            calls = self.store.calls().values().sum::<u64>(),
            "pruned"
        );
        Ok(report)
    }

    /// Frees what was removed or keeps it for the undo window, and gives the guard back.
    async fn finish(&self, run: Run<'_>, plan: &Plan, journals: &[Digest], report: &mut Report) {
        let namespace = &plan.namespace;
        let window = run.options.undo_window;
        let finished = if window > Duration::ZERO && !report.removed.is_empty() {
            let kept = Hold::keep(&self.store, namespace, run.id, journals, window).await;
            match kept {
                Ok(until) => {
                    report.held_until = Some(until);
                    host_guard::give_back(&self.store, namespace, run.id).await
                }
                Err(error) => Err(error),
            }
        } else {
            self.free(run, plan, report).await
        };
        if let Err(error) = finished {
            self.give_up(run, report, &error).await;
        }
    }

    /// Notes that the run could not be brought to its end. Everything that it holds stays held;
    /// the next run, or an undo, goes on from there.
    async fn give_up(&self, run: Run<'_>, report: &mut Report, error: &StoreError) {
        let error = chain(error);
        warn!(%error, "run is unfinished");
        report.unfinished = Some(error);
        let namespace = &run.request.namespace;
        if let Err(error) = host_guard::hand_over(&self.store, namespace, run.id).await {
            let error = chain(&error);
            warn!(%error, "the guard stays until it expires or this process ends");
        }
    }

    /// Collects once, and looks what is gone.
    async fn free(&self, run: Run<'_>, plan: &Plan, report: &mut Report) -> Result<(), StoreError> {
        let namespace = &plan.namespace;
        (run.progress)(Progress::Collecting);
        let collecting = host_guard::release(&self.store, namespace, run.id);
        collecting.instrument(info_span!("collect")).await?;
        (run.progress)(Progress::Measuring);
        let measuring = retry(async || self.store.gone(namespace, &plan.freed).await);
        let gone = measuring.instrument(info_span!("measure")).await?;
        report.reclaimed = Reclaimed(gone.amount());
        report.freed = gone;
        Ok(())
    }

    /// Removes the records of a plan. The outcomes are in the order of its steps.
    async fn remove_all(&self, run: Run<'_>, plan: &Plan) -> Vec<Outcome> {
        let steps = plan.steps.len();
        let pace = run.options.max_deletes_per_second.map(pace);
        let removals = plan.steps.iter().enumerate().map(|(index, step)| {
            let pace = pace.as_ref();
            async move {
                if let Some(pace) = pace {
                    pace.lock().await.tick().await;
                }
                if run.cancel.is_cancelled() {
                    return (index, Outcome::Refused(RefuseReason::Cancelled));
                }
                let span = info_span!("remove_image", name = %step.image.name);
                let removing = self.remove(&plan.namespace, step);
                (index, removing.instrument(span).await)
            }
        });
        let mut done = 0;
        let mut outcomes: Vec<(usize, Outcome)> = Vec::with_capacity(steps);
        let mut removals = stream::iter(removals).buffer_unordered(REMOVALS_AT_ONCE);
        while let Some(outcome) = removals.next().await {
            done += 1;
            (run.progress)(Progress::Step { done, steps });
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    async fn remove(&self, namespace: &Namespace, step: &Step) -> Outcome {
        let image = &step.image;
        if step.reason == RemoveReason::Replaced {
            // First, so that there is no moment at which nothing keeps the image.
            let nameless = image.without_name();
            let writing = retry(async || self.store.restore_image(namespace, &nameless).await);
            match writing.await {
                Ok(digest) if digest == image.target.digest => {}
                Ok(_) => return Outcome::Failed(format!("`{}` is taken", nameless.name)),
                Err(error) => return Outcome::Failed(chain(&error)),
            }
        }
        let mut is_answer_lost = false;
        // Safe to try again: the removal compares the target each time.
        let removing = retry(async || {
            let deleted = self.store.delete_image(namespace, image).await;
            match deleted {
                // An earlier try did it, and only its answer was lost.
                Ok(Deletion::Gone) if is_answer_lost => Ok(Deletion::Removed),
                Err(error) => {
                    is_answer_lost |= error.class() == Class::Retry;
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
                // It may have happened all the same.
                let target = retry(async || self.store.image_target(namespace, &image.name).await);
                match target.await {
                    Ok(None) => Outcome::Removed,
                    Ok(Some(_)) | Err(_) => Outcome::Failed(chain(&error)),
                }
            }
        }
    }
}

/// A ticker for so many removals a second. Late ticks are not made up for in a burst.
fn pace(per_second: u32) -> Mutex<Interval> {
    let mut ticks = interval(Duration::from_secs(1) / per_second.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Mutex::new(ticks)
}

/// Sorts the outcomes, which are in the order of the steps, into the report.
fn record(report: &mut Report, plan: &Plan, outcomes: Vec<Outcome>) {
    for (step, outcome) in plan.steps.iter().zip(outcomes) {
        let name = step.image.name.clone();
        match outcome {
            Outcome::Removed => report.removed.push(removed(step)),
            Outcome::Refused(reason) => report.refused.push(Refused { name, reason }),
            Outcome::Failed(error) => {
                warn!(image = %name, %error, "image could not be removed");
                report.failed.push(Failed { name, error });
            }
        }
    }
}

/// Puts into the report what the second look came to. Returns what forbids to release.
fn record_look(report: &mut Report, plan: &Plan, looked: Looked) -> Option<StoreError> {
    let Looked {
        restored,
        gone,
        blind,
        stuck,
    } = looked;
    report.unfinished = blind;
    // Of a removal that failed, only a look can tell whether it was made.
    let made = |failed: &Failed| gone.contains(&failed.name);
    let made: Vec<Failed> = report.failed.extract_if(.., |it| made(it)).collect();
    let made = |step: &&Step| made.iter().any(|it| it.name == step.image.name);
    report
        .removed
        .extend(plan.steps.iter().filter(made).map(removed));
    for wanted in restored {
        record_restored(report, wanted);
    }
    let (wanted, error) = stuck?;
    strike_out(report, &wanted);
    report.failed.push(Failed {
        name: wanted.name,
        error: chain(&error),
    });
    Some(error)
}

/// Moves what had to come back to the refused.
fn record_restored(report: &mut Report, wanted: Wanted) {
    strike_out(report, &wanted);
    if wanted.image.name != wanted.name {
        let Wanted { name, image, .. } = &wanted;
        let new = &image.name;
        report.warnings.push(format!(
            "image `{name}` is restored as `{new}`, because its name points elsewhere by now"
        ));
    }
    report.refused.push(Refused {
        name: wanted.name,
        reason: RefuseReason::MustStay(wanted.reason, wanted.holders),
    });
}

/// Takes a record out of the outcomes, for which it has another.
fn strike_out(report: &mut Report, wanted: &Wanted) {
    report.removed.retain(|removed| removed.name != wanted.name);
    report.failed.retain(|failed| failed.name != wanted.name);
}

/// The records that are removed, and those of which nobody can tell: a removal that failed may
/// have happened, and then somebody may need what it removed.
fn perhaps_gone(plan: &Plan, report: &Report) -> Vec<ImageRecord> {
    let failed: BTreeSet<&str> = report.failed.iter().map(|it| it.name.as_str()).collect();
    let images = plan.steps.iter().map(|step| &step.image);
    let failed = images.filter(|image| failed.contains(image.name.as_str()));
    removed_images(plan, report)
        .into_iter()
        .chain(failed.cloned())
        .collect()
}

/// The records of the steps that the report has as removed.
fn removed_images(plan: &Plan, report: &Report) -> Vec<ImageRecord> {
    let names: BTreeSet<&str> = report.removed.iter().map(|it| it.name.as_str()).collect();
    let images = plan.steps.iter().map(|step| &step.image);
    let removed = images.filter(|image| names.contains(image.name.as_str()));
    removed.cloned().collect()
}
