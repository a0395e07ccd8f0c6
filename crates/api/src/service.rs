//! What a request of our own APIs does, by whichever protocol it arrives: JSON over HTTP or gRPC.
//!
//! A run belongs to the daemon, not to the connection that requested it: it goes on to its end
//! when its client goes away. Its progress and its report are sent to the client while that
//! listens.

use std::fmt;
use std::sync::Arc;

use futures::{Stream, stream};
use jiff::Timestamp;
use reclaim_engine::{
    AuditError, AuditLog, Engine, FetchControls, Progress, RegisteredContainers, RunError,
    RunHandle, RunOptions, Undone, blocking, no_progress,
};
use reclaim_maintenance::{RequestError, SchedulerHandle};
use reclaim_model::{
    AuditQuery, AuditRecords, Caller, Namespace, PinOutcome, PinRequest, Plan, PruneRequest,
    Report, RestoreCall, Restores, RunId, chain,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::access::{Needed, Refusal};
use crate::caller::Sender;
use crate::json::Undo;
use crate::plans::{Kept, Plans};

/// The parts that a [`Service`] works with.
#[derive(Debug)]
pub struct ServiceParts {
    /// Shared with Docker's API: one run at a time.
    pub engine: Arc<Engine>,
    /// Also among the engine's container stores.
    pub registered: Arc<RegisteredContainers>,
    /// The scheduler of the policies.
    pub scheduler: SchedulerHandle,
    /// The namespace of requests that name none.
    pub namespace: Namespace,
    /// The options of runs whose request has none.
    pub run: RunOptions,
    /// Stops runs: they end after the removals under way, and report.
    pub cancel: CancellationToken,
}

/// The operations behind our own APIs.
#[derive(Debug)]
pub struct Service {
    pub(crate) parts: ServiceParts,
    plans: Plans,
}

/// A plan that the daemon keeps for a while.
#[derive(Debug, Serialize, Deserialize)]
pub struct Planned {
    /// The ID by which it is applied, once.
    pub plan: String,
    /// When the daemon forgets it.
    pub expires: Timestamp,
    /// What applying it would do.
    pub report: Report,
}

/// An event of a run under way.
#[derive(Debug)]
pub(crate) enum RunEvent {
    /// It has come this far.
    Progress(Progress),
    /// It has ended.
    Ended(Box<Result<Report, ServiceError>>),
}

/// Streams the events of a run; the last is its end.
pub(crate) fn events(run: RunHandle) -> impl Stream<Item = RunEvent> + Send {
    stream::unfold(Some(run), |run| async {
        let mut run = run?;
        if let Some(progress) = run.progress().await {
            return Some((RunEvent::Progress(progress), Some(run)));
        }
        let ended = run.await.map_err(ServiceError::from);
        Some((RunEvent::Ended(Box::new(ended)), None))
    })
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The engine refused it or failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The scheduler refused it or failed.
    #[error(transparent)]
    Policy(#[from] RequestError),
    /// The plan is not there.
    #[error("there is no plan `{0}`: it was applied, has expired, or never existed")]
    NoPlan(String),
    /// A field of the request is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong with it, and what is accepted.
        problem: String,
    },
    /// Its sender may not make it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The records of changes cannot be read.
    #[error(transparent)]
    Audit(AuditError),
    /// The timeline cannot be read.
    #[error("read the timeline")]
    Timeline(#[source] std::io::Error),
    /// The task of the request ended without a result.
    #[error("the request ended without a result: {0}")]
    Ended(String),
}

/// The class of an error, for clients that act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Another run has the guard.
    Busy,
    /// A command forbids it: `reclaim inhibit`.
    Inhibited,
    /// The request asks for more than can be freed.
    TargetNotMet,
    /// The plan did not pass its own check.
    Check,
    /// The request is wrong.
    Invalid,
    /// The sender may not request this.
    Denied,
    /// What the request names does not exist.
    NotFound,
    /// The daemon cannot work now: it is stopping, or containerd does not answer.
    Unavailable,
    /// Anything else.
    #[serde(other)]
    Other,
}

impl ServiceError {
    /// Says that a field is wrong.
    pub(crate) fn invalid(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self::Invalid {
            field: field.into(),
            problem: problem.to_string(),
        }
    }

    /// Returns the class of the error.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Run(error) | Self::Policy(RequestError::Run(error)) => kind_of(error),
            Self::Policy(RequestError::UnknownPolicy(_)) | Self::Invalid { .. } => {
                ErrorKind::Invalid
            }
            Self::Policy(RequestError::Stopped) => ErrorKind::Unavailable,
            Self::NoPlan(_) => ErrorKind::NotFound,
            Self::Refused(_) => ErrorKind::Denied,
            Self::Audit(_) | Self::Timeline(_) | Self::Ended(_) => ErrorKind::Other,
        }
    }

    /// Returns the error of the engine behind it, if there is one.
    pub(crate) fn run_error(&self) -> Option<&RunError> {
        match self {
            Self::Run(error) | Self::Policy(RequestError::Run(error)) => Some(error),
            Self::Policy(_)
            | Self::NoPlan(_)
            | Self::Invalid { .. }
            | Self::Refused(_)
            | Self::Audit(_)
            | Self::Timeline(_)
            | Self::Ended(_) => None,
        }
    }

    /// Returns its text, causes included.
    pub(crate) fn text(&self) -> String {
        chain(self)
    }
}

fn kind_of(error: &RunError) -> ErrorKind {
    match error {
        RunError::Filter(_) => ErrorKind::Invalid,
        RunError::Busy(_) => ErrorKind::Busy,
        RunError::Inhibited(_) => ErrorKind::Inhibited,
        RunError::UnknownNamespace { .. }
        | RunError::NotFound(_)
        | RunError::UnknownRun { .. }
        | RunError::ContentGone { .. }
        | RunError::NotInRun { .. } => ErrorKind::NotFound,
        RunError::Check(_) => ErrorKind::Check,
        RunError::TargetNotMet(_) => ErrorKind::TargetNotMet,
        RunError::Containers { .. } | RunError::Cancelled | RunError::Ended => {
            ErrorKind::Unavailable
        }
        RunError::Store(error) if error.is_transient() => ErrorKind::Unavailable,
        RunError::UnknownFilesystem { .. } | RunError::DiskFull(_) | RunError::Store(_) => {
            ErrorKind::Other
        }
    }
}

impl Service {
    /// Creates the service.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(parts: ServiceParts) -> Self {
        Self {
            parts,
            plans: Plans::default(),
        }
    }

    /// Returns the engine for the request of a caller, whom the audit names.
    fn engine_for(&self, caller: Caller) -> Arc<Engine> {
        Arc::new(self.parts.engine.called_by(caller))
    }

    /// Refuses filters that mean nothing.
    pub(crate) fn check(&self, request: &PruneRequest) -> Result<(), ServiceError> {
        let checked = self.parts.engine.check(request);
        checked.map_err(|error| ServiceError::invalid("filters", error))
    }

    /// Plans a prune, and keeps the plan so that it can be applied.
    pub(crate) async fn plan(
        &self,
        request: PruneRequest,
        sender: &Sender,
    ) -> Result<Planned, ServiceError> {
        check_lift(&request, sender)?;
        let preview = self.parts.engine.preview(&request, &no_progress).await?;
        let (report, plan) = preview.into_report().await;
        let (plan, expires) = self.plans.keep(Kept { request, plan });
        Ok(Planned {
            plan,
            expires,
            report,
        })
    }

    /// Applies a plan that was kept. It can be applied once.
    pub(crate) fn apply(
        &self,
        plan: &str,
        options: RunOptions,
        sender: Sender,
    ) -> Result<RunHandle, ServiceError> {
        let kept = self
            .plans
            .take(plan, |kept| check_lift(&kept.request, &sender));
        let kept = kept.ok_or_else(|| ServiceError::NoPlan(plan.to_owned()))?;
        let Kept { request, plan } = kept?;
        self.start(request, Some(plan), options, sender)
    }

    /// Starts a prune.
    pub(crate) fn start(
        &self,
        request: PruneRequest,
        confirmed: Option<Plan>,
        options: RunOptions,
        sender: Sender,
    ) -> Result<RunHandle, ServiceError> {
        check_lift(&request, &sender)?;
        let engine = self.engine_for(sender.caller);
        Ok(engine.start(request, confirmed, options, &self.parts.cancel))
    }

    /// Pins or unpins images, in a task of its own: of the records of one image all are changed, or
    /// none.
    pub(crate) async fn pin(
        &self,
        request: PinRequest,
        caller: Caller,
    ) -> Result<Vec<PinOutcome>, ServiceError> {
        let engine = self.engine_for(caller);
        let cancel = self.parts.cancel.clone();
        detached(async move { engine.pin(&request, &cancel).await }).await
    }

    /// Fetches layers that images lack, in a task of its own.
    pub(crate) async fn restore(
        &self,
        call: RestoreCall,
        caller: Caller,
    ) -> Result<Restores, ServiceError> {
        let engine = self.engine_for(caller);
        let cancel = self.parts.cancel.clone();
        let restoring = async move {
            let RestoreCall {
                request,
                credentials,
            } = call;
            let controls = FetchControls {
                credentials: &credentials,
                progress: &|_| {},
                cancel: &cancel,
            };
            let images = engine.restore_layers(&request, controls).await?;
            Ok(request.restores(images))
        };
        detached(restoring).await
    }

    /// Reads the records of changes that a query asks for.
    pub(crate) async fn audit(&self, query: AuditQuery) -> Result<AuditRecords, ServiceError> {
        let Some(log) = self.parts.engine.audit() else {
            return Ok(AuditRecords::default());
        };
        let found = blocking(move || AuditLog::find(log.directory(), &query)).await;
        found.map_err(|error| match error {
            AuditError::Query(error) => ServiceError::invalid(error.field, error),
            AuditError::Read { .. } => ServiceError::Audit(error),
        })
    }

    /// Restores what a run removed, in a task of its own.
    pub(crate) async fn undo(&self, undo: Undo, caller: Caller) -> Result<Undone, ServiceError> {
        let Undo {
            namespace,
            run,
            images,
            without_credentials,
        } = undo;
        let namespace = namespace.unwrap_or_else(|| self.parts.namespace.clone());
        let engine = self.engine_for(caller);
        let undoing = async move {
            let undoing = engine.undo(&namespace, run.as_deref(), &images, without_credentials);
            undoing.await
        };
        detached(undoing).await
    }

    /// Frees what a run holds, in a task of its own. Without `run` it is the latest.
    pub(crate) async fn release(
        &self,
        namespace: Namespace,
        run: Option<String>,
        caller: Caller,
    ) -> Result<RunId, ServiceError> {
        let engine = self.engine_for(caller);
        detached(async move { engine.release(&namespace, run.as_deref()).await }).await
    }
}

/// Refuses to lift the protection for senders that may not.
fn check_lift(request: &PruneRequest, sender: &Sender) -> Result<(), Refusal> {
    if !request.lift_protection {
        return Ok(());
    }
    Refusal::check(Needed::Lift, sender.rights, &sender.caller.peer)
}

/// Runs `work` to its end, also when the caller is dropped.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, RunError>> + Send + 'static,
) -> Result<T, ServiceError> {
    let ended = tokio::spawn(work).await;
    Ok(ended.map_err(|error| ServiceError::Ended(error.to_string()))??)
}
