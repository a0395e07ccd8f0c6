//! Carrying out a plan: hold, remove, look again, release, measure.
//!
//! # What is true after each step
//!
//! Killed at any point, nothing is lost. Before the hold is written nothing has changed. From
//! then on its lease keeps everything that the records kept, and the journal in it can write them
//! again; whoever takes the guard next finds it. The lease outlives the guard, so a run that is
//! away for long loses nothing, and expires, so nothing is kept for good either.

use std::time::Duration;

use reclaim_model::{
    Digest, Freed, ImageRecord, Inventory, Mode, Plan, Reclaimed, Report, Unpin, chain,
};
use reclaim_plan::{left, rows};
use reclaim_store::{LeaseDeletion, NO_LABELS, StoreError};
use tokio::time::Instant;
use tracing::{info, info_span, warn};

use crate::cancel::wait_out;
use crate::confirm::Restricted;
use crate::controls::Progress;
use crate::engine::Engine;
use crate::error::RunError;
use crate::full_disk::Ended;
use crate::hold::Hold;
use crate::host_guard::{self, Collection};
use crate::measure::{Measuring, enter_sizes, snapshots_of};
use crate::named;
use crate::off_thread::{blocking, lend};
use crate::outcomes::{perhaps_gone, record, record_look, removed_images};
use crate::presence::Presence;
use crate::preview::blank_report;
use crate::retry::retry;
use crate::run::{Going, Run, part};

/// Why everything is restored when a run is stopped within its grace.
const UNSETTLED: &str = "stopped before the grace was over; what was removed is restored";

/// What it takes to bring a run to its end.
#[derive(Clone, Copy)]
struct Ending<'a> {
    presence: &'a Presence,
    journals: &'a [Digest],
}

/// What may be gone by a run's doing.
struct Taken {
    gone: Vec<ImageRecord>,
    unpinned: Vec<Unpin>,
    /// Whether the grace has passed since. If not, what has begun to use them may not be seen.
    is_settled: bool,
}

impl Engine {
    /// Carries out a plan under the guard, and gives the guard back.
    ///
    /// Not cancellation safe: what was removed is released or restored only at the end. Stop
    /// it by the token.
    ///
    /// # Errors
    ///
    /// Only if the hold cannot be written, or the run is cancelled before that is done; nothing has
    /// changed then, and the caller still has the guard. Later failures are in the report.
    pub(crate) async fn execute(
        &self,
        run: Run<'_>,
        presence: &Presence,
        restricted: Restricted,
    ) -> Result<Report, RunError> {
        let Restricted { preview, refused } = restricted;
        let (mut inventory, mut plan) = (preview.inventory, preview.plan);
        info!(steps = plan.steps.len(), kept = plan.kept.len(), "pruning");
        let watcher = self.store.watch_events(&plan.namespace).ok();
        let holding = self.hold(run, &plan);
        let held = self.phase(info_span!("hold"), holding).await;
        if run.cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }

        let mut report;
        let id = run.id.clone();
        (plan, report) = blocking(move || {
            let report = blank_report(id, Mode::Apply, &plan);
            (plan, report)
        })
        .await;
        report.guard = Some(self.store.delete_guard());
        report.refused = refused;
        let mut going = Going {
            run,
            inventory: &mut inventory,
            report: &mut report,
            watcher: watcher.as_ref(),
            directories: None,
        };
        let Ended { journals, sound } = match held? {
            Some(journals) => {
                let sound = self.carry_out(&mut going, &mut plan).await;
                Ended { journals, sound }
            }
            None => self.carry_out_on_full_disk(&mut going, &mut plan).await?,
        };
        let directories = going.directories;
        let ending = Ending {
            presence,
            journals: &journals,
        };
        match sound {
            Ok(()) => self.finish(run, ending, &mut plan, &mut report).await,
            Err(error) => self.give_up(run, &mut report, &error),
        }
        self.give_back_guard(run, presence, &mut report).await;
        if let Some(before) = directories.filter(|_| report.unfinished.is_none()) {
            self.enter_stranded(&before, &mut report).await;
        }
        // What is not reported is freed with that.
        let report = blocking(move || {
            let images = removed_images(&plan, &report);
            report.rows = rows(&images, &inventory, &report.freed.blobs);
            report.refused.sort_by(|a, b| a.name.cmp(&b.name));
            named::settle(&mut report, &plan);
            drop((inventory, plan));
            report
        })
        .await;
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
        // It is a precaution: what cannot be read is no reason to fail.
        if will_collect && self.store.lacks_room_to_collect().await.unwrap_or(false) {
            warn!("the disk is almost full; removing a few images at a time");
            return Ok(None);
        }
        match Hold::write(&self.store, run.id, plan).await {
            Ok(journals) => Ok(Some(journals)),
            Err(error) if error.is_out_of_space() => {
                let error = chain(&error);
                warn!(%error, "no room for a journal; removing a few images at a time");
                // What was written of it would hold all that the parts are to free.
                let namespace = &plan.namespace;
                Hold::finish(&self.store, namespace, run.id, false, run.patience).await?;
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
            watcher,
            directories,
        } = going;
        let run = *run;
        let namespace = plan.namespace.clone();
        let snapshots = if run.measuring == Measuring::Meanwhile {
            snapshots_of(plan).await
        } else {
            Vec::new()
        };
        let frees_snapshots = !plan.freed.snapshots.is_empty();
        // Listing takes time: neither the removals nor the end after the second look may wait for it.
        let listing = async {
            match directories.take() {
                None if frees_snapshots => self.directories_before(inventory).await,
                before => before,
            }
        };
        let taking = futures::future::join(self.take_away(run, plan, report), listing);
        let removing = info_span!("remove");
        let (taken, before) = if run.measuring == Measuring::Meanwhile {
            let both = futures::future::join(taking, self.sizes(&namespace, &snapshots));
            let (taken, sizes) = self.phase(removing, both).await;
            on_both(plan, report, |plan, report| {
                enter_sizes(plan, report, sizes);
            })
            .await;
            taken
        } else {
            self.phase(removing, taking).await
        };
        *directories = before;
        let Taken {
            gone,
            unpinned,
            is_settled,
        } = taken;
        (run.progress)(Progress::LookingAgain);
        let looking = async {
            if is_settled {
                self.restore_used(run, inventory, gone, *watcher).await
            } else {
                self.restore_all(run, gone, UNSETTLED.to_owned()).await
            }
        };
        let looked = self.phase(info_span!("look_again"), looking).await;
        let stuck = on_both(plan, report, |plan, report| {
            record_look(report, plan, looked)
        });
        let stuck = stuck.await;
        let repinned = if is_settled {
            let repinning = self.repin_used(run, inventory, unpinned, report);
            repinning.await
        } else {
            let repinning = self.repin_all(&plan.namespace, &unpinned);
            repinning.await.map(|()| Vec::new())
        };
        let stuck = stuck.map_or(Ok(()), Err);
        repinned.and_then(|unpinned| stuck.map(|()| report.unpinned = unpinned))
    }

    /// Gives the guard back. If that fails the next run finds out that this one is over.
    async fn give_back_guard(&self, run: Run<'_>, presence: &Presence, report: &mut Report) {
        let namespace = &run.request.namespace;
        let giving =
            host_guard::give_back_patiently(&self.store, namespace, presence, run.patience);
        if let Err(error) = giving.await {
            let error = chain(&error);
            warn!(%error, "the guard stays until the next run");
            let warning = format!("the guard stays until the next run: {error}");
            report.warnings.push(warning);
        }
    }

    /// Removes the records and labels of a plan, and waits out the grace.
    async fn take_away(&self, run: Run<'_>, plan: &mut Plan, report: &mut Report) -> Taken {
        let outcomes = self.remove_all(run, plan).await;
        on_both(plan, report, |plan, report| record(report, plan, outcomes)).await;
        let unpinned = self.unpin_all(run, plan, report).await;
        let gone = on_both(plan, report, |plan, report| perhaps_gone(plan, report)).await;
        let is_any = !gone.is_empty() || !unpinned.is_empty();
        let grace = wait_out(run.cancel, run.options.grace);
        Taken {
            is_settled: !is_any || self.heartbeat.while_waiting(grace).await,
            gone,
            unpinned,
        }
    }

    /// Frees what was removed, or keeps it for the undo window.
    async fn finish(&self, run: Run<'_>, ending: Ending<'_>, plan: &mut Plan, report: &mut Report) {
        let window = run.options.undo_window;
        let is_any = !report.removed.is_empty() || !report.unpinned.is_empty();
        let finished = if window > Duration::ZERO && is_any {
            self.keep(run, ending.journals, report).await
        } else if !is_any && report.failed.is_empty() && run.stop(self.store.now()).is_some() {
            // Stopped before the first removal: nothing of this run waits to be freed.
            let namespace = &plan.namespace;
            Hold::finish(&self.store, namespace, run.id, false, run.patience)
                .await
                .map(drop)
        } else {
            self.free(run, ending, plan, report).await
        };
        if let Err(error) = finished {
            self.give_up(run, report, &error);
        }
    }

    /// Notes that the run could not be brought to its end. Everything that it removed stays held;
    /// the next run, or an undo, goes on from there.
    fn give_up(&self, run: Run<'_>, report: &mut Report, error: &StoreError) {
        let error = chain(error);
        warn!(%error, "run is unfinished");
        report.unfinished = Some(error);
        self.unfinished.note(&run.request.namespace);
    }

    /// Holds what was removed for the undo window.
    async fn keep(
        &self,
        run: Run<'_>,
        journals: &[Digest],
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let namespace = &run.request.namespace;
        let until = Hold::keep(&self.store, run, journals).await?;
        Hold::finish(&self.store, namespace, run.id, false, run.patience).await?;
        report.held_until = Some(until);
        Ok(())
    }

    /// Collects once, and looks what is gone.
    async fn free(
        &self,
        run: Run<'_>,
        ending: Ending<'_>,
        plan: &mut Plan,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let namespace = &run.request.namespace;
        (run.progress)(Progress::Collecting);
        let collecting = self.collect_run(run, ending.presence);
        let began = Instant::now();
        // It is waited for only as long as containerd answers.
        let collecting = self.heartbeat.while_waiting(collecting);
        let collection = self.phase(info_span!("collect"), collecting).await?;
        match collection {
            Collection::Done => report.collection = Some(began.elapsed()),
            Collection::GoesOn => {
                let waited = began.elapsed().as_secs();
                let warning = format!(
                    "containerd is still collecting after {waited} s; it will free more than is \
                     counted here"
                );
                warn!(warning);
                report.warnings.push(warning);
            }
        }
        (run.progress)(Progress::Measuring);
        let measuring = run
            .patience
            .retry(|| self.store.gone(namespace, &plan.freed));
        let (gone, unknown) = self.phase(info_span!("measure"), measuring).await?;
        report.warnings.extend(unknown);
        let comparing = lend(&mut plan.freed, move |planned| {
            let still_there = planned.without(&gone);
            (gone.amount(), gone, still_there)
        });
        let (amount, gone, still_there) = comparing.await;
        report.reclaimed = Reclaimed(amount);
        report.freed = gone;
        // What is still there need not be held by anybody while the collection goes on.
        if still_there != Freed::default() && collection == Collection::Done {
            match self.observe_everything().await {
                Ok(inventory) => {
                    let namespace = namespace.clone();
                    let looking = move || left(&inventory, &namespace, &still_there);
                    report.left = blocking(looking).await;
                }
                Err(error) => {
                    let error = chain(&error);
                    let warning = format!("who holds what is still there is unknown: {error}");
                    report.warnings.push(warning);
                }
            }
        }
        Ok(())
    }

    /// Ends the hold of the run with the collection.
    async fn collect_run(
        &self,
        run: Run<'_>,
        presence: &Presence,
    ) -> Result<Collection, StoreError> {
        let namespace = &run.request.namespace;
        let ended = Hold::finish(&self.store, namespace, run.id, true, run.patience).await?;
        match ended {
            LeaseDeletion::Deleted => Ok(Collection::Done),
            LeaseDeletion::Collecting => Ok(Collection::GoesOn),
            // It is gone without a collection that anybody waited for.
            LeaseDeletion::Gone => host_guard::collect(&self.store, namespace, presence).await,
        }
    }

    /// Lists all namespaces, without reading what images are.
    pub(crate) async fn observe_everything(&self) -> Result<Inventory, StoreError> {
        retry(|| self.store.observe(&[], &NO_LABELS, self.store.now())).await
    }
}

/// Works on a plan and its report on a thread that may block; see [`lend`].
async fn on_both<R: Send + 'static>(
    plan: &mut Plan,
    report: &mut Report,
    work: impl FnOnce(&mut Plan, &mut Report) -> R + Send + 'static,
) -> R {
    let nothing = part(plan, Vec::new());
    let blank = blank_report(report.run.clone(), report.mode, &nothing);
    let mut lent = (
        std::mem::replace(plan, nothing),
        std::mem::replace(report, blank),
    );
    let done;
    (lent, done) = blocking(move || {
        let done = work(&mut lent.0, &mut lent.1);
        (lent, done)
    })
    .await;
    (*plan, *report) = lent;
    done
}
