//! The [`Engine`]: how it is built, and what all of its runs share.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reclaim_model::{Caller, Container, LastUses, Namespace, Protection, Report, RunId};
use reclaim_store::{ConnectError, Containerd};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug};

use crate::audit::AuditLog;
use crate::containers::ContainerStore;
use crate::error::RunError;
use crate::fetch::LayerSource;
use crate::guard::{PruneGuard, Queue};
use crate::heartbeat::Heartbeat;
use crate::identity::Identity;
use crate::kubernetes::{ContainerdConfig, PullRecords};
use crate::presence::{Presence, Unfinished};
use crate::protection::SharedProtectors;
use crate::retry::TO_END;

/// A record of when images were last used.
pub trait LastUseSource: fmt::Debug + Send + Sync {
    /// Returns the last uses of the images of a namespace. May block.
    fn uses(&self, namespace: &Namespace) -> LastUses;
}

/// Prunes the images of one containerd.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) store: Containerd,
    pub(crate) containers: Vec<Arc<dyn ContainerStore>>,
    pub(crate) guard: PruneGuard,
    pub(crate) queue: Queue,
    pub(crate) protectors: SharedProtectors,
    pub(crate) pull_records: Option<PullRecords>,
    pub(crate) finished: broadcast::Sender<Arc<Report>>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) unfinished: Arc<Unfinished>,
    pub(crate) patience: Duration,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) last_use: Option<Arc<dyn LastUseSource>>,
    pub(crate) keeps_holds: bool,
    pub(crate) audit: Option<Arc<AuditLog>>,
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) layer_source: Option<Arc<dyn LayerSource>>,
}

/// How many reports wait for a slow receiver.
const REPORT_BUFFER: usize = 64;

/// The time between two checks of [`Engine::idle`].
const IDLE_POLL: Duration = Duration::from_millis(20);

impl Engine {
    /// Creates an engine for this containerd. It always reads containerd's own container records.
    pub fn new(store: Containerd) -> Self {
        Self {
            identity: Arc::new(Identity::read(store.sees_files())),
            unfinished: Arc::default(),
            patience: TO_END,
            store,
            containers: Vec::new(),
            guard: PruneGuard::default(),
            queue: Queue::default(),
            protectors: SharedProtectors::default(),
            pull_records: None,
            finished: broadcast::Sender::new(REPORT_BUFFER),
            heartbeat: Heartbeat::default(),
            last_use: None,
            keeps_holds: false,
            audit: None,
            caller: None,
            layer_source: None,
        }
    }

    /// Connects to the containerd at `address`: a path, with or without `unix://` before it.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], which says whether the socket is missing, closed to this user, or not
    /// containerd's.
    pub async fn connect(address: &str) -> Result<Self, ConnectError> {
        Ok(Self::new(Containerd::connect(address).await?))
    }

    /// Adds a store of containers that containerd has no record of.
    #[must_use]
    pub fn with_containers(mut self, store: Arc<dyn ContainerStore>) -> Self {
        self.containers.push(store);
        self
    }

    /// Keeps the lock files of runs in this directory, which is created when it is needed.
    ///
    /// A lock file lets other processes prove that a killed run is over, even from another PID
    /// namespace, if they see the same file. Without a directory, a killed run may block others
    /// until its guard expires.
    #[must_use]
    pub fn with_lock_directory(mut self, directory: PathBuf) -> Self {
        Arc::make_mut(&mut self.identity).locks = Some(directory);
        self
    }

    /// Keeps the images that pods need according to containerd's configuration. Without this, the
    /// engine keeps the defaults of all containerd releases.
    #[must_use]
    pub fn with_containerd_config(self, config: ContainerdConfig) -> Self {
        self.protect(Protection::clone(&self.protection()), config);
        self
    }

    /// Reads the kubelet's pull records in its directory, usually `/var/lib/kubelet`, so that an undo
    /// opens no private image to every pod. Without this, an undo restores every image.
    #[must_use]
    pub fn with_kubelet_directory(self, directory: &Path) -> Self {
        Self {
            pull_records: Some(PullRecords::of_kubelet(directory)),
            ..self
        }
    }

    /// Sets the source of last uses, which policies, conditions on last use and lists of images read.
    #[must_use]
    pub fn with_last_use(self, source: Arc<dyn LastUseSource>) -> Self {
        Self {
            last_use: Some(source),
            ..self
        }
    }

    /// Keeps the holds of runs: they do not expire by containerd's wall clock, which may jump. The
    /// caller ends each after its window, by [`Self::kept_holds`] and [`Self::release`].
    #[must_use]
    pub fn keeping_holds(self) -> Self {
        Self {
            keeps_holds: true,
            ..self
        }
    }

    /// Overrides the IDs of the machine and of its boot: for tests of a reboot.
    #[doc(hidden)]
    #[must_use]
    pub fn with_machine(mut self, machine: &str, boot: &str) -> Self {
        Arc::make_mut(&mut self.identity).pretend(machine, boot);
        self
    }

    /// Limits how long the end of a run waits for a containerd that is away: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Registers a run, so that other processes can see whether it is over.
    pub(crate) async fn presence(&self, run: RunId, namespace: &Namespace) -> Presence {
        let (identity, unfinished) = (Arc::clone(&self.identity), Arc::clone(&self.unfinished));
        Presence::begin(run, namespace.clone(), identity, unfinished).await
    }

    /// Returns whether a run is under way in this process.
    pub fn is_running(&self) -> bool {
        self.guard.is_taken()
    }

    /// Returns for how long the run under way in this process has been running, if there is one.
    pub fn running_for(&self) -> Option<Duration> {
        self.guard.running_since().map(|since| since.elapsed())
    }

    /// Returns how many operations of this process ended with [`RunError::Busy`].
    pub fn refused_as_busy(&self) -> u64 {
        self.guard.refused()
    }

    /// Waits until no run is under way in this process, without a time limit. To end the process,
    /// cancel the tokens of the runs first.
    pub async fn idle(&self) {
        while self.is_running() {
            tokio::time::sleep(IDLE_POLL).await;
        }
    }

    /// Subscribes to the reports of all runs from now on, whichever API requested them.
    pub fn reports(&self) -> broadcast::Receiver<Arc<Report>> {
        self.finished.subscribe()
    }

    /// Returns the version that containerd reports.
    pub fn containerd_version(&self) -> Arc<str> {
        self.store.version()
    }

    /// Returns the engine's connection to containerd.
    pub fn store(&self) -> &Containerd {
        &self.store
    }

    /// Returns the heartbeat of this engine, for other work on it to beat, too.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Returns a count that grows whenever a run or the scheduler makes progress. If it does not
    /// change for minutes, the engine hangs.
    pub fn heartbeats(&self) -> u64 {
        self.heartbeat.count()
    }

    /// Does the work of one phase within `span`, whose name is the phase's, and logs its duration
    /// and calls at debug level. The calls include those of concurrent work on this connection.
    pub(crate) fn phase<T>(
        &self,
        span: Span,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = T> {
        let name = span.metadata().map(tracing::Metadata::name);
        // Boxed, because otherwise the future of the run would contain each phase twice.
        let work = Box::pin(work.instrument(span));
        async move {
            let (began, before) = (Instant::now(), self.store.calls());
            self.heartbeat.beat();
            let done = work.await;
            self.heartbeat.beat();
            let calls = calls_since(&before, self.store.calls());
            debug!(
                phase = name,
                took_ms = began.elapsed().as_millis(),
                ?calls,
                "phase ended"
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

    /// As [`Self::registered`], for a run, which refuses if containers are missing in a list.
    pub(crate) async fn registered_for_run(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Container>, RunError> {
        let containers = self.registered(namespace).await?;
        for store in &self.containers {
            if let Some(why) = store.unlisted(namespace) {
                return Err(RunError::Containers {
                    store: store.name().to_owned(),
                    source: why.into(),
                });
            }
        }
        Ok(containers)
    }
}

/// Subtracts the calls in `before`.
fn calls_since(
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

    fn is_send(_: impl Send) {}

    /// Embedders spawn runs, so all futures must be `Send`. Compiling it is the test.
    #[expect(dead_code, reason = "compiling it is the test")]
    fn all_futures_are_send(engine: &Engine, request: &PruneRequest) {
        let options = RunOptions::default();
        let controls = Controls {
            options: &options,
            progress: &no_progress,
            cancel: &CancellationToken::new(),
        };
        is_send(engine.prune(request, None, controls));
        is_send(engine.preview(request, &no_progress));
        is_send(engine.disk_usage(&no_progress));
        is_send(engine.listing(&request.namespace));
        is_send(engine.why(&request.namespace, "app"));
        is_send(async {
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
