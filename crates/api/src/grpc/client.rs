//! The other side: what the command asks a daemon for.

mod maintenance;

use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use prost::Message;
use reclaim_engine::{
    Account, Answer, DiskUsage, Hold, ImageList, Progress, ProgressSink, ProjectUsage, RunOptions,
    Undone,
};
use reclaim_model::{
    FreeTarget, NamedImages, Namespace, PinAction, PinOutcome, PinRequest, ProjectImages, Report,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};
use tower::service_fn;

use super::error::ErrorKind;
use super::proto::maintenance_service_client::MaintenanceServiceClient;
use super::proto::prune_service_client::PruneServiceClient;
use super::wire::{WireError, options};
use super::{MAX_MESSAGE, proto};
use proto::progress::Phase;
use proto::prune_response::Event;

pub use maintenance::HostRuns;

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

/// Why a daemon could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The address is of no kind that is known.
    #[error("`{0}` is no address of a daemon; accepted is unix:///PATH")]
    Address(String),
    /// Nobody answers there.
    #[error("connect to the daemon at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// It answered with an error, whose text has all of it.
    #[error("{message}")]
    Refused {
        /// Which.
        kind: ErrorKind,
        /// In words.
        message: String,
        /// Where the bytes are that cannot be freed, if that is the error.
        account: Option<Account>,
    },
    /// It is of another version, and its answer means nothing here.
    #[error("the daemon's answer is not understood: {0}")]
    Answer(#[from] WireError),
    /// It went away in the middle.
    #[error("the daemon's answer ends too early")]
    CutShort,
}

impl From<Status> for HostError {
    fn from(status: Status) -> Self {
        let account = proto::Account::decode(status.details()).ok();
        let kind = ErrorKind::of(&status);
        let account = account.filter(|_| kind == ErrorKind::TargetNotMet);
        Self::Refused {
            kind,
            message: status.message().to_owned(),
            account: account.and_then(|it| it.try_into().ok()),
        }
    }
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

/// What a daemon is asked to remove, as it was typed: the daemon reads it by its own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRequest {
    /// Where.
    pub namespace: Namespace,
    /// Which images.
    pub selection: HostSelection,
    /// How much to free; all if there is none.
    pub target_free: Option<FreeTarget>,
    /// Whether the namespace may be left with containers and without an image.
    pub may_empty_namespace: bool,
    /// Whether a namespace that does not exist counts as one without images.
    pub may_lack_namespace: bool,
    /// Whether unpacked layers go that only build history holds.
    pub unpin_build_history: bool,
}

/// Which images a daemon is asked to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostSelection {
    /// Unused ones.
    Filters {
        /// Also those that have a name.
        all: bool,
        /// As typed.
        filters: Vec<String>,
    },
    /// Those that are named.
    Named(NamedImages),
    /// Those of a project.
    Project(ProjectImages),
}

impl From<NamedImages> for HostSelection {
    fn from(images: NamedImages) -> Self {
        Self::Named(images)
    }
}

impl From<ProjectImages> for HostSelection {
    fn from(images: ProjectImages) -> Self {
        Self::Project(images)
    }
}

impl From<HostRequest> for proto::Request {
    fn from(request: HostRequest) -> Self {
        use proto::selection::Which;
        let which = match request.selection {
            HostSelection::Filters { all, filters } => {
                Which::Filters(proto::Filters { all, filters })
            }
            HostSelection::Named(images) => Which::Named(proto::NamedImages {
                names: images.names,
                force: images.force,
                prune_parents: images.prune_parents,
            }),
            HostSelection::Project(images) => Which::Project(images.into()),
        };
        let namespace = request.namespace.to_string();
        Self {
            selection: Some(proto::Selection { which: Some(which) }),
            target_free: request.target_free.map(exactly).unwrap_or_default(),
            allow_empty: if request.may_empty_namespace {
                namespace.clone()
            } else {
                String::new()
            },
            may_lack_namespace: request.may_lack_namespace,
            unpin_build_history: request.unpin_build_history,
            namespace,
        }
    }
}

/// To the byte: what is printed for people is rounded.
fn exactly(target: FreeTarget) -> String {
    match target {
        FreeTarget::Bytes(bytes) => format!("{bytes}B"),
        FreeTarget::Percent(percent) => format!("{percent}%"),
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
