//! One run of a policy, from the first look at the filesystems to the last.
//!
//! ```text
//! measure → release holds → collect what is garbage → prune, namespace by namespace → measure
//! ```
//!
//! Under pressure what costs nobody an image goes first: holds of earlier runs, the oldest first,
//! then what is garbage already. What is still missing decides how many images go. Without
//! pressure only those go that nobody has used for too long; and a policy without any mark
//! removes all that it lets go.

mod reserve;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use reclaim_model::{Column, Filesystem, Mode, Namespace, Protection, Report, RuleImages, chain};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use super::headroom::Headroom;
use super::outcome::{Breakdown, Outcome, PolicyRun, Trigger};
use super::pressure::{Excess, Occupied};
use super::standing::Standing;
use super::turns::{HostTurns, Taken};
use crate::cancel::unless_cancelled;
use crate::engine::{Engine, RunError};
use crate::last_use::LastUseIndex;
use crate::off_thread::blocking;
use crate::options::RunOptions;
use crate::policy::Policy;
use crate::progress::no_progress;
use crate::prune::Controls;

/// How often the namespaces are asked for more: others fill the filesystem meanwhile.
const MAX_ROUNDS: usize = 4;

/// What policies run with.
#[derive(Debug, Clone)]
pub struct Maintenance {
    /// The engine that removes.
    pub engine: Arc<Engine>,
    /// What is known of last use.
    pub index: Arc<LastUseIndex>,
    /// What no policy removes.
    pub protection: Arc<Protection>,
    /// What is given up when a filesystem is full.
    pub headroom: Option<Headroom>,
    /// Whose turn it is among several hosts, if they take turns.
    pub turns: Option<Arc<dyn HostTurns>>,
    /// Where the kubelet's own configuration is, where there may be a kubelet.
    pub kubelet_config: Option<PathBuf>,
}

/// A run of a policy that is under way.
struct UnderWay<'a> {
    maintenance: &'a Maintenance,
    policy: &'a Policy,
    /// Stops the run: whoever asked for it, or the loss of its turn.
    cancel: CancellationToken,
    /// What was found and done so far.
    run: PolicyRun,
    /// The filesystems at the last look.
    filesystems: Vec<Filesystem>,
    /// What content and snapshots occupied at the last look, where that matters.
    occupied: Option<Occupied>,
    /// How many bytes of headroom were given up: their room is not room that was won.
    headroom_given_up: u64,
}

impl Maintenance {
    /// Runs a policy once. What goes wrong is in what it returns.
    ///
    /// Not cancellation safe by dropping; by the token, as [`Engine::prune`].
    pub async fn run(
        &self,
        policy: &Policy,
        trigger: Trigger,
        cancel: &CancellationToken,
    ) -> PolicyRun {
        let span = info_span!("policy", policy = %policy.name());
        let mut run = UnderWay::new(self, policy, trigger, cancel);
        async {
            if let Err(error) = run.work_in_turn().await {
                run.fail(&error);
            }
            run.finish().await
        }
        .instrument(span)
        .await
    }

    /// Measures the filesystems, as a policy sees them that has not begun.
    ///
    /// # Errors
    ///
    /// If containerd cannot be asked.
    pub async fn filesystems(&self) -> Result<Vec<Filesystem>, RunError> {
        Ok(self.engine.store.filesystems().await?.seen)
    }

    /// Returns the images that a policy lets go in a namespace at a moment.
    pub(super) async fn images(
        &self,
        policy: &Policy,
        namespace: &Namespace,
        now: Timestamp,
    ) -> RuleImages {
        let (index, namespace) = (Arc::clone(&self.index), namespace.clone());
        let uses = blocking(move || index.uses_at(&namespace, now)).await;
        policy.images(&self.protection, uses, now)
    }

    /// Sums up what content and snapshots of all namespaces occupy.
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
        let now = maintenance.engine.store.now();
        Self {
            maintenance,
            policy,
            cancel: cancel.clone(),
            run: PolicyRun::begun(policy.name().clone(), trigger, policy.mode, now),
            filesystems: Vec::new(),
            occupied: None,
            headroom_given_up: 0,
        }
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            policy: self.policy,
            run: &self.run,
            filesystems: &self.filesystems,
            occupied: self.occupied,
        }
    }

    /// Looks whether there is anything to do, waits for this host's turn, and does it.
    async fn work_in_turn(&mut self) -> Result<(), RunError> {
        self.begin().await?;
        let is_idle = self.standing().is_over();
        if is_idle || self.policy.mode == Mode::DryRun || self.maintenance.turns.is_none() {
            return self.work().await;
        }
        let taking = Taken::new(self.maintenance.turns.as_ref(), &self.cancel);
        let motion = &self.maintenance.engine.motion;
        let taken = motion.while_waiting(taking).await;
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                self.run.outcome = Outcome::Failed;
                self.run.error = Some(format!("no turn for this host: {}", chain(&*error)));
                return Ok(());
            }
        };
        self.cancel = taken.cancel.clone();
        // Much may have come and gone meanwhile.
        let begun = self.begin().await;
        let done = match begun {
            Ok(()) => self.work().await,
            Err(error) => Err(error),
        };
        taken.give_back().await;
        done
    }

    /// Looks at the filesystems, and what there is too much of.
    async fn begin(&mut self) -> Result<(), RunError> {
        self.measure().await?;
        self.run.before.clone_from(&self.filesystems);
        let pressure = &self.policy.pressure;
        self.run.wanted = pressure.begin(&self.filesystems, self.occupied);
        self.run.missing.clone_from(&self.run.wanted);
        Ok(())
    }

    async fn work(&mut self) -> Result<(), RunError> {
        if self.policy.mode == Mode::Apply && !self.standing().is_over() {
            self.give_up_headroom().await;
        }
        if !self.run.wanted.is_empty() {
            info!(wanted = %words(&self.run.wanted), "above the high mark");
            if self.policy.mode == Mode::Apply {
                self.relieve().await?;
            }
        }
        for round in 0..MAX_ROUNDS {
            let so_far = self.run.removed();
            self.round(round).await?;
            let has_removed = self.run.removed() > so_far;
            let is_relieved = self.run.missing.is_empty();
            if is_relieved || !has_removed || self.policy.mode == Mode::DryRun {
                break;
            }
        }
        Ok(())
    }

    /// Lets every namespace give what it can, until there is enough room.
    async fn round(&mut self, round: usize) -> Result<(), RunError> {
        for namespace in &self.policy.namespaces {
            if self.cancel.is_cancelled() || self.standing().is_over() {
                break;
            }
            let report = self.prune(namespace).await?;
            let is_any = !report.removed.is_empty();
            let is_news = is_any || !report.refused.is_empty() || !report.failed.is_empty();
            if round == 0 || is_news {
                self.run.reports.push(report);
            }
            // What is reserved is judged anew for each: others may have removed something, too.
            let is_stale = is_any || self.policy.pressure.needs_occupied();
            if is_stale && self.policy.mode == Mode::Apply {
                self.measure().await?;
                self.look_what_is_missing();
            }
        }
        Ok(())
    }

    /// Makes room without removing any image.
    async fn relieve(&mut self) -> Result<(), RunError> {
        let engine = &self.maintenance.engine;
        // Of all namespaces that policies may touch: whose hold it is does not matter.
        for namespace in &self.policy.namespaces {
            for hold in engine.history(namespace).await? {
                if self.run.missing.is_empty() {
                    return Ok(());
                }
                if hold.is_abandoned {
                    continue;
                }
                let run = engine.release(namespace, Some(&hold.run.0)).await?;
                info!(%run, "hold is released");
                self.run.released.push((namespace.clone(), run));
                self.measure().await?;
                self.look_what_is_missing();
            }
        }
        if let (true, Some(namespace)) =
            (self.run.released.is_empty(), self.policy.namespaces.first())
        {
            engine.collect_garbage(namespace).await?;
            self.measure().await?;
            self.look_what_is_missing();
        }
        Ok(())
    }

    async fn prune(&self, namespace: &Namespace) -> Result<Report, RunError> {
        let Maintenance { engine, index, .. } = self.maintenance;
        let policy = self.policy;
        let now = engine.store.now();
        let images = self.maintenance.images(policy, namespace, now).await;
        let request = self.standing().request(namespace, images);
        if policy.mode == Mode::DryRun {
            let preview = engine.preview(&request, &no_progress).await?;
            return Ok(preview.into_report().await.0);
        }
        let options = RunOptions {
            undo_window: self.standing().undo_window(),
            max_deletes_per_second: policy.max_deletes_per_second,
            ..RunOptions::default()
        };
        let controls = Controls {
            options: &options,
            progress: &no_progress,
            cancel: &self.cancel,
        };
        let report = engine.prune(&request, None, controls).await?;
        let (index, now) = (Arc::clone(index), engine.store.now());
        let noting = move || {
            index.removed(&report, now);
            report
        };
        Ok(blocking(noting).await)
    }

    async fn measure(&mut self) -> Result<(), RunError> {
        let measuring = self.maintenance.engine.store.filesystems();
        let found = unless_cancelled(&self.cancel, measuring).await?;
        for unseen in found.unseen {
            let warning = format!("not seen: {unseen}");
            if !self.run.warnings.contains(&warning) {
                self.run.warnings.push(warning);
            }
        }
        self.filesystems = found.seen;
        self.discount_headroom().await;
        if self.policy.pressure.needs_occupied() {
            let measuring = self.maintenance.occupied();
            self.occupied = Some(unless_cancelled(&self.cancel, measuring).await?);
        }
        Ok(())
    }

    fn look_what_is_missing(&mut self) {
        let pressure = &self.policy.pressure;
        let missing = pressure.remain(&self.run.wanted, &self.filesystems, self.occupied);
        self.run.missing = missing;
    }

    fn fail(&mut self, error: &RunError) {
        self.run.outcome = if matches!(error, RunError::Busy(_)) {
            Outcome::Busy
        } else if matches!(error, RunError::Cancelled) {
            Outcome::Partial
        } else {
            Outcome::Failed
        };
        let error = chain(error);
        warn!(%error, "policy could not run");
        self.run.error = Some(error);
    }

    /// Looks once more, and says how it ended.
    async fn finish(mut self) -> PolicyRun {
        if self.run.error.is_none() {
            self.run.outcome = self.standing().outcome();
        }
        self.take_headroom().await;
        self.run.after.clone_from(&self.filesystems);
        if self.run.outcome == Outcome::Unmet {
            self.run.breakdown = self.breakdown().await;
        }
        self.run.ended = self.maintenance.engine.store.now();
        if self.run.outcome == Outcome::Nothing {
            debug!("policy has nothing to do");
        } else {
            info!(
                outcome = %self.run.outcome,
                removed = self.run.removed(),
                freed_bytes = self.run.freed().total_bytes(),
                missing = %words(&self.run.missing),
                "policy ran"
            );
        }
        self.run
    }

    /// Finds out where the rest is.
    async fn breakdown(&mut self) -> Option<Breakdown> {
        let engine = &self.maintenance.engine;
        match engine.disk_usage(&no_progress).await {
            Ok(usage) => {
                let used = self.filesystems.iter().map(|it| it.bytes.used());
                let known = usage.total.total().total_bytes();
                Some(Breakdown {
                    other_bytes: used.sum::<u64>().saturating_sub(known),
                    account: usage.total,
                })
            }
            Err(error) => {
                let error = chain(&error);
                self.run
                    .warnings
                    .push(format!("where the rest is cannot be told: {error}"));
                None
            }
        }
    }
}

fn words(excesses: &[Excess]) -> String {
    let words: Vec<String> = excesses.iter().map(ToString::to_string).collect();
    words.join(", ")
}
