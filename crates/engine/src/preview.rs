//! Plans and dry runs, and the report that a run begins with.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use reclaim_model::{
    Container, Estimate, Filesystem, FilterError, FreeAmount, FreeTarget, GoalUnit, Inventory,
    Mode, Namespace, Plan, PruneRequest, Removed, Report, ResolvedRequest, ResolvedTarget, RunId,
    Selection, Slimmed, Step, TimeContext,
};
use reclaim_plan::{
    Limited, TooLittle, after, check, decide, limit, limit_by_use, rows, shortfall,
};
use reclaim_store::Filesystems;
use tracing::{Instrument, debug, info_span};
use uuid::Uuid;

use crate::controls::{Progress, ProgressSink};
use crate::engine::Engine;
use crate::error::{RunError, Unmet};
use crate::lease;
use crate::measure::{Measuring, snapshots_of};
use crate::off_thread::{Shared, blocking};
use crate::retry::retry;
use crate::unlisted::is_dockers;

/// A plan with the inventory that it was made from.
#[derive(Debug)]
pub struct Preview {
    /// The inventory.
    pub inventory: Inventory,
    /// The plan.
    pub plan: Plan,
}

impl Preview {
    /// Reports the plan as a dry run.
    pub fn report(&self) -> Report {
        let images = self.plan.steps.iter().map(|step| &step.image);
        Report {
            removed: self.plan.steps.iter().map(removed).collect(),
            freed: self.plan.freed.clone(),
            rows: rows(
                images,
                &self.inventory,
                &self.plan.freed.blobs,
                &self.plan.not_counted.kept_elsewhere.blobs,
            ),
            slimmed: self.plan.slimmed.clone(),
            cuts: self.plan.cuts.clone(),
            ..blank_report(new_run(), Mode::DryRun, &self.plan)
        }
    }

    /// As [`Self::report`], off the async threads, and returns the plan, too: with 100,000 images
    /// the report takes long, and so does dropping the inventory.
    pub async fn into_report(self) -> (Report, Plan) {
        let reporting = move || {
            let report = self.report();
            let Self { inventory, plan } = self;
            drop(inventory);
            (report, plan)
        };
        blocking(reporting).await
    }
}

/// The dry run of a policy's prune.
#[derive(Debug)]
pub struct PolicyPreview {
    /// Its report.
    pub report: Report,
    /// What it would free towards each goal of the request.
    pub towards_goals: Vec<u64>,
}

/// The input of a plan.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) inventory: Inventory,
    /// Containers that containerd has no record of.
    pub(crate) registered: Vec<Container>,
    pub(crate) request: ResolvedRequest,
}

impl Engine {
    /// Plans a prune, and changes nothing.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read completely, or the plan fails its check.
    pub async fn preview(
        &self,
        request: &PruneRequest,
        progress: &ProgressSink<'_>,
    ) -> Result<Preview, RunError> {
        let request = self.resolve(request).map_err(RunError::Filter)?;
        self.preview_within(&request, None, progress).await
    }

    /// Plans a policy's prune as if the runs of these reports had been made, and changes nothing.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// As [`Self::preview`].
    pub async fn preview_after(
        &self,
        request: &PruneRequest,
        earlier: Vec<Report>,
        progress: &ProgressSink<'_>,
    ) -> Result<PolicyPreview, RunError> {
        let request = self.resolve(request).map_err(RunError::Filter)?;
        let previewing = self.preview_from(&request, None, earlier, progress);
        let (preview, towards_goals) = previewing.await?;
        let (mut report, _) = preview.into_report().await;
        enter_policy(&mut report, &request);
        Ok(PolicyPreview {
            report,
            towards_goals,
        })
    }

    /// Checks that the filters of a request are valid.
    ///
    /// # Errors
    ///
    /// [`FilterError`].
    pub fn check(&self, request: &PruneRequest) -> Result<(), FilterError> {
        self.resolve(request).map(drop)
    }

    /// Resolves a request by the engine's clock and the time zone of this process.
    pub(crate) fn resolve(&self, request: &PruneRequest) -> Result<ResolvedRequest, FilterError> {
        let now = self.store.now();
        let context = TimeContext {
            now,
            offset: TimeZone::system().to_offset(now),
        };
        let resolved = request.clone().resolve(&context)?;
        let conditions = resolved.conditions.as_ref();
        if self.last_use.is_none() && conditions.is_some_and(|it| it.filters.need_last_use()) {
            return Err(FilterError::NoLastUse);
        }
        Ok(resolved)
    }

    /// As [`Self::preview`], within a run: leases of that run do not count as holders, and
    /// [`Measuring`] says whether the plan needs the sizes of its snapshots.
    pub(crate) async fn preview_within(
        &self,
        request: &ResolvedRequest,
        run: Option<(&RunId, Measuring)>,
        progress: &ProgressSink<'_>,
    ) -> Result<Preview, RunError> {
        let previewing = self.preview_from(request, run, Vec::new(), progress);
        Ok(previewing.await?.0)
    }

    /// As [`Self::preview_within`], as if the runs of the reports of `earlier` had been made. Also
    /// returns what the plan frees towards each goal of a policy.
    async fn preview_from(
        &self,
        request: &ResolvedRequest,
        run: Option<(&RunId, Measuring)>,
        earlier: Vec<Report>,
        progress: &ProgressSink<'_>,
    ) -> Result<(Preview, Vec<u64>), RunError> {
        progress(Progress::Observing);
        let namespace = &request.namespace;
        let evaluated = std::slice::from_ref(namespace);
        let mut labels = request.label_keys();
        labels.append(&mut self.protecting_labels());
        let observing = retry(|| self.store.observe(evaluated, &labels, self.store.now()));
        let mut inventory = self.phase(info_span!("observe"), observing).await?;
        let existing: Vec<Namespace> = inventory.namespaces.keys().cloned().collect();
        let is_there = exists(namespace, request.may_lack_namespace, &existing)?;
        if let Some(seen) = inventory.namespaces.get_mut(namespace)
            && let Some((run, _)) = run
        {
            seen.leases
                .retain(|lease| lease::run(lease).as_ref() != Some(run));
        }
        self.note_states(request, &mut inventory).await?;
        self.note_protection(&mut inventory, request.lift_protection)
            .await;
        self.note_mirrors(request, &mut inventory).await;
        let registered = if is_there {
            self.registered_for_run(namespace).await?
        } else {
            Vec::new()
        };
        self.note_unlisted(&mut inventory);
        if !earlier.is_empty() {
            let simulating = move || {
                for run in &earlier {
                    after(&mut inventory, run);
                }
                inventory
            };
            inventory = blocking(simulating).await;
        }
        let evidence = Shared::new(Evidence {
            inventory,
            registered,
            request: self.by_current_use(request).await,
        });
        let deciding = evidence
            .read(|evidence| decide(&evidence.inventory, &evidence.registered, &evidence.request));
        let decision = deciding.instrument(info_span!("plan")).await;
        let measuring = run.map_or(Measuring::First, |(_, measuring)| measuring);
        let plan = self.measured(namespace, decision, measuring).await?;
        let (plan, towards_goals) = self.limited(plan, &evidence).await?;
        let plan = self.checked(plan, &evidence).await?;
        progress(Progress::Planned {
            steps: plan.steps.len(),
            kept: plan.kept.len(),
        });
        debug!(calls = ?self.store.calls(), "planned");
        let preview = Preview {
            inventory: evidence.into_inner().inventory,
            plan,
        };
        Ok((preview, towards_goals))
    }

    /// Adds which containers run, if the request names images: only such removals depend on it.
    pub(crate) async fn note_states(
        &self,
        request: &ResolvedRequest,
        inventory: &mut Inventory,
    ) -> Result<(), RunError> {
        if let Selection::Filters(_) | Selection::Rule(_) | Selection::Parts(_) = request.selection
        {
            return Ok(());
        }
        let namespace = &request.namespace;
        let Some(seen) = inventory.namespaces.get_mut(namespace) else {
            return Ok(());
        };
        self.note_running(namespace, &mut seen.containers).await
    }

    /// Adds which namespaces may have containers that no store lists.
    pub(crate) fn note_unlisted(&self, inventory: &mut Inventory) {
        for (name, namespace) in &mut inventory.namespaces {
            namespace.has_unlisted_containers = self.has_unlisted_containers(name);
            namespace.is_dockers = self.is_dockers(name);
        }
    }

    /// Returns whether a Docker Engine keeps its images in a namespace.
    fn is_dockers(&self, namespace: &Namespace) -> bool {
        let mut stores = self.containers.iter();
        is_dockers(namespace) || stores.any(|store| store.lists_stopped(namespace))
    }

    /// Returns whether a namespace may have containers that no store lists.
    pub(crate) fn has_unlisted_containers(&self, namespace: &Namespace) -> bool {
        let stores = &self.containers;
        let is_listed = stores.iter().any(|store| store.lists_stopped(namespace));
        let is_unlisted = stores
            .iter()
            .any(|store| store.unlisted(namespace).is_some());
        is_unlisted || (is_dockers(namespace) && !is_listed)
    }

    /// Reduces the plan to the target of the request, or the goals of the policy, if it has any. Also
    /// returns what it frees towards each goal.
    async fn limited(
        &self,
        plan: Plan,
        evidence: &Shared<Evidence>,
    ) -> Result<(Plan, Vec<u64>), RunError> {
        let request = &evidence.request;
        if let Selection::Rule(images) = &request.selection {
            let mut images = images.clone();
            let goals = images.goals.iter().flatten();
            if goals.map(|goal| goal.unit).any(|it| it == GoalUnit::Inodes) {
                let snapshots = snapshots_of(&plan).await;
                let measuring = self.store.snapshot_inodes(&plan.namespace, &snapshots);
                images.inodes = measuring.await?;
            }
            let limiting = evidence.read(move |it| limit_by_use(plan, &it.inventory, &images));
            let Limited { plan, freed, .. } = limiting.await;
            return Ok((plan, freed));
        }
        let Some(target) = &request.target_free else {
            return Ok((plan, Vec::new()));
        };
        let (target, filesystem) = self.resolve_target(target).await?;
        let bytes = target.bytes;
        match evidence
            .read(move |it| limit(plan, &it.inventory, bytes, filesystem.as_ref()))
            .await
        {
            Ok(plan) => {
                let target_free = Some(target);
                Ok((
                    Plan {
                        target_free,
                        ..plan
                    },
                    Vec::new(),
                ))
            }
            Err(TooLittle { available }) => {
                let namespace = &request.namespace;
                let bytes = self.snapshot_bytes_within(&evidence.inventory, namespace);
                let bytes = bytes.await?;
                let counting = evidence
                    .read(move |it| shortfall(&it.inventory, &it.registered, &it.request, &bytes));
                Err(RunError::TargetNotMet(Box::new(Unmet {
                    target,
                    available,
                    usage: counting.await,
                })))
            }
        }
    }

    /// Returns what is to be freed, and on which filesystem; `None` if none can be measured, and the
    /// target needs none.
    async fn resolve_target(
        &self,
        target: &FreeTarget,
    ) -> Result<(ResolvedTarget, Option<Filesystem>), RunError> {
        let Filesystems { seen, unmeasured } = self.store.filesystems().await?;
        let filesystem = match &target.path {
            Some(path) => Some(self.filesystem_of(path, &seen).await?),
            None => Filesystem::fullest(&seen).cloned(),
        };
        let total = match (&filesystem, target.amount) {
            (Some(filesystem), _) => filesystem.bytes.total,
            (None, FreeAmount::Bytes(_)) => 0,
            (None, FreeAmount::Percent(_)) => {
                let reasons: Vec<String> = unmeasured.iter().map(ToString::to_string).collect();
                return Err(RunError::UnknownFilesystem {
                    why: reasons.join("; "),
                });
            }
        };
        let mount_point = filesystem.as_ref().map(|it| it.mount_point.clone());
        let bytes = target.amount.bytes_of(total);
        Ok((ResolvedTarget { bytes, mount_point }, filesystem))
    }

    /// Returns the one of containerd's filesystems that has a path.
    async fn filesystem_of(
        &self,
        path: &Path,
        filesystems: &[Filesystem],
    ) -> Result<Filesystem, RunError> {
        let places: Vec<PathBuf> = filesystems
            .iter()
            .map(|it| it.mount_point.clone())
            .collect();
        let wanted = path.to_owned();
        let finding = move || {
            let device = fs::metadata(wanted)?.dev();
            let is_same = |place: &PathBuf| fs::metadata(place).is_ok_and(|it| it.dev() == device);
            Ok::<_, io::Error>(places.iter().position(is_same))
        };
        let found = self.store.read_disk("filesystem of a path", finding).await;
        let why = match found.and_then(|found| found) {
            Ok(Some(index)) => return Ok(filesystems[index].clone()),
            Ok(None) => {
                let places = filesystems.iter();
                let places = places.map(|it| format!("`{}`", it.mount_point.display()));
                let accepted = places.collect::<Vec<_>>().join(", ");
                let accepted = if accepted.is_empty() {
                    "none"
                } else {
                    &accepted
                };
                format!(
                    "`{}` is on none of containerd's; those are: {accepted}",
                    path.display()
                )
            }
            Err(error) => format!("`{}`: {error}", path.display()),
        };
        Err(RunError::UnknownFilesystem { why })
    }

    /// Adds warnings about pods and container stores to a plan, and checks it.
    async fn checked(&self, mut plan: Plan, evidence: &Shared<Evidence>) -> Result<Plan, RunError> {
        let config = self.containerd_config();
        let stores = self.containers.iter();
        let store_warnings: Vec<String> = stores
            .flat_map(|store| store.warnings(&evidence.request.namespace))
            .collect();
        let checking = evidence.read(move |evidence| {
            let Evidence {
                inventory,
                registered,
                request,
            } = evidence;
            let pod_warnings = match &inventory.sandbox_image {
                // The server says which image pods need; it is protected.
                Some(_) => Vec::new(),
                None => config.warnings(request, &plan),
            };
            plan.warnings.extend(pod_warnings);
            plan.warnings.extend(store_warnings);
            check(&plan, inventory, registered, request).map_err(RunError::Check)?;
            for kept in &plan.kept {
                debug!(image = %kept.name, reason = ?kept.reason, "keeping image");
            }
            Ok(plan)
        });
        checking.await
    }
}

/// Returns whether the namespace exists; an error if it must.
pub(crate) fn exists(
    namespace: &Namespace,
    may_lack: bool,
    existing: &[Namespace],
) -> Result<bool, RunError> {
    let is_there = existing.contains(namespace);
    if !is_there && !may_lack {
        return Err(RunError::UnknownNamespace {
            namespace: namespace.clone(),
            existing: existing.to_vec(),
        });
    }
    Ok(is_there)
}

/// Enters for which policy a run was, and what that policy frees.
pub(crate) fn enter_policy(report: &mut Report, request: &ResolvedRequest) {
    if let Selection::Rule(images) = &request.selection {
        report.policy = Some(images.rule.name.clone());
        report.part = Some(images.part);
    }
}

/// Returns the report of a plan before its first step.
pub(crate) fn blank_report(run: RunId, mode: Mode, plan: &Plan) -> Report {
    let mut warnings = plan.warnings.clone();
    warnings.extend(plan.steps.iter().filter_map(Step::warning));
    warnings.extend(plan.slimmed.iter().filter_map(Slimmed::warning));
    Report {
        kept: plan.kept.clone(),
        estimate: Estimate(plan.freed.amount()),
        estimate_at_least: Estimate(plan.at_least()),
        not_counted: plan.not_counted.clone(),
        named: plan.named.clone(),
        warnings,
        target_free: plan.target_free.clone(),
        ..Report::new(run, plan.namespace.clone(), mode)
    }
}

pub(crate) fn removed(step: &Step) -> Removed {
    Removed {
        name: step.image.name.clone(),
        target: step.image.target.digest.clone(),
        reason: step.reason,
    }
}

/// Returns a new run ID. IDs of later runs sort after those of earlier ones.
pub(crate) fn new_run() -> RunId {
    RunId(Uuid::now_v7().to_string())
}
