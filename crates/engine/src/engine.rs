//! The engine: a containerd, the container stores, and the guard.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use reclaim_model::{
    Container, FilterError, HumanSize, Inventory, Namespace, Plan, PruneRequest, Report,
    ResolvedRequest, RunId, TimeContext,
};
use reclaim_plan::{InvalidPlan, NotFound, check, decide};
use reclaim_store::{ConnectError, Containerd, StoreError};
use tokio::sync::broadcast;
use tracing::{Instrument, debug, info_span};

use crate::containers::{ContainerStore, ContainerStoreError};
use crate::guard::PruneGuard;
use crate::host_guard::Busy;
use crate::identity::Identity;
use crate::kubernetes::ContainerdConfig;
use crate::last_use::LastUseSource;
use crate::lease_labels;
use crate::measure::Measuring;
use crate::motion::Motion;
use crate::off_thread::Shared;
use crate::presence::Presence;
use crate::preview::Preview;
use crate::progress::{Progress, ProgressSink};
use crate::queue::Queue;
use crate::retry::{TO_END, retry};
use crate::target::Unmet;
use crate::unfinished::Unfinished;
use crate::unlisted::is_dockers;

/// Why a run ended before it changed anything.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The filters of the request mean nothing. The cause is part of the text.
    #[error("{0}")]
    Filter(FilterError),
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
    /// The task of the run ended without a report. What it removed is held, and restored by the
    /// next run.
    #[error("the run ended without a report")]
    Ended,
    /// It was stopped before it changed anything.
    #[error("stopped before anything was removed")]
    Cancelled,
    /// The store could not be listed whole, or the guard not be taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk is so full that nothing can be held, and so nothing may be removed.
    #[error("nothing was removed: the disk is too full to write even what holds one image")]
    DiskFull(#[source] StoreError),
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
    Check(InvalidPlan),
    /// Removing everything that may go would not free as much as was asked for.
    #[error(
        "{} cannot be freed, only {}",
        HumanSize(_0.target),
        HumanSize(_0.available)
    )]
    TargetNotMet(Box<Unmet>),
    /// The size of the filesystem with the content is not known, so a percentage means nothing.
    #[error("the filesystem of the content store cannot be seen: {why}")]
    UnknownFilesystem {
        /// What is in the way.
        why: String,
    },
    /// What was asked about is not there, or not one thing.
    #[error(transparent)]
    NotFound(NotFound),
    /// There is no hold of that run.
    #[error(
        "nothing is held of run `{run}` in namespace `{namespace}`; held: {}",
        runs(held)
    )]
    UnknownRun {
        /// Where.
        namespace: Namespace,
        /// The run that was asked for, or `latest`.
        run: String,
        /// Those of which something is held.
        held: Vec<RunId>,
    },
    /// What a run held has expired, and been collected.
    #[error(
        "restore image `{name}`: its content is gone, because the hold of run {run} has expired"
    )]
    ContentGone {
        /// The run.
        run: RunId,
        /// The image.
        name: String,
    },
    /// A run holds no record of that name.
    #[error("run {run} removed no image `{name}`")]
    NotInRun {
        /// The run.
        run: RunId,
        /// The name that was asked for.
        name: String,
    },
}

fn listed(namespaces: &[Namespace]) -> String {
    let names: Vec<&str> = namespaces.iter().map(Namespace::as_str).collect();
    or_none(&names.join(", "))
}

fn runs(runs: &[RunId]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.0.as_str()).collect();
    or_none(&names.join(", "))
}

fn or_none(list: &str) -> String {
    (if list.is_empty() { "none" } else { list }).to_owned()
}

/// What images are evaluated by.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// What was seen.
    pub(crate) inventory: Inventory,
    /// Containers beyond containerd's own records.
    pub(crate) registered: Vec<Container>,
    /// What is asked for.
    pub(crate) request: ResolvedRequest,
}

/// Prunes the images of one containerd.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) store: Containerd,
    pub(crate) containers: Vec<Arc<dyn ContainerStore>>,
    pub(crate) guard: PruneGuard,
    pub(crate) queue: Queue,
    pub(crate) containerd_config: ContainerdConfig,
    pub(crate) finished: broadcast::Sender<Arc<Report>>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) unfinished: Arc<Unfinished>,
    pub(crate) patience: Duration,
    pub(crate) motion: Motion,
    pub(crate) last_use: Option<Arc<dyn LastUseSource>>,
}

/// How many reports are kept for a listener that is slow.
const KEPT_REPORTS: usize = 64;

/// Time between two looks at a run that is awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Engine {
    /// Works on this containerd. Its own container records are always read.
    pub fn new(store: Containerd) -> Self {
        Self {
            identity: Arc::new(Identity::read(store.sees_files())),
            unfinished: Arc::default(),
            patience: TO_END,
            store,
            containers: Vec::new(),
            guard: PruneGuard::default(),
            queue: Queue::default(),
            containerd_config: ContainerdConfig::default(),
            finished: broadcast::Sender::new(KEPT_REPORTS),
            motion: Motion::default(),
            last_use: None,
        }
    }

    /// Works on the containerd at `address`: a path, with or without `unix://` before it.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], which says whether the socket is missing, closed to us, or somebody
    /// else's.
    pub async fn connect(address: &str) -> Result<Self, ConnectError> {
        Ok(Self::new(Containerd::connect(address).await?))
    }

    /// Adds containers that containerd has no record of.
    #[must_use]
    pub fn with_containers(mut self, store: Arc<dyn ContainerStore>) -> Self {
        self.containers.push(store);
        self
    }

    /// Keeps the lock files of runs in this directory, which is made when it is needed.
    ///
    /// By them other processes can prove that a run is over whose process was killed, whatever
    /// PID namespace that was in. They have to see the same file. Without a directory that proof
    /// is missing, and a killed run may block others until its guard expires.
    #[must_use]
    pub fn with_lock_directory(mut self, directory: PathBuf) -> Self {
        Arc::make_mut(&mut self.identity).locks = Some(directory);
        self
    }

    /// Takes these for the IDs of the machine and of its boot: for tests of a reboot.
    #[doc(hidden)]
    #[must_use]
    pub fn with_machine(mut self, machine: &str, boot: &str) -> Self {
        Arc::make_mut(&mut self.identity).pretend(machine, boot);
        self
    }

    /// Waits no longer than this for a containerd that is away at the end of a run: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Begins a run of that ID, as other processes can see it.
    pub(crate) async fn presence(&self, run: RunId, namespace: &Namespace) -> Presence {
        let (identity, unfinished) = (Arc::clone(&self.identity), Arc::clone(&self.unfinished));
        Presence::begin(run, namespace.clone(), identity, unfinished).await
    }

    /// Whether a run is under way in this process.
    pub fn is_running(&self) -> bool {
        self.guard.is_taken()
    }

    /// Waits until no run is under way in this process, however long that takes. Whoever ends the
    /// process stops runs by their tokens first.
    pub async fn idle(&self) {
        while self.is_running() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Hears the report of every run from now on, by whatever door it came.
    pub fn reports(&self) -> broadcast::Receiver<Arc<Report>> {
        self.finished.subscribe()
    }

    /// Returns the version that containerd reports.
    pub fn containerd_version(&self) -> Arc<str> {
        self.store.version()
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
        let request = self.resolve(request).map_err(RunError::Filter)?;
        self.preview_within(&request, None, progress).await
    }

    /// Checks whether the filters of a request mean anything.
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
        request.clone().resolve(&context)
    }

    /// As [`Self::preview`], within a run: what that run's own lease holds is not held by
    /// anybody else, and snapshots may have to be measured yet; see [`Measuring::of_run`].
    pub(crate) async fn preview_within(
        &self,
        request: &ResolvedRequest,
        run: Option<(&RunId, Measuring)>,
        progress: &ProgressSink<'_>,
    ) -> Result<Preview, RunError> {
        progress(Progress::Observing);
        let namespace = &request.namespace;
        let judged = std::slice::from_ref(namespace);
        let labels = request.label_keys();
        let observing = retry(|| self.store.observe(judged, &labels, self.store.now()));
        let mut inventory = self.phase(info_span!("observe"), observing).await?;
        let existing = inventory.namespaces.keys().cloned();
        let existing: Vec<Namespace> = existing.collect();
        let is_there = exists(namespace, request.may_lack_namespace, &existing)?;
        if let Some(seen) = inventory.namespaces.get_mut(namespace)
            && let Some((run, _)) = run
        {
            seen.leases
                .retain(|lease| lease_labels::run(lease).as_ref() != Some(run));
        }
        self.note_states(request, &mut inventory).await?;
        self.note_pod_images(&mut inventory).await;
        let registered = if is_there {
            self.registered(namespace).await?
        } else {
            Vec::new()
        };
        self.note_unlisted(&mut inventory);
        let evidence = Shared::new(Evidence {
            inventory,
            registered,
            request: self.by_current_use(request).await,
        });
        let deciding = evidence.read(|it| decide(&it.inventory, &it.registered, &it.request));
        let decision = deciding.instrument(info_span!("plan")).await;
        let measuring = run.map_or(Measuring::First, |(_, measuring)| measuring);
        let plan = self.measured(namespace, decision, measuring).await?;
        let plan = self.limited(plan, &evidence).await?;
        let plan = self.checked(plan, &evidence).await?;
        progress(Progress::Planned {
            steps: plan.steps.len(),
            kept: plan.kept.len(),
        });
        debug!(calls = ?self.store.calls(), "planned");
        Ok(Preview {
            inventory: evidence.into_inner().inventory,
            plan,
        })
    }

    /// Adds the last warnings to a plan, and has it checked.
    async fn checked(&self, mut plan: Plan, evidence: &Shared<Evidence>) -> Result<Plan, RunError> {
        let config = self.containerd_config.clone();
        let stores = self.containers.iter();
        let of_stores = stores.flat_map(|store| store.warnings(&evidence.request.namespace));
        let of_stores: Vec<String> = of_stores.collect();
        let checking = evidence.read(move |it| {
            let of_pods = config.warnings(&it.request, &plan);
            plan.warnings.extend(of_pods);
            plan.warnings.extend(of_stores);
            check(&plan, &it.inventory, &it.registered, &it.request).map_err(RunError::Check)?;
            for kept in &plan.kept {
                debug!(image = %kept.name, reason = ?kept.reason, "image stays");
            }
            Ok(plan)
        });
        checking.await
    }

    /// Notes in which namespaces there may be containers that no store here lists.
    pub(crate) fn note_unlisted(&self, inventory: &mut Inventory) {
        for (name, namespace) in &mut inventory.namespaces {
            namespace.has_unlisted_containers = self.has_unlisted_containers(name);
        }
    }

    /// Whether there may be containers in a namespace that no store here lists.
    pub(crate) fn has_unlisted_containers(&self, namespace: &Namespace) -> bool {
        let mut stores = self.containers.iter();
        is_dockers(namespace) && !stores.any(|store| store.lists_stopped(namespace))
    }

    /// Lists the containers of a namespace that the container stores have and containerd does not.
    ///
    /// # Errors
    ///
    /// [`RunError::Containers`] if a store cannot be read.
    pub async fn registered(&self, namespace: &Namespace) -> Result<Vec<Container>, RunError> {
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
}

/// Whether the namespace is there; an error if it has to be.
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

#[cfg(test)]
mod tests {
    use reclaim_model::{PinAction, PinRequest};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Controls, RunOptions, no_progress};

    fn may_be_spawned(_: impl Send) {}

    /// Whoever embeds the engine spawns its runs. This is about types: it is never called.
    #[expect(dead_code, reason = "that it compiles is the test")]
    fn all_that_an_engine_does_may_be_spawned(engine: &Engine, request: &PruneRequest) {
        let options = RunOptions::default();
        let controls = Controls {
            options: &options,
            progress: &no_progress,
            cancel: &CancellationToken::new(),
        };
        may_be_spawned(engine.prune(request, None, controls));
        may_be_spawned(engine.preview(request, &no_progress));
        may_be_spawned(engine.disk_usage(&no_progress));
        may_be_spawned(engine.listing(&request.namespace));
        may_be_spawned(engine.why(&request.namespace, "app"));
        may_be_spawned(async {
            let pins = PinRequest {
                namespace: request.namespace.clone(),
                action: PinAction::Pin,
                names: Vec::new(),
                may_lack_namespace: true,
                wait: true,
            };
            engine.pin(&pins, &CancellationToken::new()).await
        });
    }
}
