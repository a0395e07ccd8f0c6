//! Removes images, or parts of them, in batches when the disk has no room for one journal of all.
//!
//! The first image is removed alone under a [`BatchHold`] that needs no free block, and collected at
//! once. That makes room for the next two, and so execution. The smallest images go first, because
//! containerd's collection writes more the more it removes. If not even the first hold can be
//! written, nothing is removed. Labels of blobs go after the images, in the same way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{
    Blob, Digest, Failed, ImageRecord, Inventory, Plan, RefuseReason, Refused, Report, chain,
};
use reclaim_store::StoreError;
use tracing::{info, info_span};

use crate::batch_hold::{self, BatchHold};
use crate::cuts::CutLabels;
use crate::dependents::Dependents;
use crate::engine::Engine;
use crate::error::RunError;
use crate::hold::Hold;
use crate::journal::{self, Changes};
use crate::measure::{Measuring, enter_sizes, snapshots_of};
use crate::outcomes::CutOutcomes;
use crate::retry::retry;
use crate::run::{Execution, with_steps};

/// The maximum number of images of a hold without a journal: each needs one more transaction on the
/// full disk.
const MAX_SMALL: usize = 4;

/// The result of carrying out a plan.
pub(crate) struct Ended {
    /// The journals under the hold's lease.
    pub(crate) journals: Vec<Digest>,
    /// An error if a needed record could not be restored.
    pub(crate) result: Result<(), StoreError>,
}

/// The result of a batch.
enum BatchResult {
    /// The batch made room.
    Freed,
    /// The batch freed nothing, but other images may.
    Kept,
    /// No hold could be written.
    NoHold(StoreError),
    /// The other images would fail for the same reason.
    Blocked(String),
    /// The hold must stay until the next run.
    Unfinished(StoreError),
}

/// What of a plan is still to be done: steps, by their places in the plan, and then the labels of blobs.
struct Batches<'a> {
    plan: &'a Plan,
    labels: &'a CutLabels,
    /// What fits into a small hold: the smallest images first, then the blobs with the fewest labels.
    queue: VecDeque<usize>,
    /// For each, the first of those with which it goes or stays.
    groups: Vec<usize>,
    /// What was tried.
    done: BTreeSet<usize>,
    /// The size of the next batch.
    size: usize,
    /// How many holds were attempted.
    tries: usize,
    /// How many holds were written.
    held: usize,
}

impl<'a> Batches<'a> {
    fn new(plan: &'a Plan, labels: &'a CutLabels, inventory: &Inventory) -> Self {
        let images = plan.steps.iter().map(|step| &step.image);
        let mut groups = Dependents::among(images.clone()).joined();
        let images: Vec<&ImageRecord> = images.collect();
        // By group: the size of its largest image, and whether all of them fit.
        let mut sizes = BTreeMap::new();
        for (image, group) in images.iter().zip(&groups) {
            let blobs = blob_count(inventory, &image.target.digest);
            let (size, fits) = sizes.entry(*group).or_insert(((false, 0, 0), true));
            *size = (false, blobs, batch_hold::weight(image)).max(*size);
            *fits &= batch_hold::fits(image);
        }
        for of_blob in labels.labels() {
            let size = (
                true,
                of_blob.labels.len(),
                batch_hold::labels_weight(of_blob),
            );
            sizes.insert(groups.len(), (size, batch_hold::labels_fit(of_blob)));
            groups.push(groups.len());
        }
        let all = 0..groups.len();
        let mut queue: Vec<usize> = all.filter(|index| sizes[&groups[*index]].1).collect();
        queue.sort_by_key(|index| (sizes[&groups[*index]].0, groups[*index]));
        Self {
            plan,
            labels,
            queue: queue.into(),
            groups,
            done: BTreeSet::new(),
            size: 1,
            tries: 0,
            held: 0,
        }
    }

    /// Returns the steps and labels with these places.
    fn some(&self, places: impl Iterator<Item = usize>) -> (Plan, CutLabels) {
        let (steps, labels): (Vec<usize>, Vec<usize>) =
            places.partition(|place| *place < self.plan.steps.len());
        let steps = steps.into_iter();
        let steps = steps.map(|place| self.plan.steps[place].clone());
        let labels = labels.into_iter();
        let labels = labels.map(|place| place - self.plan.steps.len());
        (
            with_steps(self.plan, steps.collect()),
            self.labels.some(labels),
        )
    }

    /// Returns the next batch.
    fn next(&self) -> (Plan, CutLabels) {
        self.some(self.queue.iter().take(self.picked()).copied())
    }

    /// Returns the length of the next batch, which divides no group.
    fn picked(&self) -> usize {
        let group = |at: usize| self.queue.get(at).map(|index| self.groups[*index]);
        let mut picked = self.size.min(self.queue.len());
        while picked > 0 && group(picked).is_some() && group(picked) == group(picked - 1) {
            picked += 1;
        }
        picked
    }

    /// Marks the next batch as held.
    fn advance(&mut self) {
        let picked = self.picked();
        self.done.extend(self.queue.drain(..picked));
        self.held += 1;
    }

    /// Returns what was not tried.
    fn rest(&self) -> (Plan, CutLabels) {
        let places = 0..self.groups.len();
        self.some(places.filter(|place| !self.done.contains(place)))
    }

    /// Returns whether the next batch contains all that remains.
    fn is_last(&self) -> bool {
        self.held > 0 && self.groups.len() - self.done.len() <= self.size
    }
}

/// Returns about how many blobs an image has: containerd's collection writes for each.
fn blob_count(inventory: &Inventory, digest: &Digest) -> usize {
    let mut blobs = 1;
    let document = inventory.documents.get(digest);
    for child in document.map_or(&[][..], |document| document.children()) {
        let document = inventory.documents.get(&child.digest);
        blobs += 1 + document.map_or(0, |it| it.children().len());
    }
    blobs
}

impl Engine {
    /// Carries out as much as possible of a plan whose journal does not fit on the disk. The report
    /// has the rest, with the reason.
    ///
    /// # Errors
    ///
    /// If not even one small hold can be written. Then nothing has changed.
    pub(crate) async fn carry_out_on_full_disk(
        &self,
        execution: &mut Execution<'_>,
        plan: &mut Plan,
        labels: CutLabels,
    ) -> Result<Ended, RunError> {
        if execution.run.measuring == Measuring::Meanwhile {
            // Batches free snapshots before the end of the run, so measure them first.
            let snapshots = snapshots_of(plan).await;
            let sizing = self.sizes(&plan.namespace, &snapshots);
            let sizes = self.phase(info_span!("size"), sizing).await;
            enter_sizes(plan, execution.report, sizes);
            execution.run.measuring = Measuring::First;
        }
        let mut batches = Batches::new(plan, &labels, execution.inventory);
        let mut blocked = String::new();
        while execution.run.stop(self.store.now()).is_none() {
            if batches.is_last() || batches.queue.is_empty() {
                let (mut rest, labels) = batches.rest();
                if rest.steps.is_empty() && labels.is_empty() {
                    break;
                }
                let changes = Changes::new(&rest, &labels, execution.restricted);
                let run = execution.run.id;
                let writing = Hold::write(&self.store, &plan.namespace, run, changes);
                match execution.run.hold_time.of(writing).await {
                    Ok(journals) => {
                        warn_of_batches(execution.report, &batches);
                        info!(steps = rest.steps.len(), "there is room for the rest");
                        let result = self.carry_out(execution, &mut rest, labels).await;
                        return Ok(Ended { journals, result });
                    }
                    Err(error) if batches.done.is_empty() && batches.queue.is_empty() => {
                        return Err(no_hold(error));
                    }
                    Err(error) if batches.queue.is_empty() => {
                        blocked = chain(&error);
                        break;
                    }
                    Err(_) => {}
                }
            }
            match self.remove_batch(execution, &mut batches).await {
                BatchResult::Freed => batches.size *= 2,
                BatchResult::Kept => {}
                BatchResult::NoHold(error) if batches.held == 0 => return Err(no_hold(error)),
                BatchResult::NoHold(error) => {
                    blocked = chain(&error);
                    break;
                }
                BatchResult::Blocked(why) => {
                    blocked = why;
                    break;
                }
                BatchResult::Unfinished(error) => {
                    record_rest(execution, &batches, &chain(&error), self.store.now());
                    return Ok(Ended {
                        journals: Vec::new(),
                        result: Err(error),
                    });
                }
            }
        }
        warn_of_batches(execution.report, &batches);
        record_rest(execution, &batches, &blocked, self.store.now());
        Ok(Ended {
            journals: Vec::new(),
            result: Ok(()),
        })
    }

    /// Removes the next batch under its own hold, and frees it.
    async fn remove_batch(
        &self,
        execution: &mut Execution<'_>,
        batches: &mut Batches<'_>,
    ) -> BatchResult {
        let namespace = &batches.plan.namespace;
        let (hold, mut batch, labels) = loop {
            let (batch, labels) = batches.next();
            let is_small = batch.steps.len() + labels.labels().len() <= MAX_SMALL;
            let (run, restricted) = (execution.run.id, execution.restricted);
            let changes = Changes::new(&batch, &labels, restricted);
            let blobs = journal::write(run, namespace, changes).await;
            let hold = BatchHold::new(run, changes, blobs, batches.tries, is_small);
            batches.tries += 1;
            let writing = hold.write(&self.store, namespace, execution.run.expires);
            let written = execution.run.hold_time.of(writing).await;
            match written {
                Ok(()) => break (hold, batch, labels),
                Err(error) if error.is_out_of_space() && batches.size > 1 => batches.size /= 2,
                Err(error) => return BatchResult::NoHold(error),
            }
        };
        if let Err(error) = self.refuse_missing(execution, &mut batch).await {
            // Nothing of the batch is removed yet.
            return match hold.delete(&self.store, namespace, false).await {
                Ok(()) => BatchResult::Blocked(chain(&error)),
                Err(error) => BatchResult::Unfinished(error),
            };
        }
        batches.advance();
        let (removed, failed) = (removals(execution), execution.report.failed.len());
        let was_finished = execution.report.unfinished.is_none();
        if let Err(error) = self.carry_out(execution, &mut batch, labels).await {
            return BatchResult::Unfinished(error);
        }
        let has_removed = removals(execution) > removed;
        let report = &mut *execution.report;
        let window = execution.run.options.undo_window;
        let ended = if has_removed && window > Duration::ZERO {
            let kept = hold.keep(&self.store, namespace, window, self.keeper());
            kept.await
                .map(|until| report.held_until = report.held_until.or(Some(until)))
        } else {
            let ending = hold.delete(&self.store, namespace, has_removed);
            self.phase(info_span!("collect"), ending).await
        };
        match ended {
            Err(error) => BatchResult::Unfinished(error),
            Ok(()) if was_finished && report.unfinished.is_some() => {
                BatchResult::Blocked(report.unfinished.clone().unwrap_or_default())
            }
            Ok(()) if has_removed && window > Duration::ZERO => BatchResult::Kept,
            Ok(()) if has_removed => BatchResult::Freed,
            Ok(()) => match report.failed.get(failed) {
                Some(failed) => BatchResult::Blocked(failed.error.clone()),
                None => BatchResult::Kept,
            },
        }
    }

    /// Refuses the steps whose target is gone since the plan: a lease accepts digests that do not
    /// exist.
    async fn refuse_missing(
        &self,
        execution: &mut Execution<'_>,
        batch: &mut Plan,
    ) -> Result<(), StoreError> {
        let seen = execution.inventory.namespaces.get(&batch.namespace);
        let mut steps = Vec::new();
        let mut missing = Vec::new();
        for step in &batch.steps {
            let target = &step.image.target.digest;
            let find = |blob: &Blob| blob.digest.cmp(target);
            let was_there =
                seen.is_some_and(|namespace| namespace.blobs.binary_search_by(find).is_ok());
            if was_there && !retry(|| self.store.has_content(&batch.namespace, target)).await? {
                missing.push(Refused {
                    name: step.image.name.clone(),
                    reason: RefuseReason::AlreadyGone,
                });
            } else {
                steps.push(step.clone());
            }
        }
        execution.report.refused.extend(missing);
        batch.steps = steps;
        Ok(())
    }
}

/// Returns the error of a run whose first hold failed.
fn no_hold(error: StoreError) -> RunError {
    if error.is_out_of_space() {
        RunError::DiskFull(error)
    } else {
        RunError::Store(error)
    }
}

/// Records why steps and cuts were not tried.
fn record_rest(
    execution: &mut Execution<'_>,
    batches: &Batches<'_>,
    blocked: &str,
    now: Timestamp,
) {
    let stopped = execution.run.stop(now);
    let (rest, labels) = batches.rest();
    for step in rest.steps {
        let name = step.image.name;
        match &stopped {
            Some(reason) => execution.report.refused.push(Refused {
                name,
                reason: reason.clone(),
            }),
            None => execution.report.failed.push(Failed {
                name,
                error: blocked.to_owned(),
            }),
        }
    }
    let mut outcomes = CutOutcomes::default();
    if stopped.is_none() {
        let blobs = labels.labels().iter().map(|it| it.blob.clone());
        outcomes.failed = blobs.map(|blob| (blob, blocked.to_owned())).collect();
    }
    outcomes.stopped = stopped;
    execution.cuts.add(outcomes);
}

/// Counts what a run has removed so far: images, and references of blobs.
fn removals(execution: &Execution<'_>) -> usize {
    execution.report.removed.len() + execution.cuts.made.len()
}

fn warn_of_batches(report: &mut Report, batches: &Batches<'_>) {
    let (tried, held) = (batches.done.len(), batches.held);
    if held > 0 {
        let (what, done) = if batches.plan.cuts.is_empty() {
            ("images", "removed")
        } else {
            ("changes", "made")
        };
        report.warnings.push(format!(
            "the disk is too full to hold all {what} at once: the first {tried} were {done} in \
             {held} batches, each with its own collection"
        ));
    }
}
