//! The service of prunes.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use reclaim_engine::{Progress, RunHandle, RunOptions, blocking, no_progress};
use reclaim_model::{
    AuditQuery, Caller, EntryPoint, Namespace, PinAction, PinRequest, PruneRequest, Separator,
};
use tonic::{Request, Response, Status};

use super::error::{invalid, status};
use super::proto;
use super::wire::{WireError, moment, namespace_or, options, size};
use crate::caller::Sender;
use crate::json::Undo;
use crate::service::{Planned, RunEvent, Service, events};
use proto::progress::Phase;
use proto::prune_response::Event;
use proto::selection::Which;

/// The service.
#[derive(Debug)]
pub(super) struct Prune {
    service: Arc<Service>,
}

type Events = Pin<Box<dyn Stream<Item = Result<proto::PruneResponse, Status>> + Send>>;

impl Prune {
    pub(super) fn new(service: &Arc<Service>) -> Self {
        Self {
            service: Arc::clone(service),
        }
    }

    fn request(&self, message: Option<proto::Request>) -> Result<PruneRequest, Status> {
        let message = message.ok_or_else(|| invalid("request", "it is missing"))?;
        let request = message
            .read(&self.service.parts.namespace)
            .map_err(refused)?;
        let checked = self.service.check(&request);
        checked.map_err(|error| status(&error))?;
        Ok(request)
    }

    fn options(&self, message: Option<proto::Options>) -> Result<RunOptions, Status> {
        let options = options(message).map_err(refused)?;
        let over = options.over(&self.service.parts.run);
        over.map_err(|error| status(&error))
    }

    fn start(
        &self,
        request: PruneRequest,
        options: RunOptions,
        sender: Sender,
    ) -> Result<Response<Events>, Status> {
        let started = self.service.start(request, None, options, sender);
        started.map(stream).map_err(|error| status(&error))
    }

    fn namespace(&self, text: &str) -> Result<Namespace, Status> {
        namespace_or(&self.service.parts.namespace, text).map_err(refused)
    }

    async fn change_pins(
        &self,
        request: PinRequest,
        caller: Caller,
    ) -> Result<Vec<proto::PinOutcome>, Status> {
        let outcomes = self.service.pin(request, caller).await;
        let outcomes = outcomes.map_err(|error| status(&error))?;
        Ok(outcomes.iter().map(Into::into).collect())
    }
}

/// Streams the events of a run.
fn stream(run: RunHandle) -> Response<Events> {
    let messages = events(run).then(async |event| match event {
        RunEvent::Progress(progress) => Ok(event_message(Event::Progress(progress.into()))),
        RunEvent::Ended(ended) => match *ended {
            Ok(report) => {
                let report = blocking(move || (&report).into()).await;
                Ok(event_message(Event::Report(report)))
            }
            Err(error) => Err(status(&error)),
        },
    });
    Response::new(Box::pin(messages))
}

#[tonic::async_trait]
impl proto::prune_service_server::PruneService for Prune {
    type PruneStream = Events;
    type PruneProjectStream = Events;
    type ApplyStream = Events;

    async fn plan(
        &self,
        request: Request<proto::PlanRequest>,
    ) -> Result<Response<proto::PlanResponse>, Status> {
        let sender = sender(&request);
        let request = self.request(request.into_inner().request)?;
        let planned = self.service.plan(request, &sender).await;
        let Planned {
            plan,
            expires,
            report,
        } = planned.map_err(|error| status(&error))?;
        let report = blocking(move || (&report).into()).await;
        Ok(Response::new(proto::PlanResponse {
            plan,
            expires: Some(moment(expires)),
            report: Some(report),
        }))
    }

    async fn prune(
        &self,
        request: Request<proto::PruneRequest>,
    ) -> Result<Response<Events>, Status> {
        let sender = sender(&request);
        let proto::PruneRequest { request, options } = request.into_inner();
        let options = self.options(options)?;
        let request = self.request(request)?;
        self.start(request, options, sender)
    }

    async fn prune_project(
        &self,
        request: Request<proto::PruneProjectRequest>,
    ) -> Result<Response<Events>, Status> {
        let sender = sender(&request);
        let proto::PruneProjectRequest {
            namespace,
            images,
            options,
        } = request.into_inner();
        let images = images.ok_or_else(|| invalid("images", "it is missing"))?;
        let request = proto::Request {
            namespace,
            selection: Some(proto::Selection {
                which: Some(Which::Project(images)),
            }),
            may_lack_namespace: true,
            ..proto::Request::default()
        };
        let options = self.options(options)?;
        let request = self.request(Some(request))?;
        self.start(request, options, sender)
    }

    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<Events>, Status> {
        let sender = sender(&request);
        let proto::ApplyRequest { plan, options } = request.into_inner();
        // Before the plan is taken: it can be applied only once.
        let options = self.options(options)?;
        let applied = self.service.apply(&plan, options, sender);
        applied.map(stream).map_err(|error| status(&error))
    }

    async fn explain(
        &self,
        request: Request<proto::ExplainRequest>,
    ) -> Result<Response<proto::ExplainResponse>, Status> {
        let proto::ExplainRequest { namespace, thing } = request.into_inner();
        let namespace = self.namespace(&namespace)?;
        let answers = self.service.parts.engine.why(&namespace, &thing).await;
        let answers = answers.map_err(|error| status(&error.into()))?;
        Ok(Response::new(proto::ExplainResponse {
            answers: answers.iter().map(Into::into).collect(),
        }))
    }

    async fn list_images(
        &self,
        request: Request<proto::ListImagesRequest>,
    ) -> Result<Response<proto::ListImagesResponse>, Status> {
        let proto::ListImagesRequest {
            namespace,
            may_lack_namespace,
        } = request.into_inner();
        let namespace = self.namespace(&namespace)?;
        let list = self
            .service
            .parts
            .engine
            .images(&namespace, may_lack_namespace)
            .await;
        let list = list.map_err(|error| status(&error.into()))?;
        Ok(Response::new(blocking(move || (&list).into()).await))
    }

    async fn list_projects(
        &self,
        request: Request<proto::ListProjectsRequest>,
    ) -> Result<Response<proto::ListProjectsResponse>, Status> {
        let proto::ListProjectsRequest {
            namespace,
            may_lack_namespace,
            compatibility,
        } = request.into_inner();
        let namespace = self.namespace(&namespace)?;
        let separator = Separator::of_compatibility(compatibility);
        let engine = &self.service.parts.engine;
        let listing = engine.projects(&namespace, may_lack_namespace, separator);
        let projects = listing.await.map_err(|error| status(&error.into()))?;
        Ok(Response::new(proto::ListProjectsResponse {
            projects: projects.projects.iter().map(Into::into).collect(),
        }))
    }

    async fn disk_usage(
        &self,
        _: Request<proto::DiskUsageRequest>,
    ) -> Result<Response<proto::DiskUsageResponse>, Status> {
        let usage = self.service.parts.engine.disk_usage(&no_progress).await;
        let usage = usage.map_err(|error| status(&error.into()))?;
        Ok(Response::new(blocking(move || (&usage).into()).await))
    }

    async fn history(
        &self,
        request: Request<proto::HistoryRequest>,
    ) -> Result<Response<proto::HistoryResponse>, Status> {
        let namespace = self.namespace(&request.into_inner().namespace)?;
        let holds = self.service.parts.engine.history(&namespace).await;
        let holds = holds.map_err(|error| status(&error.into()))?;
        Ok(Response::new(proto::HistoryResponse {
            holds: holds.iter().map(Into::into).collect(),
        }))
    }

    async fn audit(
        &self,
        request: Request<proto::AuditRequest>,
    ) -> Result<Response<proto::AuditResponse>, Status> {
        let proto::AuditRequest {
            namespace,
            since,
            until,
        } = request.into_inner();
        let is_everywhere = namespace.is_empty();
        let namespace = self.namespace(&namespace)?;
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let query = AuditQuery {
            namespace: (!is_everywhere).then_some(namespace),
            since: given(since),
            until: given(until),
        };
        let found = self.service.audit(query).await;
        let found = found.map_err(|error| status(&error))?;
        Ok(Response::new(blocking(move || (&found).into()).await))
    }

    async fn undo(
        &self,
        request: Request<proto::UndoRequest>,
    ) -> Result<Response<proto::UndoResponse>, Status> {
        let caller = sender(&request).caller;
        let proto::UndoRequest {
            namespace,
            run,
            images,
            without_credentials,
        } = request.into_inner();
        let namespace = self.namespace(&namespace)?;
        let undo = Undo {
            namespace: Some(namespace),
            run: Some(run).filter(|run| !run.is_empty()),
            images,
            without_credentials,
        };
        let undone = self.service.undo(undo, caller).await;
        let undone = undone.map_err(|error| status(&error))?;
        Ok(Response::new(proto::UndoResponse {
            restored: undone.restored,
            taken: undone.taken,
            refused: undone.refused,
            dependent: undone.dependent.into_iter().collect(),
            labels: size(undone.labels),
        }))
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        let caller = sender(&request).caller;
        let proto::ReleaseRequest { namespace, run } = request.into_inner();
        let namespace = self.namespace(&namespace)?;
        let run = Some(run).filter(|run| !run.is_empty());
        let run = self.service.release(namespace, run, caller).await;
        let run = run.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ReleaseResponse {
            run: run.to_string(),
        }))
    }

    async fn restore(
        &self,
        request: Request<proto::RestoreRequest>,
    ) -> Result<Response<proto::RestoreResponse>, Status> {
        let caller = sender(&request).caller;
        let message = request.into_inner();
        let namespace = self.namespace(&message.namespace)?;
        let restored = self.service.restore(message.read(namespace), caller).await;
        let restored = restored.map_err(|error| status(&error))?;
        let outcomes = restored.images.iter().map(Into::into).collect();
        Ok(Response::new(proto::RestoreResponse { outcomes }))
    }

    async fn pin(
        &self,
        request: Request<proto::PinRequest>,
    ) -> Result<Response<proto::PinResponse>, Status> {
        let caller = sender(&request).caller;
        let proto::PinRequest {
            namespace,
            images,
            may_lack_namespace,
            wait,
        } = request.into_inner();
        let request = PinRequest {
            namespace: self.namespace(&namespace)?,
            action: PinAction::Pin,
            names: images,
            may_lack_namespace,
            wait,
        };
        let outcomes = self.change_pins(request, caller);
        let outcomes = outcomes.await?;
        Ok(Response::new(proto::PinResponse { outcomes }))
    }

    async fn unpin(
        &self,
        request: Request<proto::UnpinRequest>,
    ) -> Result<Response<proto::UnpinResponse>, Status> {
        let caller = sender(&request).caller;
        let proto::UnpinRequest {
            namespace,
            images,
            may_lack_namespace,
            force,
            wait,
        } = request.into_inner();
        let request = PinRequest {
            namespace: self.namespace(&namespace)?,
            action: if force {
                PinAction::UnpinAny
            } else {
                PinAction::Unpin
            },
            names: images,
            may_lack_namespace,
            wait,
        };
        let outcomes = self.change_pins(request, caller);
        let outcomes = outcomes.await?;
        Ok(Response::new(proto::UnpinResponse { outcomes }))
    }
}

/// Returns who sent a request.
pub(super) fn sender<T>(request: &Request<T>) -> Sender {
    let headers = request.metadata().as_ref();
    Sender::of(EntryPoint::Grpc, request.extensions(), headers)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: WireError) -> Status {
    invalid(error.field, &error.problem)
}

fn event_message(event: Event) -> proto::PruneResponse {
    proto::PruneResponse { event: Some(event) }
}

impl From<Progress> for proto::Progress {
    fn from(progress: Progress) -> Self {
        let mut message = Self::default();
        let phase = match progress {
            Progress::Observing => Phase::Observing,
            Progress::Planned { steps, kept } => {
                message.steps = steps as u64;
                message.kept = kept as u64;
                Phase::Planned
            }
            Progress::Step { done, steps } => {
                message.done = done as u64;
                message.steps = steps as u64;
                Phase::Removing
            }
            Progress::LookingAgain => Phase::LookingAgain,
            Progress::Collecting => Phase::Collecting,
            Progress::Measuring => Phase::Measuring,
        };
        message.phase = phase.into();
        message
    }
}
