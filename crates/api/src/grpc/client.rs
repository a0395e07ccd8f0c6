//! The other side: what the command asks a daemon for.

mod error;
mod maintenance;
mod request;

use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use reclaim_engine::{Hold, ImageList, Progress, ProgressSink, RunOptions, Undone};
use reclaim_model::{
    Answer, DiskUsage, Namespace, PinAction, PinOutcome, PinRequest, ProjectUsage, Report,
};
use tokio::net::UnixStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::proto::maintenance_service_client::MaintenanceServiceClient;
use super::proto::prune_service_client::PruneServiceClient;
use super::wire::{WireError, options};
use super::{MAX_MESSAGE, proto};
use proto::progress::Phase;
use proto::prune_response::Event;

pub use error::HostError;
pub use maintenance::HostRuns;
pub use request::{HostRequest, HostSelection};

/// The largest answer that is taken: a report names every image there is.
const MAX_ANSWER: usize = 16 * MAX_MESSAGE;

/// A connection to a daemon.
#[derive(Debug, Clone)]
pub struct HostClient {
    service: PruneServiceClient<Channel>,
    maintenance: MaintenanceServiceClient<Channel>,
}

/// A plan that the daemon keeps.
#[derive(Debug)]
pub struct Planned {
    /// By which it is applied.
    pub id: String,
    /// What would be done.
    pub report: Report,
}

impl HostClient {
    /// Connects to the daemon at `address`, which is `unix:///` and a path.
    ///
    /// # Errors
    ///
    /// [`HostError::Address`] or [`HostError::Connect`].
    pub async fn connect(address: &str) -> Result<Self, HostError> {
        let path = address.strip_prefix("unix://").map(PathBuf::from);
        let path = path.filter(|it| it.is_absolute());
        let path = path.ok_or_else(|| HostError::Address(address.to_owned()))?;
        // The name is never looked up: the connector knows the way.
        let endpoint = Endpoint::from_static("http://reclaim");
        let connector = service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|source| HostError::Connect {
            address: address.to_owned(),
            source,
        })?;
        let service = PruneServiceClient::new(channel.clone());
        let maintenance = MaintenanceServiceClient::new(channel);
        Ok(Self {
            service: service.max_decoding_message_size(MAX_ANSWER),
            maintenance: maintenance.max_decoding_message_size(MAX_ANSWER),
        })
    }

    /// Says what a prune would do.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked, or refuses.
    pub async fn plan(&self, request: HostRequest) -> Result<Planned, HostError> {
        let message = proto::PlanRequest {
            request: Some(request.into()),
        };
        let answer = self.service.clone().plan(message).await?.into_inner();
        let report = answer.report.ok_or(HostError::CutShort)?;
        Ok(Planned {
            id: answer.plan,
            report: report.try_into()?,
        })
    }

    /// Prunes.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked, or refuses, or goes away; the run may go on then.
    pub async fn prune(
        &self,
        request: HostRequest,
        run: &RunOptions,
        progress: &ProgressSink<'_>,
    ) -> Result<Report, HostError> {
        let message = proto::PruneRequest {
            request: Some(request.into()),
            options: Some(options(run)),
        };
        let events = self.service.clone().prune(message).await?;
        report(events.into_inner(), progress).await
    }

    /// Carries out a plan.
    ///
    /// # Errors
    ///
    /// As [`Self::prune`].
    pub async fn apply(
        &self,
        plan: &str,
        run: &RunOptions,
        progress: &ProgressSink<'_>,
    ) -> Result<Report, HostError> {
        let message = proto::ApplyRequest {
            plan: plan.to_owned(),
            options: Some(options(run)),
        };
        let events = self.service.clone().apply(message).await?;
        report(events.into_inner(), progress).await
    }

    /// Lists the images of a namespace.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked, or the namespace has to exist and does not.
    pub async fn images(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
    ) -> Result<ImageList, HostError> {
        let message = proto::ListImagesRequest {
            namespace: namespace.to_string(),
            may_lack_namespace,
        };
        let answer = self.service.clone().list_images(message).await?;
        Ok(answer.into_inner().try_into()?)
    }

    /// Lists the projects of a namespace.
    ///
    /// # Errors
    ///
    /// As [`Self::images`].
    pub async fn projects(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
    ) -> Result<Vec<ProjectUsage>, HostError> {
        let message = proto::ListProjectsRequest {
            namespace: namespace.to_string(),
            may_lack_namespace,
        };
        let answer = self.service.clone().list_projects(message).await?;
        let projects = answer.into_inner().projects.into_iter();
        let projects = projects.map(TryInto::try_into);
        Ok(projects.collect::<Result<_, WireError>>()?)
    }

    /// Says where the bytes are.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked, or refuses.
    pub async fn disk_usage(&self) -> Result<DiskUsage, HostError> {
        let message = proto::DiskUsageRequest {};
        let answer = self.service.clone().disk_usage(message).await?;
        Ok(answer.into_inner().try_into()?)
    }

    /// Says who keeps a thing.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked, or there is no such thing.
    pub async fn why(&self, namespace: &Namespace, thing: &str) -> Result<Vec<Answer>, HostError> {
        let message = proto::ExplainRequest {
            namespace: namespace.to_string(),
            thing: thing.to_owned(),
        };
        let answer = self.service.clone().explain(message).await?.into_inner();
        let answers = answer.answers.into_iter().map(TryInto::try_into);
        Ok(answers.collect::<Result<_, WireError>>()?)
    }

    /// Lists what is held of earlier runs.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked, or refuses.
    pub async fn history(&self, namespace: &Namespace) -> Result<Vec<Hold>, HostError> {
        let message = proto::HistoryRequest {
            namespace: namespace.to_string(),
        };
        let answer = self.service.clone().history(message).await?.into_inner();
        let holds = answer.holds.into_iter().map(TryInto::try_into);
        Ok(holds.collect::<Result<_, WireError>>()?)
    }

    /// Restores what a run removed.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked, or nothing is held of that run.
    pub async fn undo(
        &self,
        namespace: &Namespace,
        run: Option<&str>,
        images: &[String],
    ) -> Result<Undone, HostError> {
        let message = proto::UndoRequest {
            namespace: namespace.to_string(),
            run: run.unwrap_or_default().to_owned(),
            images: images.to_vec(),
        };
        let answer = self.service.clone().undo(message).await?.into_inner();
        Ok(Undone {
            restored: answer.restored,
            taken: answer.taken,
        })
    }

    /// Pins images, or unpins them.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked, the namespace does not exist, or a run is under way in it
    /// that is not to be waited for.
    pub async fn pin(&self, request: &PinRequest) -> Result<Vec<PinOutcome>, HostError> {
        let PinRequest {
            namespace,
            action,
            names,
            may_lack_namespace,
            wait,
        } = request.clone();
        let mut service = self.service.clone();
        let outcomes = match action {
            PinAction::Pin => {
                let message = proto::PinRequest {
                    namespace: namespace.to_string(),
                    images: names,
                    may_lack_namespace,
                    wait,
                };
                service.pin(message).await?.into_inner().outcomes
            }
            PinAction::Unpin | PinAction::UnpinAny => {
                let message = proto::UnpinRequest {
                    namespace: namespace.to_string(),
                    images: names,
                    may_lack_namespace,
                    force: action == PinAction::UnpinAny,
                    wait,
                };
                service.unpin(message).await?.into_inner().outcomes
            }
        };
        let outcomes = outcomes.into_iter().map(PinOutcome::try_from);
        Ok(outcomes.collect::<Result<_, _>>()?)
    }

    /// Frees what is held of a run. Returns which it was.
    ///
    /// # Errors
    ///
    /// As [`Self::undo`].
    pub async fn release(&self, namespace: &Namespace, run: &str) -> Result<String, HostError> {
        let message = proto::ReleaseRequest {
            namespace: namespace.to_string(),
            run: run.to_owned(),
        };
        let answer = self.service.clone().release(message).await?;
        Ok(answer.into_inner().run)
    }
}

/// Waits for the last event, which is the report.
async fn report(
    mut events: Streaming<proto::PruneResponse>,
    progress: &ProgressSink<'_>,
) -> Result<Report, HostError> {
    while let Some(message) = events.message().await? {
        match message.event {
            Some(Event::Progress(message)) => {
                if let Some(told) = told(&message) {
                    progress(told);
                }
            }
            Some(Event::Report(report)) => return Ok(report.try_into()?),
            // Of a daemon that is newer than we are.
            None => {}
        }
    }
    Err(HostError::CutShort)
}

fn told(message: &proto::Progress) -> Option<Progress> {
    let number = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
    let (done, steps) = (number(message.done), number(message.steps));
    Some(match Phase::try_from(message.phase).ok()? {
        Phase::Unspecified => return None,
        Phase::Observing => Progress::Observing,
        Phase::Planned => Progress::Planned {
            steps,
            kept: number(message.kept),
        },
        Phase::Removing => Progress::Step { done, steps },
        Phase::LookingAgain => Progress::LookingAgain,
        Phase::Collecting => Progress::Collecting,
        Phase::Measuring => Progress::Measuring,
    })
}
