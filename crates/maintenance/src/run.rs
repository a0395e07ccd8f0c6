//! One run of a policy.
//!
//! ```text
//! measure → release holds → collect garbage → free each part in each namespace → measure
//! ```
//!
//! Under pressure, what costs no image goes first: holds of earlier runs, the oldest first, then
//! existing garbage. Then come the parts that the policy frees, in its order: what is still missing
//! decides how many images lose them, or go. Without pressure, only what was unused for longer than
//! `max_unused` goes. A policy without any mark frees everything that it selects.

mod locked;
mod measure;
mod reserve;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reclaim_engine::{
    Controls, Engine, Grace, RunError, RunOptions, blocking, no_progress, unless_cancelled,
};
use reclaim_model::{
    Amount, Column, Filesystem, InhibitScope, LastUses, Mode, Namespace, PolicyPart, Report,
    RuleImages, chain,
};
use reclaim_registry::Registries;
use reclaim_store::Filesystems;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::cluster_lock::SharedLock;
use crate::headroom::Headroom;
use crate::last_use::LastUseIndex;
use crate::late::LateRoom;
use crate::policy::Policy;
use crate::policy_run::{Breakdown, PolicyOutcome, PolicyRun, ReleasedHold, Trigger};
use crate::pressure::{Excess, Occupied, reduced};
use crate::progress::{PolicyProgress, request};
use crate::quiet::{Basis, QuietSteps, Step};
use crate::registry_lookup::RegistryLookup;
use measure::less;

/// How many times the namespaces are pruned: others may fill the filesystem meanwhile.
pub(crate) const MAX_ROUNDS: usize = 4;

/// What policies run with.
#[derive(Debug, Clone)]
pub struct Maintenance {
    /// The engine that removes.
    pub engine: Arc<Engine>,
    /// When images were last used.
    pub index: Arc<LastUseIndex>,
    /// The file that is deleted when a filesystem is full.
    pub headroom: Option<Headroom>,
    /// The lock that hosts share, if they take turns.
    pub cluster_lock: Option<SharedLock>,
    /// The kubelet's own configuration, if there may be a kubelet.
    pub kubelet_config: Option<PathBuf>,
    /// What policies freed and the filesystems do not show yet.
    pub late: Arc<LateRoom>,
    /// The steps that had nothing to do. Each configuration begins with none.
    pub quiet: Arc<QuietSteps>,
    /// The registries that policies with `ask_registry` ask.
    pub registries: Registries,
}

/// A run of a policy that is under way.
struct UnderWay<'a> {
    maintenance: &'a Maintenance,
    policy: &'a Policy,
    /// Stops the run: by the caller's token, or when the cluster lock is lost.
    cancel: CancellationToken,
    /// What the run found and did so far.
    run: PolicyRun,
    /// The filesystems as last measured.
    filesystems: Vec<Filesystem>,
    /// What content and snapshots occupied then, if the policy needs it.
    occupied: Option<Occupied>,
    /// The bytes of headroom that were freed: they do not count as reclaimed.
    freed_headroom: u64,
    /// What was stored when the filesystems were measured last; `None` if that is unknown.
    stored: Option<Amount>,
    /// How long the run has waited for space to become visible.
    waited: Duration,
    /// What registries answered.
    lookup: RegistryLookup,
    /// Of a dry run: what its steps so far leave to be freed.
    simulated: Option<Vec<Excess>>,
}

impl Maintenance {
    /// Runs a policy once. Errors are in the returned run.
    ///
    /// Not cancellation safe by dropping; by the token, as [`Engine::prune`].
    pub async fn run(
        &self,
        policy: &Policy,
        trigger: Trigger,
        cancel: &CancellationToken,
    ) -> PolicyRun {
        let span = info_span!("policy", policy = %policy.name());
        let caller = self.engine.caller().with_policy(policy.name().clone());
        let maintenance = Self {
            engine: Arc::new(self.engine.called_by(caller.clone())),
            ..self.clone()
        };
        let mut run = UnderWay::new(&maintenance, policy, trigger, cancel);
        run.run.caller = Some(caller);
        async {
            if let Err(error) = run.work_under_lock().await {
                run.fail(&error);
            }
            run.finish().await
        }
        .instrument(span)
        .await
    }

    /// Measures the filesystems that hold content and snapshots.
    ///
    /// # Errors
    ///
    /// If containerd does not answer.
    pub async fn filesystems(&self) -> Result<Filesystems, RunError> {
        Ok(self.engine.store().filesystems().await?)
    }

    /// Returns the images of a namespace of which a policy may free something now.
    pub(super) async fn images(
        &self,
        policy: &Policy,
        part: PolicyPart,
        namespace: &Namespace,
    ) -> RuleImages {
        let now = self.engine.store().now();
        let uses = self.uses(namespace).await;
        policy.images(part, uses, now)
    }

    /// Returns the last uses of the images of a namespace.
    async fn uses(&self, namespace: &Namespace) -> LastUses {
        let (index, namespace) = (Arc::clone(&self.index), namespace.clone());
        blocking(move || index.uses(&namespace)).await
    }

    /// Adds up content and snapshots of all namespaces; `None` if they cannot be read.
    async fn stored(&self) -> Option<Amount> {
        match self.engine.disk_usage(&no_progress).await {
            Ok(usage) => Some(usage.total.total()),
            Err(error) => {
                let error = chain(&error);
                debug!(%error, "cannot add up content and snapshots");
                None
            }
        }
    }

    /// Adds up the bytes of content and snapshots of all namespaces.
    pub(super) async fn occupied(&self) -> Result<Occupied, RunError> {
        let usage = self.engine.disk_usage(&no_progress).await?;
        let lasting = usage.total.sum(|column| match column {
            Column::InUse
            | Column::Pinned
            | Column::Unjudged
            | Column::Rooted
            | Column::Leased
            | Column::BuildCache
            | Column::Spared
            | Column::Unused
            | Column::Dangling
            | Column::Elsewhere
            | Column::Unknown => true,
            Column::Undo
            | Column::Expired
            | Column::Pending
            | Column::Ingest
            | Column::Orphaned => false,
        });
        Ok(Occupied {
            all: usage.total.total().total_bytes(),
            lasting: lasting.total_bytes(),
        })
    }
}

impl<'a> UnderWay<'a> {
    fn new(
        maintenance: &'a Maintenance,
        policy: &'a Policy,
        trigger: Trigger,
        cancel: &CancellationToken,
    ) -> Self {
        let now = maintenance.engine.store().now();
        Self {
            maintenance,
            policy,
            cancel: cancel.clone(),
            run: PolicyRun::begun(policy.name().clone(), trigger, policy.mode, now),
            filesystems: Vec::new(),
            occupied: None,
            freed_headroom: 0,
            stored: None,
            waited: Duration::ZERO,
            lookup: RegistryLookup::default(),
            simulated: None,
        }
    }

    fn progress(&self) -> PolicyProgress<'_> {
        PolicyProgress {
            policy: self.policy,
            run: &self.run,
            filesystems: &self.filesystems,
            occupied: self.occupied,
            simulated: self.simulated.as_deref(),
        }
    }

    /// Measures the filesystems and finds what is above its high mark. Fails if there is work to do
    /// and a command inhibits it.
    async fn begin(&mut self) -> Result<(), RunError> {
        self.measure().await?;
        self.run.before.clone_from(&self.filesystems);
        let pressure = &self.policy.pressure;
        self.run.wanted = pressure.begin(&self.filesystems, self.occupied);
        self.run.missing.clone_from(&self.run.wanted);
        if self.policy.mode == Mode::Apply && !self.progress().is_over() {
            let checking = self
                .maintenance
                .engine
                .check_inhibitors(InhibitScope::Policies);
            unless_cancelled(&self.cancel, checking).await?;
        }
        Ok(())
    }

    async fn work(&mut self) -> Result<(), RunError> {
        if self.policy.mode == Mode::Apply && !self.progress().is_over() {
            self.free_headroom().await;
        }
        if !self.run.wanted.is_empty() {
            info!(wanted = %listed(&self.run.wanted), "above the high mark");
            if self.policy.mode == Mode::Apply && !self.run.outstanding().is_empty() {
                self.relieve().await?;
            }
        }
        for round in 0..MAX_ROUNDS {
            let so_far = self.run.reports.len();
            self.round(round).await?;
            let has_freed = self.run.reports[so_far..].iter().any(Report::has_changes);
            let is_relieved = self.run.outstanding().is_empty();
            if is_relieved || !has_freed || self.policy.mode == Mode::DryRun {
                break;
            }
        }
        Ok(())
    }

    /// Frees one part after the other, each in one namespace after the other, until enough is freed.
    async fn round(&mut self, round: usize) -> Result<(), RunError> {
        for part in &self.policy.free {
            for namespace in &self.policy.namespaces {
                if self.cancel.is_cancelled() || self.progress().is_over() {
                    return Ok(());
                }
                if self.progress().may_free(*part) {
                    self.step(round, *part, namespace).await?;
                }
            }
        }
        Ok(())
    }

    async fn step(
        &mut self,
        round: usize,
        part: PolicyPart,
        namespace: &Namespace,
    ) -> Result<(), RunError> {
        if self.stored.is_none() && !self.run.outstanding().is_empty() {
            self.stored = self.maintenance.stored().await;
        }
        let step = Step {
            policy: self.policy,
            part,
            namespace,
        };
        let (engine, index) = (&self.maintenance.engine, &self.maintenance.index);
        // Before the step reads anything, so that what changes meanwhile is a difference.
        let basis = if self.may_leave_out() {
            let reading = async { Ok(Basis::read(engine, index, namespace).await) };
            unless_cancelled::<_, RunError>(&self.cancel, reading).await?
        } else {
            None
        };
        let quiet = &self.maintenance.quiet;
        if basis.as_ref().is_some_and(|now| quiet.is_quiet(step, now)) {
            debug!(%namespace, %part, "nothing can have changed since the policy had nothing to do");
            return Ok(());
        }
        let before = match basis {
            Some(basis) => Some((basis, self.maintenance.uses(namespace).await)),
            None => None,
        };
        // Boxed, because the future of a prune is large.
        let report = Box::pin(self.prune(part, namespace)).await?;
        self.maintenance.quiet.note(step, before, &report);
        let has_changes = report.has_changes();
        let is_news = has_changes || !report.refused.is_empty() || !report.failed.is_empty();
        // The reserve is checked before each prune: others may have removed something, too.
        let is_stale = has_changes || self.policy.pressure.needs_occupied();
        let filesystems = self.filesystems.iter();
        let freed = filesystems
            .map(|it| it.bytes_of(&report.freed, it.block))
            .collect();
        let stored = self.stored.take();
        let expected = stored.map(|before| less(before, report.freed.amount()));
        if round == 0 || is_news {
            self.run.reports.push(report);
        }
        if is_stale && self.policy.mode == Mode::Apply {
            self.measure_after(freed, expected).await?;
        }
        Ok(())
    }

    /// Whether the result of an earlier step may count: no space is wanted, and the run was not requested.
    fn may_leave_out(&self) -> bool {
        self.policy.mode == Mode::Apply
            && self.run.trigger == Trigger::Schedule
            && self.run.wanted.is_empty()
            && self.run.outstanding().is_empty()
    }

    /// Frees space without removing an image.
    async fn relieve(&mut self) -> Result<(), RunError> {
        let engine = &self.maintenance.engine;
        self.stored = self.maintenance.stored().await;
        // Holds of any run: which policy or command made one does not matter.
        for namespace in &self.policy.namespaces {
            for hold in engine.history(namespace).await? {
                if self.run.outstanding().is_empty() {
                    return Ok(());
                }
                if hold.is_abandoned {
                    continue;
                }
                let run = engine.release(namespace, Some(&hold.run.0)).await?;
                info!(%run, "released a hold");
                let namespace = namespace.clone();
                self.run.released.push(ReleasedHold { namespace, run });
                self.measure_after_collection().await?;
            }
        }
        if let (true, Some(namespace)) =
            (self.run.released.is_empty(), self.policy.namespaces.first())
        {
            engine.collect_garbage(namespace).await?;
            self.measure_after_collection().await?;
        }
        Ok(())
    }

    async fn prune(&mut self, part: PolicyPart, namespace: &Namespace) -> Result<Report, RunError> {
        let Maintenance { engine, index, .. } = self.maintenance;
        let policy = self.policy;
        let images = self.maintenance.images(policy, part, namespace).await;
        let mut images = self.progress().limited(images);
        let asking =
            self.maintenance
                .ask_registries(policy, namespace, &mut images, &mut self.lookup);
        unless_cancelled(&self.cancel, Box::pin(asking)).await?;
        let request = request(namespace, images);
        if policy.mode == Mode::DryRun {
            let outstanding = self.progress().outstanding();
            let earlier = self.run.reports.clone();
            let preview = engine.preview_after(&request, earlier, &no_progress);
            let preview = Box::pin(preview).await?;
            self.simulated = Some(reduced(&outstanding, &preview.towards_goals));
            return Ok(preview.report);
        }
        let options = RunOptions {
            // No person waits for a policy.
            grace: Grace::Fixed(Grace::LONG),
            undo_window: self.progress().undo_window(),
            max_deletes_per_second: policy.max_deletes_per_second,
            ..RunOptions::default()
        };
        let controls = Controls {
            options: &options,
            progress: &no_progress,
            cancel: &self.cancel,
        };
        let report = Box::pin(engine.prune(&request, None, controls)).await?;
        let index = Arc::clone(index);
        let noting = move || {
            index.record_removals(&report);
            report
        };
        Ok(blocking(noting).await)
    }

    fn update_missing(&mut self) {
        let pressure = &self.policy.pressure;
        let missing = pressure.remain(&self.run.wanted, &self.filesystems, self.occupied);
        self.run.missing = missing;
    }

    fn fail(&mut self, error: &RunError) {
        self.run.outcome = if matches!(error, RunError::Busy(_)) {
            PolicyOutcome::Busy
        } else if matches!(error, RunError::Inhibited(_)) {
            PolicyOutcome::Inhibited
        } else if matches!(error, RunError::Cancelled) {
            PolicyOutcome::Partial
        } else {
            PolicyOutcome::Failed
        };
        let error = chain(error);
        if self.run.outcome == PolicyOutcome::Inhibited {
            info!(reason = %error, "policy does not run");
        } else {
            warn!(%error, "policy failed");
        }
        self.run.error = Some(error);
    }

    /// Settles the outcome and completes the run.
    async fn finish(mut self) -> PolicyRun {
        if self.run.error.is_none() {
            self.run.outcome = self.progress().outcome();
        }
        self.restore_headroom().await;
        self.run.after.clone_from(&self.filesystems);
        if self.run.outcome == PolicyOutcome::Unmet {
            self.run.breakdown = self.breakdown().await;
        }
        self.run.ended = self.maintenance.engine.store().now();
        if self.run.outcome == PolicyOutcome::Nothing {
            debug!("policy had nothing to do");
        } else {
            info!(
                outcome = %self.run.outcome,
                removed = self.run.removed(),
                slimmed = self.run.slimmed(),
                freed_bytes = self.run.freed().total_bytes(),
                not_yet_visible = %listed(&self.run.not_yet_visible),
                missing = %listed(&self.run.missing),
                "policy ran"
            );
        }
        self.run
    }

    /// Finds what occupies the filesystems.
    async fn breakdown(&mut self) -> Option<Breakdown> {
        let engine = &self.maintenance.engine;
        match engine.disk_usage(&no_progress).await {
            Ok(usage) => {
                let used = self.filesystems.iter().map(|it| it.bytes.used());
                let known = usage.total.total().total_bytes();
                Some(Breakdown {
                    other_bytes: used.sum::<u64>().saturating_sub(known),
                    usage: usage.total,
                })
            }
            Err(error) => {
                let error = chain(&error);
                self.run
                    .warnings
                    .push(format!("cannot break down the disk usage: {error}"));
                None
            }
        }
    }
}

fn listed(excesses: &[Excess]) -> String {
    let texts: Vec<String> = excesses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
