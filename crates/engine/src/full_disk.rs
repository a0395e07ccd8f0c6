//! Removing images while the disk is so full that no journal of all can be written.
//!
//! The first image goes alone under a [`BatchHold`] that needs no free block, and is collected at
//! once. What that frees makes room for the next two, and so on: containerd's collection writes
//! too, and the more the more it removes. The smallest images go first. If not even the first
//! hold can be written, nothing is removed: no deletion without a hold.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{
    Blob, Digest, Failed, Inventory, Plan, RefuseReason, Refused, Report, Step, chain,
};
use reclaim_store::StoreError;
use tracing::{info, info_span};

use crate::batch_hold::{self, BatchHold};
use crate::engine::Engine;
use crate::error::RunError;
use crate::hold::Hold;
use crate::measure::{Measuring, enter_sizes, snapshots_of};
use crate::retry::retry;
use crate::run::{Going, part};

/// How many images a hold without a journal takes: each takes a transaction more on the full
/// disk.
const FEW: usize = 4;

/// How the removals of a run ended.
pub(crate) struct Ended {
    /// The journals under the guard's lease.
    pub(crate) journals: Vec<Digest>,
    /// An error if something that has to come back could not be written.
    pub(crate) sound: Result<(), StoreError>,
}

/// What came of removing a few images.
enum Few {
    /// There is more room than before.
    Freed,
    /// Nothing was freed, but other images may be.
    Kept,
    /// No hold could be written.
    NoHold(StoreError),
    /// The others would fare no better.
    Blocked(String),
    /// The hold has to stay until the next run.
    Unsound(StoreError),
}

/// What of a plan is still to be done.
struct Batches<'a> {
    plan: &'a Plan,
    /// The steps that a small hold can hold, the smallest images first.
    queue: VecDeque<usize>,
    /// The steps that were tried.
    done: BTreeSet<usize>,
    /// How many go next.
    few: usize,
    /// How many holds were tried.
    tries: usize,
    /// How many holds were written.
    held: usize,
}

impl<'a> Batches<'a> {
    fn new(plan: &'a Plan, inventory: &Inventory) -> Self {
        let steps = plan.steps.iter().enumerate();
        let fit = steps.filter(|(_, step)| batch_hold::fits(&step.image));
        let mut queue: Vec<usize> = fit.map(|(index, _)| index).collect();
        queue.sort_by_cached_key(|index| {
            let image = &plan.steps[*index].image;
            let parts = parts(inventory, &image.target.digest);
            (parts, batch_hold::weight(image))
        });
        Self {
            plan,
            queue: queue.into(),
            done: BTreeSet::new(),
            few: 1,
            tries: 0,
            held: 0,
        }
    }

    /// The steps that go next.
    fn next(&self) -> Plan {
        let picked = self.queue.iter().take(self.few);
        let steps = picked.map(|index| self.plan.steps[*index].clone());
        part(self.plan, steps.collect())
    }

    /// Notes that those are held.
    fn advance(&mut self) {
        let picked = self.few.min(self.queue.len());
        self.done.extend(self.queue.drain(..picked));
        self.held += 1;
    }

    /// The steps that were not tried.
    fn rest(&self) -> impl Iterator<Item = &'a Step> {
        let steps = self.plan.steps.iter().enumerate();
        let rest = steps.filter(|(index, _)| !self.done.contains(index));
        rest.map(|(_, step)| step)
    }

    /// Whether the rest is no more than what goes next.
    fn is_last(&self) -> bool {
        self.held > 0 && self.plan.steps.len() - self.done.len() <= self.few
    }
}

/// How many blobs an image consists of, roughly: containerd's collection writes for each.
fn parts(inventory: &Inventory, digest: &Digest) -> usize {
    let mut parts = 1;
    let document = inventory.documents.get(digest);
    for child in document.map_or(&[][..], |it| it.children()) {
        let document = inventory.documents.get(&child.digest);
        parts += 1 + document.map_or(0, |it| it.children().len());
    }
    parts
}

impl Engine {
    /// Carries out a plan whose journal cannot be written for want of space, as far as that
    /// can be done. What stays is in the report, with the reason.
    ///
    /// # Errors
    ///
    /// If not even one small hold can be written; nothing has changed then.
    pub(crate) async fn carry_out_on_full_disk(
        &self,
        on: &mut Going<'_>,
        plan: &mut Plan,
    ) -> Result<Ended, RunError> {
        if on.run.measuring == Measuring::Meanwhile {
            // What the first few free could not be measured later.
            let snapshots = snapshots_of(plan).await;
            let sizing = self.sizes(&plan.namespace, &snapshots);
            let sizes = self.phase(info_span!("size"), sizing).await;
            enter_sizes(plan, on.report, sizes);
            on.run.measuring = Measuring::First;
        }
        let mut batches = Batches::new(plan, on.inventory);
        let mut blocked = String::new();
        while on.run.stop(self.store.now()).is_none() {
            if batches.is_last() || batches.queue.is_empty() {
                let mut rest = part(plan, batches.rest().cloned().collect());
                rest.unpins.clone_from(&plan.unpins);
                if rest.steps.is_empty() && rest.unpins.is_empty() {
                    break;
                }
                match Hold::write(&self.store, on.run.id, &rest).await {
                    Ok(journals) => {
                        warn_of_batches(on.report, &batches);
                        info!(steps = rest.steps.len(), "there is room for the rest");
                        let sound = self.carry_out(on, &mut rest).await;
                        return Ok(Ended { journals, sound });
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
            match self.remove_few(on, &mut batches).await {
                Few::Freed => batches.few *= 2,
                Few::Kept => {}
                Few::NoHold(error) if batches.held == 0 => return Err(no_hold(error)),
                Few::NoHold(error) => {
                    blocked = chain(&error);
                    break;
                }
                Few::Blocked(why) => {
                    blocked = why;
                    break;
                }
                Few::Unsound(error) => {
                    record_rest(on, &batches, &chain(&error), self.store.now());
                    return Ok(Ended {
                        journals: Vec::new(),
                        sound: Err(error),
                    });
                }
            }
        }
        warn_of_batches(on.report, &batches);
        record_rest(on, &batches, &blocked, self.store.now());
        Ok(Ended {
            journals: Vec::new(),
            sound: Ok(()),
        })
    }

    /// Removes the next few images under a hold of their own, and frees them.
    async fn remove_few(&self, on: &mut Going<'_>, batches: &mut Batches<'_>) -> Few {
        let namespace = &batches.plan.namespace;
        let (hold, mut few) = loop {
            let few = batches.next();
            let is_small = few.steps.len() <= FEW;
            let hold = BatchHold::of(on.run.id, namespace, &few.steps, batches.tries, is_small);
            let hold = hold.await;
            batches.tries += 1;
            match hold.write(&self.store, namespace, on.run.expires).await {
                Ok(()) => break (hold, few),
                Err(error) if error.is_out_of_space() && batches.few > 1 => batches.few /= 2,
                Err(error) => return Few::NoHold(error),
            }
        };
        if let Err(error) = self.refuse_lost(on, &mut few).await {
            // Nothing of it is removed yet.
            return match hold.end(&self.store, namespace, false).await {
                Ok(()) => Few::Blocked(chain(&error)),
                Err(error) => Few::Unsound(error),
            };
        }
        batches.advance();
        let (removed, failed) = (on.report.removed.len(), on.report.failed.len());
        let was_finished = on.report.unfinished.is_none();
        if let Err(error) = self.carry_out(on, &mut few).await {
            return Few::Unsound(error);
        }
        let report = &mut *on.report;
        let has_removed = report.removed.len() > removed;
        let window = on.run.options.undo_window;
        let ended = if has_removed && window > Duration::ZERO {
            let kept = hold.keep(&self.store, namespace, window).await;
            kept.map(|until| report.held_until = report.held_until.or(Some(until)))
        } else {
            let ending = hold.end(&self.store, namespace, has_removed);
            self.phase(info_span!("collect"), ending).await
        };
        match ended {
            Err(error) => Few::Unsound(error),
            Ok(()) if was_finished && report.unfinished.is_some() => {
                Few::Blocked(report.unfinished.clone().unwrap_or_default())
            }
            Ok(()) if has_removed && window > Duration::ZERO => Few::Kept,
            Ok(()) if has_removed => Few::Freed,
            Ok(()) => match report.failed.get(failed) {
                Some(failed) => Few::Blocked(failed.error.clone()),
                None => Few::Kept,
            },
        }
    }

    /// Refuses the steps whose target is gone although it was there: a lease takes digests that
    /// are not.
    async fn refuse_lost(&self, on: &mut Going<'_>, few: &mut Plan) -> Result<(), StoreError> {
        let seen = on.inventory.namespaces.get(&few.namespace);
        let mut steps = Vec::new();
        let mut lost = Vec::new();
        for step in &few.steps {
            let target = &step.image.target.digest;
            let find = |blob: &Blob| blob.digest.cmp(target);
            let was_there = seen.is_some_and(|it| it.blobs.binary_search_by(find).is_ok());
            if was_there && !retry(|| self.store.has_content(&few.namespace, target)).await? {
                lost.push(Refused {
                    name: step.image.name.clone(),
                    reason: RefuseReason::AlreadyGone,
                });
            } else {
                steps.push(step.clone());
            }
        }
        on.report.refused.extend(lost);
        few.steps = steps;
        Ok(())
    }
}

/// Returns the error of a run that could hold nothing.
fn no_hold(error: StoreError) -> RunError {
    if error.is_out_of_space() {
        RunError::DiskFull(error)
    } else {
        RunError::Store(error)
    }
}

/// Notes for the steps that were not tried why they were not.
fn record_rest(on: &mut Going<'_>, batches: &Batches<'_>, blocked: &str, now: Timestamp) {
    let stopped = on.run.stop(now);
    for step in batches.rest() {
        let name = step.image.name.clone();
        match &stopped {
            Some(reason) => on.report.refused.push(Refused {
                name,
                reason: reason.clone(),
            }),
            None => on.report.failed.push(Failed {
                name,
                error: blocked.to_owned(),
            }),
        }
    }
}

fn warn_of_batches(report: &mut Report, batches: &Batches<'_>) {
    let (tried, held) = (batches.done.len(), batches.held);
    if held > 0 {
        report.warnings.push(format!(
            "the disk is too full to hold all images at once: the first {tried} went in {held} \
             parts, each with a collection of its own"
        ));
    }
}
