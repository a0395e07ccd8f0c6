//! Carries out a plan: hold, remove, look again, release, measure.
//!
//! # Crash safety
//!
//! A run can be killed at any point without losing an image. Until the hold is written, nothing has
//! changed. From then on the hold's lease keeps all content of the records, and its journal contains
//! the records; the run that takes the guard next finds it. The lease outlives the guard, so a run
//! that sleeps loses nothing. It expires, so it does not keep content forever.

use std::collections::BTreeMap;
use std::time::Duration;

use reclaim_model::{
    Digest, Freed, ImageRecord, Inventory, Mode, Namespace, Plan, Reclaimed, Report, SnapshotSizes,
    chain,
};
use reclaim_plan::{image_objects, left, rows};
use reclaim_store::{LeaseDeletion, NO_LABELS, StoreError};
use tokio::time::Instant;
use tracing::{info, info_span, warn};

use crate::confirm::Restricted;
use crate::controls::Progress;
use crate::cuts::CutLabels;
use crate::engine::Engine;
use crate::error::RunError;
use crate::full_disk::Ended;
use crate::grace;
use crate::hold::Hold;
use crate::host_guard::{self, Collection};
use crate::journal::Changes;
use crate::measure::{Measuring, enter_sizes, snapshots_of};
use crate::named;
use crate::off_thread::{blocking, lend};
use crate::outcomes::{
    CutOutcomes, possibly_removed, record, record_cuts, record_second_look, removed_images,
};
use crate::presence::Presence;
use crate::preview::blank_report;
use crate::protection::log_lifted;
use crate::retry::retry;
use crate::run::{Execution, Run, with_steps};

/// Why a run that is cancelled within its grace period restores everything.
const GRACE_CUT_SHORT: &str =
    "cancelled before the grace period was over; what the run removed is restored";

/// What the last steps of a run need.
#[derive(Clone, Copy)]
struct Ending<'a> {
    presence: &'a Presence,
    journals: &'a [Digest],
}

/// What a run has removed, or may have removed.
struct Removals {
    gone: Vec<ImageRecord>,
    cut: CutLabels,
    /// Whether the grace period has passed since. If not, the second look may miss new users.
    is_settled: bool,
}

impl Engine {
    /// Carries out a plan under the guard, and releases the guard.
    ///
    /// Not cancellation safe: the end of the run releases or restores the removed images. Cancel
    /// the token instead.
    ///
    /// # Errors
    ///
    /// Only if the hold cannot be written, or the run is cancelled before that. Then nothing has
    /// changed, and the caller still has the guard. Later failures are in the report.
    pub(crate) async fn execute(
        &self,
        run: Run<'_>,
        presence: &Presence,
        restricted: Restricted,
    ) -> Result<Report, RunError> {
        let Restricted { preview, refused } = restricted;
        let (mut inventory, plan) = (preview.inventory, preview.plan);
        info!(steps = plan.steps.len(), kept = plan.kept.len(), "pruning");
        log_lifted(run.id, &self.caller(), &plan);
        let watcher = self.store.watch_events(&plan.namespace).ok();
        let restricted = self.restricted_images(&plan, &inventory).await;
        let labels = self.labels_of_cuts(&plan).await?;
        let holding = self.hold(run, Changes::new(&plan, &labels, &restricted));
        let held = self.phase(info_span!("hold"), holding).await;
        if run.cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        // One may have come since the run began; after this check the removals begin.
        self.check_inhibitors_of(run).await?;

        let id = run.id.clone();
        let blank = move || (blank_report(id, Mode::Apply, &plan), plan);
        let (mut report, mut plan) = blocking(blank).await;
        report.guard = Some(self.store.delete_guard());
        report.refused = refused;
        let mut execution = Execution {
            run,
            inventory: &mut inventory,
            report: &mut report,
            watcher: watcher.as_ref(),
            directories: None,
            restricted: &restricted,
            cuts: CutOutcomes::default(),
        };
        let Ended { journals, result } = match held? {
            Some(journals) => {
                let result = self.carry_out(&mut execution, &mut plan, labels).await;
                Ended { journals, result }
            }
            None => {
                self.carry_out_on_full_disk(&mut execution, &mut plan, labels)
                    .await?
            }
        };
        let (directories, cuts) = (execution.directories, execution.cuts);
        record_cuts(&plan, cuts, &mut report);
        let ending = Ending {
            presence,
            journals: &journals,
        };
        match result {
            Ok(()) => self.finish(run, ending, &mut plan, &mut report).await,
            Err(error) => self.give_up(run, &mut report, &error),
        }
        self.release_guard(run, presence, &mut report).await;
        if let Some(before) = directories.filter(|_| report.unfinished.is_none()) {
            self.enter_stranded(&before, &mut report).await;
        }
        // Off the async threads, because dropping the inventory takes long, too.
        let report = blocking(move || {
            let images = removed_images(&plan, &report);
            // Without a collection, nothing has left the namespace.
            let released = &report.not_counted.kept_elsewhere.blobs;
            let released = if report.collection.is_some() {
                released.as_slice()
            } else {
                &[]
            };
            report.rows = rows(&images, &inventory, &report.freed.blobs, released);
            report.content_bytes = content_bytes(&images, &inventory, &plan.namespace);
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

    /// Writes the hold of a plan; `None` if the disk has no room for it or for the collection.
    async fn hold(
        &self,
        run: Run<'_>,
        changes: Changes<'_>,
    ) -> Result<Option<Vec<Digest>>, StoreError> {
        let namespace = &run.request.namespace;
        let will_collect = run.options.undo_window.is_zero();
        // Only a precaution, so a read failure does not end the run.
        if will_collect && self.store.lacks_room_to_collect().await.unwrap_or(false) {
            warn!("the disk is almost full; removing a few images at a time");
            return Ok(None);
        }
        let writing = Hold::write(&self.store, namespace, run.id, changes);
        match run.hold_time.of(writing).await {
            Ok(journals) => Ok(Some(journals)),
            Err(error) if error.is_out_of_space() => {
                let error = chain(&error);
                warn!(%error, "no room for a journal; removing a few images at a time");
                // A partial hold would keep the content that the batches are to free.
                Hold::finish(&self.store, namespace, run.id, false, run.patience).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the images and labels of a plan, which a hold keeps, and restores those that came
    /// into use.
    ///
    /// # Errors
    ///
    /// If a needed record cannot be restored. Then the hold must not be released.
    pub(crate) async fn carry_out(
        &self,
        execution: &mut Execution<'_>,
        plan: &mut Plan,
        labels: CutLabels,
    ) -> Result<(), StoreError> {
        let Execution {
            run,
            inventory,
            report,
            watcher,
            directories,
            restricted: _,
            cuts: _,
        } = execution;
        let run = *run;
        let namespace = plan.namespace.clone();
        let snapshots = if run.measuring == Measuring::Meanwhile {
            snapshots_of(plan).await
        } else {
            Vec::new()
        };
        let frees_snapshots = !plan.freed.snapshots.is_empty();
        // Listing takes time, and neither the removals nor the second look should wait for it.
        let listing = async {
            match directories.take() {
                None if frees_snapshots => self.directories_before(inventory).await,
                before => before,
            }
        };
        let removing =
            futures::future::join(self.remove_and_wait(run, plan, labels, report), listing);
        let span = info_span!("remove");
        let (removals, before) = if run.measuring == Measuring::Meanwhile {
            let both = futures::future::join(removing, self.sizes(&namespace, &snapshots));
            let (removed, sizes) = self.phase(span, both).await;
            on_both(plan, report, |plan, report| {
                enter_sizes(plan, report, sizes);
            })
            .await;
            removed
        } else {
            self.phase(span, removing).await
        };
        *directories = before;
        let Removals {
            gone,
            cut,
            is_settled,
        } = removals;
        (run.progress)(Progress::LookingAgain);
        let restore_all = if !is_settled {
            Some(GRACE_CUT_SHORT.to_owned())
        } else if gone.is_empty() && cut.is_empty() {
            None
        } else {
            self.inhibited_meanwhile(run).await
        };
        let is_settled = restore_all.is_none();
        let looking = async {
            match restore_all {
                None => self.restore_used(run, inventory, gone, *watcher).await,
                Some(why) => self.restore_all(run, gone, why).await,
            }
        };
        let look = self.phase(info_span!("look_again"), looking).await;
        if !is_settled {
            // No further batch begins, and nothing is collected.
            run.cancel.cancel();
        }
        let not_written = on_both(plan, report, |plan, report| {
            record_second_look(report, plan, look)
        });
        let not_written = not_written.await;
        let (mut outcomes, relabeled) = self.look_again_at_cuts(execution, cut, is_settled).await;
        let result = relabeled.and(not_written.map_or(Ok(()), Err));
        if result.is_err() {
            // The next run restores all labels.
            outcomes.made.clear();
        }
        execution.cuts.add(outcomes);
        result
    }

    /// Restores the labels that are needed now, or without `is_settled` all.
    async fn look_again_at_cuts(
        &self,
        execution: &mut Execution<'_>,
        mut cut: CutLabels,
        is_settled: bool,
    ) -> (CutOutcomes, Result<(), StoreError>) {
        let run = execution.run;
        let failed = cut.take_failed();
        let relabeled = if is_settled {
            let relabeling =
                self.restore_used_labels(run, execution.inventory, cut, execution.report);
            relabeling.await
        } else {
            let relabeling = self.restore_labels(&run.request.namespace, cut.labels());
            relabeling.await.map(|()| Vec::new())
        };
        let (made, result) = match relabeled {
            Ok(made) => (made, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let outcomes = CutOutcomes {
            made,
            failed,
            stopped: run.stop(self.store.now()),
        };
        (outcomes, result)
    }

    /// Releases the guard. If that fails, the next run takes it over.
    async fn release_guard(&self, run: Run<'_>, presence: &Presence, report: &mut Report) {
        let namespace = &run.request.namespace;
        let releasing = host_guard::release_with(&self.store, namespace, presence, run.patience);
        if let Err(error) = releasing.await {
            let error = chain(&error);
            warn!(%error, "the guard stays until the next run");
            let warning = format!("the guard stays until the next run: {error}");
            report.warnings.push(warning);
        }
    }

    /// Removes the records and labels of a plan, and waits for the grace period.
    async fn remove_and_wait(
        &self,
        run: Run<'_>,
        plan: &mut Plan,
        labels: CutLabels,
        report: &mut Report,
    ) -> Removals {
        let began = Instant::now();
        let count = plan.steps.len() + plan.cuts.len();
        let outcomes = self.remove_all(run, plan).await;
        on_both(plan, report, |plan, report| record(report, plan, outcomes)).await;
        let cut = self.cut_all(run, labels, report).await;
        let last_removal = Instant::now();
        let each_took =
            last_removal.duration_since(began) / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let gone = on_both(plan, report, |plan, report| possibly_removed(plan, report)).await;
        let is_any = !gone.is_empty() || !cut.is_empty();
        let changes = run.hold_time.took() + each_took;
        let grace = run.options.grace.after(changes);
        let grace = grace::wait_until(last_removal + grace, run.cancel);
        Removals {
            is_settled: !is_any || self.heartbeat.while_waiting(grace).await,
            gone,
            cut,
        }
    }

    /// Frees the removed images, or holds them for the undo window.
    async fn finish(&self, run: Run<'_>, ending: Ending<'_>, plan: &mut Plan, report: &mut Report) {
        let window = run.options.undo_window;
        let is_any = !report.removed.is_empty() || !report.cuts.is_empty();
        let finished = if window > Duration::ZERO && is_any {
            self.keep(run, ending.journals, report).await
        } else if !is_any && report.failed.is_empty() && run.stop(self.store.now()).is_some() {
            // Stopped before the first removal, so there is nothing to collect.
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

    /// Reports the run as unfinished. The removed images stay held until the next run, or an undo,
    /// restores them.
    fn give_up(&self, run: Run<'_>, report: &mut Report, error: &StoreError) {
        let error = chain(error);
        warn!(%error, "run is unfinished");
        report.unfinished = Some(error);
        self.unfinished.note(&run.request.namespace);
    }

    /// Holds the removed images for the undo window.
    async fn keep(
        &self,
        run: Run<'_>,
        journals: &[Digest],
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let namespace = &run.request.namespace;
        let bytes = report.estimate.0.total_bytes();
        let until = Hold::keep(&self.store, run, journals, bytes, self.keeper()).await?;
        Hold::finish(&self.store, namespace, run.id, false, run.patience).await?;
        report.held_until = Some(until);
        Ok(())
    }

    /// Runs one collection, and measures what is gone.
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
        // It ends when containerd stops answering other calls.
        let collecting = self.heartbeat.while_waiting(collecting);
        let collection = self.phase(info_span!("collect"), collecting).await?;
        match collection {
            Collection::Done => report.collection = Some(began.elapsed()),
            Collection::StillRunning => {
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
        let measuring = run.patience.retry(|| {
            self.store
                .gone(namespace, &plan.freed, &plan.not_counted.kept_elsewhere)
        });
        let (gone, released, unknown) = self.phase(info_span!("measure"), measuring).await?;
        report.warnings.extend(unknown);
        report.not_counted.kept_elsewhere = released;
        let comparing = lend(&mut plan.freed, move |planned| {
            let still_there = planned.without(&gone);
            (gone.amount(), gone, still_there)
        });
        let (amount, gone, still_there) = comparing.await;
        report.reclaimed = Reclaimed(amount);
        report.freed = gone;
        // During a collection, content that is still there need not have a holder.
        if still_there != Freed::default() && collection == Collection::Done {
            match self.observe_everything().await {
                Ok(inventory) => {
                    let namespace = namespace.clone();
                    let looking = move || left(&inventory, &namespace, &still_there);
                    report.left = blocking(looking).await;
                }
                Err(error) => {
                    let error = chain(&error);
                    let warning = format!("cannot list the holders of what was not freed: {error}");
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
            LeaseDeletion::Collecting => Ok(Collection::StillRunning),
            // The lease is gone, but it is unknown whether a collection followed.
            LeaseDeletion::Gone => host_guard::collect(&self.store, namespace, presence).await,
        }
    }

    /// Lists all namespaces, without reading manifests and configs.
    pub(crate) async fn observe_everything(&self) -> Result<Inventory, StoreError> {
        retry(|| self.store.observe(&[], &NO_LABELS, self.store.now())).await
    }
}

/// Runs work on a plan and its report on a blocking thread; see [`lend`].
/// Returns the bytes of the content of images, by target.
fn content_bytes(
    images: &[ImageRecord],
    inventory: &Inventory,
    namespace: &Namespace,
) -> BTreeMap<Digest, u64> {
    if images.is_empty() {
        return BTreeMap::new();
    }
    let objects = image_objects(inventory, namespace);
    let sizes = objects.sizes(&SnapshotSizes::default());
    let targets = images.iter().map(|image| &image.target.digest);
    let found =
        targets.filter_map(|target| Some((target.clone(), sizes.get(target)?.content_bytes)));
    found.collect()
}

async fn on_both<R: Send + 'static>(
    plan: &mut Plan,
    report: &mut Report,
    work: impl FnOnce(&mut Plan, &mut Report) -> R + Send + 'static,
) -> R {
    let nothing = with_steps(plan, Vec::new());
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
