//! Carrying out a plan: hold, remove, look again, release, measure.
//!
//! # What is true after each step
//!
//! Killed at any point, nothing is lost. Before the hold is written nothing has changed. From
//! then on the run's lease keeps everything that the records kept, and the journal in it can
//! write them again; whoever takes the guard next finds it. The lease expires, so nothing is
//! kept for good either.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Digest, Freed, ImageRecord, Inventory, Mode, Plan, PruneRequest, Reclaimed, RefuseReason,
    Report, RunId, Unpin, chain,
};
use reclaim_plan::{left, rows};
use reclaim_store::{Alarm, NO_LABELS, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, info_span, warn};

use crate::clock;
use crate::confirm::Restricted;
use crate::engine::{Engine, RunError};
use crate::full_disk::Ended;
use crate::hold::Hold;
use crate::host_guard;
use crate::measure::{Measuring, enter_sizes};
use crate::named;
use crate::options::RunOptions;
use crate::outcomes::{perhaps_gone, record, record_look, removed_images};
use crate::preview::{Preview, blank_report};
use crate::progress::{Progress, ProgressSink};
use crate::retry::retry;

/// How long looking again and releasing may take, after the grace.
const TO_END: SignedDuration = SignedDuration::from_hours(1);

/// What a run is and how it goes about its work.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) id: &'a RunId,
    pub(crate) request: &'a PruneRequest,
    pub(crate) options: &'a RunOptions,
    pub(crate) progress: &'a ProgressSink<'a>,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) measuring: Measuring,
    /// When the guard's lease expires, and with it the hold.
    pub(crate) expires: Timestamp,
}

impl Run<'_> {
    /// Returns why nothing more may be taken away, if so.
    pub(crate) fn stop(self) -> Option<RefuseReason> {
        self.stop_at(clock::now())
    }

    fn stop_at(self, now: Timestamp) -> Option<RefuseReason> {
        let left = now.duration_until(self.expires);
        let grace = SignedDuration::try_from(self.options.grace).unwrap_or(SignedDuration::MAX);
        if self.cancel.is_cancelled() {
            Some(RefuseReason::Cancelled)
        } else if left < grace.saturating_add(TO_END) {
            Some(RefuseReason::OutOfTime)
        } else {
            None
        }
    }
}

/// A run that removes.
pub(crate) struct Going<'a> {
    pub(crate) run: Run<'a>,
    /// What the plan was made from.
    pub(crate) inventory: &'a mut Inventory,
    pub(crate) report: &'a mut Report,
    pub(crate) alarm: Option<&'a Alarm>,
}

/// What may be gone by a run's doing.
struct Taken {
    gone: Vec<ImageRecord>,
    unpinned: Vec<Unpin>,
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
            mut plan,
        } = preview;
        info!(steps = plan.steps.len(), kept = plan.kept.len(), "pruning");
        let alarm = self.store.alarm(&plan.namespace).ok();
        let alarm = alarm.as_ref();
        let holding = self.hold(run, &plan);
        let held = self.phase(info_span!("hold"), holding).await;

        let mut report = blank_report(run.id.clone(), Mode::Apply, &plan);
        report.guard = Some(self.store.delete_guard());
        report.refused = refused;
        let mut going = Going {
            run,
            inventory: &mut inventory,
            report: &mut report,
            alarm,
        };
        let Ended { journals, sound } = match held {
            Ok(Some(journals)) => {
                let sound = self.carry_out(&mut going, &mut plan).await;
                Ended { journals, sound }
            }
            Ok(None) => self.carry_out_on_full_disk(&mut going, &mut plan).await?,
            Err(error) => return Err(error.into()),
        };
        match sound {
            Ok(()) => self.finish(run, &plan, &journals, &mut report).await,
            Err(error) => self.give_up(run, &mut report, &error).await,
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

    /// Writes the hold of a plan; `None` if there is no room for it, or none for the collection
    /// that would follow.
    async fn hold(&self, run: Run<'_>, plan: &Plan) -> Result<Option<Vec<Digest>>, StoreError> {
        let will_collect = run.options.undo_window.is_zero();
        // It is a precaution: what cannot be told is no reason to fail.
        if will_collect && self.store.is_tight().await.unwrap_or(false) {
            warn!("the disk is almost full; removing a few images at a time");
            return Ok(None);
        }
        match Hold::write(&self.store, run.id, plan).await {
            Ok(journals) => Ok(Some(journals)),
            Err(error) if error.is_out_of_space() => {
                let error = chain(&error);
                warn!(%error, "no room for a journal; removing a few images at a time");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes what a plan takes away, which is held, and brings back what became used.
    ///
    /// # Errors
    ///
    /// If something that has to come back cannot be written. Then nothing may be released.
    pub(crate) async fn carry_out(
        &self,
        going: &mut Going<'_>,
        plan: &mut Plan,
    ) -> Result<(), StoreError> {
        let Going {
            run,
            inventory,
            report,
            alarm,
        } = going;
        let run = *run;
        let taking = self.take_away(run, plan, report);
        let removing = info_span!("remove");
        let taken = if run.measuring == Measuring::Meanwhile {
            let both = futures::future::join(taking, self.sizes_of(plan));
            let (taken, sizes) = self.phase(removing, both).await;
            enter_sizes(plan, report, sizes);
            taken
        } else {
            self.phase(removing, taking).await
        };
        let Taken { gone, unpinned } = taken;
        (run.progress)(Progress::LookingAgain);
        let looking = self.restore_used(run.request, inventory, gone, *alarm);
        let looked = self.phase(info_span!("look_again"), looking).await;
        let stuck = record_look(report, plan, looked);
        let repinning = self.repin_used(run, inventory, unpinned, report);
        match (repinning.await, stuck) {
            (Ok(unpinned), None) => {
                report.unpinned = unpinned;
                Ok(())
            }
            (Err(error), _) | (Ok(_), Some(error)) => Err(error),
        }
    }

    /// Removes the records and labels of a plan, and waits out the grace.
    async fn take_away(&self, run: Run<'_>, plan: &Plan, report: &mut Report) -> Taken {
        let outcomes = self.remove_all(run, plan).await;
        record(report, plan, outcomes);
        let unpinned = self.unpin_all(run, plan, report).await;
        let gone = perhaps_gone(plan, report);
        if !gone.is_empty() || !unpinned.is_empty() {
            tokio::time::sleep(run.options.grace).await;
        }
        Taken { gone, unpinned }
    }

    /// Frees what was removed or keeps it for the undo window, and gives the guard back.
    async fn finish(&self, run: Run<'_>, plan: &Plan, journals: &[Digest], report: &mut Report) {
        let namespace = &plan.namespace;
        let window = run.options.undo_window;
        let is_any = !report.removed.is_empty() || !report.unpinned.is_empty();
        let finished = if window > Duration::ZERO && is_any {
            let kept = Hold::keep(&self.store, namespace, run.id, journals, window).await;
            match kept {
                Ok(until) => {
                    // Small holds were made before, and end before.
                    report.held_until = report.held_until.or(Some(until));
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
        let collecting = host_guard::release(&self.store, namespace, run.id, run.expires);
        let began = Instant::now();
        self.phase(info_span!("collect"), collecting).await?;
        report.collection = Some(began.elapsed());
        (run.progress)(Progress::Measuring);
        let measuring = retry(|| self.store.gone(namespace, &plan.freed));
        let (gone, unknown) = self.phase(info_span!("measure"), measuring).await?;
        report.warnings.extend(unknown);
        let still_there = plan.freed.without(&gone);
        report.reclaimed = Reclaimed(gone.amount());
        report.freed = gone;
        if still_there != Freed::default() {
            match self.observe_everything().await {
                Ok(inventory) => report.left = left(&inventory, namespace, &still_there),
                Err(error) => {
                    let error = chain(&error);
                    let warning = format!("who holds what is still there is unknown: {error}");
                    report.warnings.push(warning);
                }
            }
        }
        Ok(())
    }

    /// Lists all namespaces, without reading what images are.
    async fn observe_everything(&self) -> Result<Inventory, StoreError> {
        retry(|| self.store.observe(&[], &NO_LABELS, clock::now())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::dangling;
    use crate::preview::new_run;
    use crate::progress::no_progress;

    #[test]
    fn a_run_stops_while_its_hold_lasts_for_the_grace_and_what_follows() {
        let id = new_run();
        let request = dangling();
        let grace = Duration::from_secs(90);
        let options = RunOptions {
            grace,
            ..RunOptions::default()
        };
        let cancel = CancellationToken::new();
        let expires = "2026-01-10T12:00:00Z".parse().unwrap();
        let run = Run {
            id: &id,
            request: &request,
            options: &options,
            progress: &no_progress,
            cancel: &cancel,
            measuring: Measuring::First,
            expires,
        };
        let last = expires - (SignedDuration::from_secs(90) + TO_END);
        assert_eq!(run.stop_at(last), None);
        let late = last + SignedDuration::from_nanos(1);
        assert_eq!(run.stop_at(late), Some(RefuseReason::OutOfTime));
        assert_eq!(run.stop_at(expires), Some(RefuseReason::OutOfTime));
        cancel.cancel();
        assert_eq!(run.stop_at(last), Some(RefuseReason::Cancelled));
    }
}
