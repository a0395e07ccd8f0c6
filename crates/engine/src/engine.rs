//! The engine: a containerd, the container stores, and the guard.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{Container, LastUses, Namespace, Report, RunId};
use reclaim_store::{ConnectError, Containerd};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug};

use crate::containers::ContainerStore;
use crate::error::RunError;
use crate::guard::{PruneGuard, Queue};
use crate::heartbeat::Heartbeat;
use crate::identity::Identity;
use crate::kubernetes::ContainerdConfig;
use crate::presence::{Presence, Unfinished};
use crate::retry::TO_END;

/// A record of when images were last used.
pub trait LastUseSource: fmt::Debug + Send + Sync {
    /// Returns the last uses of the images of a namespace, none later than `now`. It may block.
    fn uses_at(&self, namespace: &Namespace, now: Timestamp) -> LastUses;
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
    pub(crate) heartbeat: Heartbeat,
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
            heartbeat: Heartbeat::default(),
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

    /// Keeps the images that pods need by containerd's configuration. Without this, the defaults
    /// of containerd's releases are kept.
    #[must_use]
    pub fn with_containerd_config(mut self, config: ContainerdConfig) -> Self {
        self.containerd_config = config;
        self
    }

    /// Reads last use from this source whenever a plan is made for a policy.
    #[must_use]
    pub fn with_last_use(self, source: Arc<dyn LastUseSource>) -> Self {
        Self {
            last_use: Some(source),
            ..self
        }
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

    /// Returns the counter that phases of runs step, for other work on this engine to step.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Returns a number that grows whenever a run's phase or the scheduler moves. One that stays
    /// the same for minutes is that of an engine that hangs.
    pub fn heartbeats(&self) -> u64 {
        self.heartbeat.count()
    }

    /// Does the work of one phase within `span`, whose name is the phase's, and tells its cost at
    /// debug level. What others ask over the same connection meanwhile is counted with it.
    pub(crate) fn phase<T>(
        &self,
        span: Span,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = T> {
        let name = span.metadata().map(tracing::Metadata::name);
        // Boxed, or each phase would take its place twice in the future of the run.
        let work = Box::pin(work.instrument(span));
        async move {
            let (began, before) = (Instant::now(), self.store.calls());
            self.heartbeat.beat();
            let done = work.await;
            self.heartbeat.beat();
            let calls = since(&before, self.store.calls());
            debug!(
                phase = name,
                took_ms = began.elapsed().as_millis(),
                ?calls,
                "phase is over"
            );
            done
        }
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

/// The calls that were made since there were so many.
fn since(
    before: &BTreeMap<&'static str, u64>,
    mut calls: BTreeMap<&'static str, u64>,
) -> BTreeMap<&'static str, u64> {
    calls.retain(|operation, count| {
        *count -= before.get(operation).copied().unwrap_or_default();
        *count > 0
    });
    calls
}

#[cfg(test)]
mod tests {
    use reclaim_model::{PinAction, PinRequest, PruneRequest};
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
