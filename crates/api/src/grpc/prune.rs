//! The service of prunes.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use reclaim_engine::{Controls, Engine, Progress, RunOptions, blocking, no_progress};
use reclaim_model::{Namespace, PinAction, PinRequest, Plan, PruneRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::error::{invalid, status};
use super::plans::{Kept, Plans};
use super::wire::{WireError, moment, namespace_or, run_options};
use super::{GrpcApi, proto};
use proto::progress::Phase;
use proto::prune_response::Event;
use proto::selection::Which;

/// How much progress waits for a client that is slow. More is dropped; the report is not.
const WAITING: usize = 64;

/// The service.
#[derive(Debug)]
pub(super) struct Prune {
    engine: Arc<Engine>,
    namespace: Namespace,
    run: RunOptions,
    cancel: CancellationToken,
    plans: Plans,
}

type Events = Pin<Box<dyn Stream<Item = Result<proto::PruneResponse, Status>> + Send>>;

impl Prune {
    pub(super) fn new(api: &GrpcApi) -> Self {
        Self {
            engine: Arc::clone(&api.engine),
            namespace: api.namespace.clone(),
            run: api.run.clone(),
            cancel: api.cancel.clone(),
            plans: Plans::default(),
        }
    }

    fn request(&self, message: Option<proto::Request>) -> Result<PruneRequest, Status> {
        let message = message.ok_or_else(|| invalid("request", "it is missing"))?;
        message.read(&self.namespace).map_err(refused)
    }

    fn options(&self, message: Option<proto::Options>) -> Result<RunOptions, Status> {
        run_options(message, &self.run).map_err(refused)
    }

    /// Apart from whoever asked: of the records of one image all are pinned, or none.
    async fn change_pins(&self, request: PinRequest) -> Result<Vec<proto::PinOutcome>, Status> {
        let engine = Arc::clone(&self.engine);
        let cancel = self.cancel.clone();
        let changing = tokio::spawn(async move { engine.pin(&request, &cancel).await });
        let changed = changing
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        let outcomes = changed.map_err(|error| status(&error))?;
        Ok(outcomes.iter().map(Into::into).collect())
    }

    fn namespace(&self, text: &str) -> Result<Namespace, Status> {
        namespace_or(&self.namespace, text).map_err(refused)
    }

    /// Runs apart from whoever asked, who may go away.
    fn start(
        &self,
        request: PruneRequest,
        confirmed: Option<Plan>,
        options: RunOptions,
    ) -> Response<Events> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let engine = Arc::clone(&self.engine);
        let cancel = self.cancel.clone();
        tokio::spawn(async move {
            let progress = |progress| {
                // Nobody may be listening, or not fast enough.
                drop(sender.try_send(Ok(event(Event::Progress(progress_message(progress))))));
            };
            let controls = Controls {
                options: &options,
                progress: &progress,
                cancel: &cancel,
            };
            let done = engine.prune(&request, confirmed.as_ref(), controls).await;
            let last = match done {
                Ok(report) => {
                    let report = blocking(move || (&report).into()).await;
                    Ok(event(Event::Report(report)))
                }
                Err(error) => Err(status(&error)),
            };
            drop(sender.send(last).await);
        });
        Response::new(Box::pin(ReceiverStream::new(receiver)))
    }
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
        let request = self.request(request.into_inner().request)?;
        let preview = self.engine.preview(&request, &no_progress).await;
        let preview = preview.map_err(|error| status(&error))?;
        let (report, plan) = preview.into_report().await;
        let report = blocking(move || (&report).into()).await;
        let (plan, expires) = self.plans.keep(Kept { request, plan });
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
        let proto::PruneRequest { request, options } = request.into_inner();
        let options = self.options(options)?;
        Ok(self.start(self.request(request)?, None, options))
    }

    async fn prune_project(
        &self,
        request: Request<proto::PruneProjectRequest>,
    ) -> Result<Response<Events>, Status> {
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
        Ok(self.start(self.request(Some(request))?, None, options))
    }

    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<Events>, Status> {
        let proto::ApplyRequest { plan, options } = request.into_inner();
        // Before the plan is taken: it can be applied only once.
        let options = self.options(options)?;
        let Some(Kept { request, plan }) = self.plans.take(&plan) else {
            let message = format!("there is no plan `{plan}`, or it has expired or been applied");
            return Err(Status::not_found(message));
        };
        Ok(self.start(request, Some(plan), options))
    }

    async fn explain(
        &self,
        request: Request<proto::ExplainRequest>,
    ) -> Result<Response<proto::ExplainResponse>, Status> {
        let proto::ExplainRequest { namespace, thing } = request.into_inner();
        let namespace = self.namespace(&namespace)?;
        let answers = self.engine.why(&namespace, &thing).await;
        let answers = answers.map_err(|error| status(&error))?;
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
        let list = self.engine.images(&namespace, may_lack_namespace).await;
        let list = list.map_err(|error| status(&error))?;
        Ok(Response::new(blocking(move || (&list).into()).await))
    }

    async fn list_projects(
        &self,
        request: Request<proto::ListProjectsRequest>,
    ) -> Result<Response<proto::ListProjectsResponse>, Status> {
        let proto::ListProjectsRequest {
            namespace,
            may_lack_namespace,
        } = request.into_inner();
        let namespace = self.namespace(&namespace)?;
        let projects = self.engine.projects(&namespace, may_lack_namespace).await;
        let projects = projects.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ListProjectsResponse {
            projects: projects.iter().map(Into::into).collect(),
        }))
    }

    async fn disk_usage(
        &self,
        _: Request<proto::DiskUsageRequest>,
    ) -> Result<Response<proto::DiskUsageResponse>, Status> {
        let usage = self.engine.disk_usage(&no_progress).await;
        let usage = usage.map_err(|error| status(&error))?;
        Ok(Response::new(blocking(move || (&usage).into()).await))
    }

    async fn history(
        &self,
        request: Request<proto::HistoryRequest>,
    ) -> Result<Response<proto::HistoryResponse>, Status> {
        let namespace = self.namespace(&request.into_inner().namespace)?;
        let holds = self.engine.history(&namespace).await;
        let holds = holds.map_err(|error| status(&error))?;
        Ok(Response::new(proto::HistoryResponse {
            holds: holds.iter().map(Into::into).collect(),
        }))
    }

    async fn undo(
        &self,
        request: Request<proto::UndoRequest>,
    ) -> Result<Response<proto::UndoResponse>, Status> {
        let proto::UndoRequest {
            namespace,
            run,
            images,
        } = request.into_inner();
        let namespace = self.namespace(&namespace)?;
        let engine = Arc::clone(&self.engine);
        // Apart from whoever asked: half an undo helps nobody.
        let undoing = tokio::spawn(async move {
            let run = Some(run.as_str()).filter(|it| !it.is_empty());
            engine.undo(&namespace, run, &images).await
        });
        let undone = undoing
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        let undone = undone.map_err(|error| status(&error))?;
        Ok(Response::new(proto::UndoResponse {
            restored: undone.restored,
            taken: undone.taken,
        }))
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        let proto::ReleaseRequest { namespace, run } = request.into_inner();
        let namespace = self.namespace(&namespace)?;
        let engine = Arc::clone(&self.engine);
        let releasing = tokio::spawn(async move {
            let run = Some(run.as_str()).filter(|it| !it.is_empty());
            engine.release(&namespace, run).await
        });
        let released = releasing
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        let run = released.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ReleaseResponse {
            run: run.to_string(),
        }))
    }

    async fn pin(
        &self,
        request: Request<proto::PinRequest>,
    ) -> Result<Response<proto::PinResponse>, Status> {
        let proto::PinRequest {
            namespace,
            images,
            may_lack_namespace,
            wait,
        } = request.into_inner();
        let outcomes = self.change_pins(PinRequest {
            namespace: self.namespace(&namespace)?,
            action: PinAction::Pin,
            names: images,
            may_lack_namespace,
            wait,
        });
        let outcomes = outcomes.await?;
        Ok(Response::new(proto::PinResponse { outcomes }))
    }

    async fn unpin(
        &self,
        request: Request<proto::UnpinRequest>,
    ) -> Result<Response<proto::UnpinResponse>, Status> {
        let proto::UnpinRequest {
            namespace,
            images,
            may_lack_namespace,
            force,
            wait,
        } = request.into_inner();
        let outcomes = self.change_pins(PinRequest {
            namespace: self.namespace(&namespace)?,
            action: if force {
                PinAction::UnpinAny
            } else {
                PinAction::Unpin
            },
            names: images,
            may_lack_namespace,
            wait,
        });
        let outcomes = outcomes.await?;
        Ok(Response::new(proto::UnpinResponse { outcomes }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: WireError) -> Status {
    invalid(error.field, &error.problem)
}

fn event(event: Event) -> proto::PruneResponse {
    proto::PruneResponse { event: Some(event) }
}

fn progress_message(progress: Progress) -> proto::Progress {
    let mut message = proto::Progress::default();
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
