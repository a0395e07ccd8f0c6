//! One run, from request to report.
//!
//! ```text
//! guard → observe → decide → check → remove records → collect once → look again → report
//! ```
//!
//! A preview stops after the check. It is the same code up to there, so what it shows is what
//! a run would do.
//!
//! # What can go wrong
//!
//! Up to the check an error ends the run and nothing has changed. From the first removal on a
//! [`Report`] always comes back: what failed is in it, image by image, and the collection is
//! run for what was removed.
//!
//! # Cancellation
//!
//! By the token: the removals under way end, those not begun are refused, and the run goes on
//! to collect and report. Not cancellation safe by dropping: the guard's lease would stay until
//! it expires or its owner is seen to be gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use reclaim_model::{
    Amount, Container, Estimate, Failed, Freed, Inventory, KeepReason, Kept, Mode, Namespace, Plan,
    PruneRequest, Reclaimed, RefuseReason, Refused, Removed, Report, RunId, Step, chain,
};
use reclaim_plan::{Finding, check, decide, rows};
use reclaim_store::{Containerd, Deletion, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};
use uuid::Uuid;

use crate::clock;
use crate::containers::{ContainerStore, ContainerStoreError};
use crate::guard::PruneGuard;
use crate::host_guard::{self, Busy, Claim};
use crate::progress::{Progress, ProgressSink};

/// How many records are removed at a time. containerd writes one after the other anyway; a few
/// on their way keep it from waiting for us.
const REMOVALS_AT_ONCE: usize = 8;

/// Why a run ended before it changed anything.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another run of this process or host holds the guard.
    #[error("{0}")]
    Busy(Busy),
    /// The namespace does not exist.
    #[error(
        "namespace `{namespace}` does not exist; those that do: {}",
        listed(existing)
    )]
    UnknownNamespace {
        /// The one that was asked for.
        namespace: Namespace,
        /// Those that the server has.
        existing: Vec<Namespace>,
    },
    /// The store could not be listed whole, or the guard not be taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A container store could not be read; what it would have named is unknown.
    #[error("list {store}")]
    Containers {
        /// Its name.
        store: String,
        /// Why.
        #[source]
        source: ContainerStoreError,
    },
    /// The plan did not pass its own check.
    #[error("refused: {0}")]
    Check(Finding),
}

fn listed(namespaces: &[Namespace]) -> String {
    if namespaces.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = namespaces.iter().map(Namespace::as_str).collect();
    names.join(", ")
}

/// A plan with what it was made from.
#[derive(Debug)]
pub struct Preview {
    /// What was seen.
    pub inventory: Inventory,
    /// What would be done.
    pub plan: Plan,
}

impl Preview {
    /// Reports the plan as a dry run.
    pub fn report(&self) -> Report {
        let removed = self.plan.steps.iter().map(removed).collect();
        let mut report = report(new_run(), Mode::DryRun, &self.plan);
        report.rows = rows(
            self.plan.steps.iter().map(|step| &step.image),
            &self.inventory,
            &self.plan.freed.blobs,
        );
        Report {
            removed,
            freed: self.plan.freed.clone(),
            ..report
        }
    }
}

/// Prunes the images of one containerd.
#[derive(Debug, Clone)]
pub struct Engine {
    store: Containerd,
    containers: Vec<Arc<dyn ContainerStore>>,
    guard: PruneGuard,
}

impl Engine {
    /// Works on this containerd. Its own container records are always read.
    pub fn new(store: Containerd) -> Self {
        Self {
            store,
            containers: Vec::new(),
            guard: PruneGuard::default(),
        }
    }

    /// Adds containers that containerd has no record of.
    #[must_use]
    pub fn with_containers(mut self, store: Arc<dyn ContainerStore>) -> Self {
        self.containers.push(store);
        self
    }

    /// Returns the connection that the engine works on.
    pub fn store(&self) -> &Containerd {
        &self.store
    }

    /// Decides what a prune would do, and changes nothing.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If the store cannot be read whole, or the plan must not be carried out.
    pub async fn preview(
        &self,
        request: &PruneRequest,
        progress: &ProgressSink<'_>,
    ) -> Result<Preview, RunError> {
        progress(Progress::Observing);
        let judged = std::slice::from_ref(&request.namespace);
        let observing = self.store.observe(judged, clock::now());
        let inventory = observing.instrument(info_span!("observe")).await?;
        let existing = inventory.namespaces.keys();
        let is_there = exists(request, &existing.cloned().collect::<Vec<_>>())?;
        let registered = if is_there {
            self.registered(&request.namespace).await?
        } else {
            Vec::new()
        };
        let decision = info_span!("plan").in_scope(|| decide(&inventory, &registered, request));
        let measured = self
            .store
            .snapshot_bytes(&request.namespace, decision.snapshots());
        let bytes = measured.instrument(info_span!("size")).await?;
        let plan = decision.into_plan(&bytes);
        check(&plan, &inventory, &registered, request).map_err(RunError::Check)?;
        progress(Progress::Planned {
            steps: plan.steps.len(),
            kept: plan.kept.len(),
        });
        debug!(calls = ?self.store.calls(), "planned");
        for kept in &plan.kept {
            debug!(image = %kept.name, reason = ?kept.reason, "image stays");
        }
        Ok(Preview { inventory, plan })
    }

    /// Removes what a prune selects, or of that only what was `confirmed`.
    ///
    /// With a confirmed preview the store is judged again, and a step is taken only if both
    /// judgements agree on it.
    ///
    /// # Errors
    ///
    /// As long as nothing has changed. Later failures are in the report.
    pub async fn prune(
        &self,
        request: &PruneRequest,
        confirmed: Option<&Preview>,
        progress: &ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Report, RunError> {
        let run = new_run();
        let namespace = &request.namespace;
        let span = info_span!("image_prune", %run, %namespace);
        async {
            let Some(_running) = self.guard.try_begin() else {
                return Err(RunError::Busy(Busy {
                    namespace: namespace.clone(),
                    run: None,
                    since: None,
                }));
            };
            // Asked before the guard is taken: its lease would bring the namespace about.
            if !exists(request, &self.store.namespaces().await?)? {
                let preview = self.preview(request, progress).await?;
                return Ok(report(run.clone(), Mode::Apply, &preview.plan));
            }
            match host_guard::claim(&self.store, namespace, &run).await? {
                Claim::Taken => {}
                Claim::Busy(busy) => return Err(RunError::Busy(busy)),
            }
            let planned = self.preview(request, progress).await;
            let planned = planned.map(|preview| restrict(preview, confirmed));
            match planned {
                Ok(restricted) if !restricted.preview.plan.steps.is_empty() => Ok(self
                    .execute(run.clone(), restricted, progress, cancel)
                    .await),
                ended => {
                    host_guard::give_back(&self.store, namespace).await?;
                    let Restricted { preview, refused } = ended?;
                    let mut report = report(run.clone(), Mode::Apply, &preview.plan);
                    report.refused = refused;
                    Ok(report)
                }
            }
        }
        .instrument(span)
        .await
    }

    async fn registered(&self, namespace: &Namespace) -> Result<Vec<Container>, RunError> {
        let mut containers = Vec::new();
        for store in &self.containers {
            let listed = store.containers(namespace).await;
            containers.extend(listed.map_err(|source| RunError::Containers {
                store: store.name().to_owned(),
                source,
            })?);
        }
        Ok(containers)
    }

    /// Removes records, collects once, looks again. Always comes back with a report.
    async fn execute(
        &self,
        run: RunId,
        restricted: Restricted,
        progress: &ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Report {
        let Restricted {
            preview: Preview { inventory, plan },
            refused,
        } = restricted;
        let namespace = &plan.namespace;
        info!(steps = plan.steps.len(), kept = plan.kept.len(), "pruning");
        let mut report = report(run, Mode::Apply, &plan);
        report.refused = refused;
        let outcomes = self.remove_all(&plan, progress, cancel).await;
        record(&mut report, &plan, outcomes);

        progress(Progress::Collecting);
        let collecting = host_guard::release(&self.store, namespace);
        let collected = collecting.instrument(info_span!("collect")).await;
        progress(Progress::Measuring);
        let measuring = self.store.gone(namespace, &plan.freed);
        let measured = match collected {
            Ok(()) => measuring.instrument(info_span!("measure")).await,
            Err(error) => Err(error),
        };
        match measured {
            Ok(gone) => {
                report.reclaimed = Reclaimed(gone.amount());
                report.freed = gone;
            }
            Err(error) => {
                let error = chain(&error);
                warn!(%error, "run is unfinished");
                report.unfinished = Some(error);
            }
        }
        let removed: BTreeMap<&str, ()> = report
            .removed
            .iter()
            .map(|it| (it.name.as_str(), ()))
            .collect();
        let images = plan.steps.iter().map(|step| &step.image);
        let images = images.filter(|image| removed.contains_key(image.name.as_str()));
        report.rows = rows(images, &inventory, &report.freed.blobs);
        info!(
            removed = report.removed.len(),
            reclaimed_bytes = report.reclaimed.0.total_bytes(),
            calls = self.store.calls().values().sum::<u64>(),
            "pruned"
        );
        report
    }

    async fn remove_all(
        &self,
        plan: &Plan,
        progress: &ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Vec<Outcome> {
        let steps = plan.steps.len();
        let removals = plan
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| async move {
                if cancel.is_cancelled() {
                    return (index, Outcome::Refused(RefuseReason::Cancelled));
                }
                let span = info_span!("remove_image", name = %step.image.name);
                let deleted = self.store.delete_image(&plan.namespace, &step.image);
                let outcome = match deleted.instrument(span).await {
                    Ok(Deletion::Removed) => Outcome::Removed,
                    Ok(Deletion::Moved) => Outcome::Refused(RefuseReason::TargetMoved),
                    Ok(Deletion::Gone) => Outcome::Refused(RefuseReason::AlreadyGone),
                    Err(error) => Outcome::Failed(chain(&error)),
                };
                (index, outcome)
            });
        let mut done = 0;
        let mut outcomes: Vec<(usize, Outcome)> = Vec::with_capacity(steps);
        let mut removals = stream::iter(removals).buffer_unordered(REMOVALS_AT_ONCE);
        while let Some(outcome) = removals.next().await {
            done += 1;
            progress(Progress::Step { done, steps });
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

/// Whether the namespace is there; an error if it has to be.
fn exists(request: &PruneRequest, existing: &[Namespace]) -> Result<bool, RunError> {
    let is_there = existing.contains(&request.namespace);
    if !is_there && !request.may_lack_namespace {
        return Err(RunError::UnknownNamespace {
            namespace: request.namespace.clone(),
            existing: existing.to_vec(),
        });
    }
    Ok(is_there)
}

/// What became of a step.
#[derive(Debug)]
enum Outcome {
    Removed,
    Refused(RefuseReason),
    Failed(String),
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
    report.refused.sort_by(|a, b| a.name.cmp(&b.name));
}

fn removed(step: &Step) -> Removed {
    Removed {
        name: step.image.name.clone(),
        target: step.image.target.digest.clone(),
        reason: step.reason,
    }
}

/// A plan cut down to what was confirmed.
struct Restricted {
    preview: Preview,
    refused: Vec<Refused>,
}

/// Keeps of a plan the steps that were shown, and refuses what was shown and is none any more.
fn restrict(mut preview: Preview, confirmed: Option<&Preview>) -> Restricted {
    let mut refused = Vec::new();
    if let Some(confirmed) = confirmed {
        let shown = by_name(&confirmed.plan);
        let plan = &mut preview.plan;
        let was_shown = |step: &Step| {
            let shown = shown.get(step.image.name.as_str());
            shown.is_some_and(|shown| shown.image.target.digest == step.image.target.digest)
        };
        let (steps, new): (Vec<Step>, Vec<Step>) = std::mem::take(&mut plan.steps)
            .into_iter()
            .partition(was_shown);
        plan.steps = steps;
        let now = by_name(plan);
        let lost = confirmed.plan.steps.iter();
        let lost = lost.filter(|step| !now.contains_key(step.image.name.as_str()));
        refused.extend(lost.map(|step| Refused {
            name: step.image.name.clone(),
            reason: why_lost(step, plan, &new),
        }));
        plan.kept.extend(new.into_iter().map(|step| Kept {
            name: step.image.name,
            target: step.image.target.digest,
            reason: KeepReason::NotConfirmed,
            holders: Vec::new(),
        }));
        plan.kept.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Restricted { preview, refused }
}

fn by_name(plan: &Plan) -> BTreeMap<&str, &Step> {
    let steps = plan.steps.iter();
    steps.map(|step| (step.image.name.as_str(), step)).collect()
}

fn why_lost(shown: &Step, plan: &Plan, new: &[Step]) -> RefuseReason {
    let name = &shown.image.name;
    if new.iter().any(|step| step.image.name == *name) {
        return RefuseReason::TargetMoved;
    }
    match plan.kept.iter().find(|kept| kept.name == *name) {
        None => RefuseReason::AlreadyGone,
        Some(kept) if kept.target != shown.image.target.digest => RefuseReason::TargetMoved,
        Some(kept) => RefuseReason::MustStay(kept.reason, kept.holders.clone()),
    }
}

/// A report of a plan of which nothing has been done yet.
fn report(run: RunId, mode: Mode, plan: &Plan) -> Report {
    Report {
        run,
        namespace: plan.namespace.clone(),
        mode,
        removed: Vec::new(),
        kept: plan.kept.clone(),
        refused: Vec::new(),
        failed: Vec::new(),
        estimate: Estimate(plan.freed.amount()),
        reclaimed: Reclaimed(Amount::default()),
        freed: Freed::default(),
        rows: Vec::new(),
        warnings: plan.warnings.clone(),
        unfinished: None,
    }
}

fn new_run() -> RunId {
    RunId(Uuid::now_v7().to_string())
}
