//! Who does the work: this process on containerd, or a daemon that is asked for it.

use reclaim_api::grpc::{HostClient, HostRequest, HostSelection};
use reclaim_engine::{
    Answer, Controls, DiskUsage, Engine, Hold, ImageList, Progress, ProjectUsage, Undone,
};
use reclaim_model::{
    BuildHistory, Namespace, PinOutcome, PinRequest, Plan, PruneRequest, Report, Selection,
};
use tokio_util::sync::CancellationToken;

use crate::args::Globals;
use crate::exit::CommandError;
use crate::progress::with_bar;
use crate::signals::Stop;

/// One of both, with the same answers.
pub(crate) enum Backend {
    /// Boxed, as the other: a connection with all that an engine has.
    Direct(Box<Engine>),
    Host(Box<HostClient>),
}

/// What is asked for, in the words of each.
pub(crate) struct Asked {
    pub(crate) direct: PruneRequest,
    pub(crate) host: HostRequest,
}

impl Asked {
    /// Asks for images that somebody names, or a project does. All of a namespace may be named;
    /// `may_lack_namespace` says whether it has to exist.
    pub(crate) fn named<T>(namespace: Namespace, images: T, may_lack_namespace: bool) -> Self
    where
        T: Clone + Into<Selection> + Into<HostSelection>,
    {
        Self {
            host: HostRequest {
                namespace: namespace.clone(),
                selection: images.clone().into(),
                target_free: None,
                may_empty_namespace: true,
                may_lack_namespace,
                unpin_build_history: false,
            },
            direct: PruneRequest {
                namespace,
                selection: images.into(),
                target: None,
                may_empty_namespace: true,
                may_lack_namespace,
                history: BuildHistory::Keep,
            },
        }
    }
}

/// A plan that was made, and what it takes to have it carried out.
pub(crate) struct Shown {
    pub(crate) report: Report,
    pub(crate) confirmed: Confirmed,
}

/// What was confirmed.
pub(crate) enum Confirmed {
    /// Boxed: it holds the whole inventory.
    Direct(Box<Plan>),
    /// By the ID of the daemon's plan.
    Host(String),
}

impl Backend {
    /// Connects to whom the options name.
    pub(crate) async fn connect(globals: &Globals) -> Result<Self, CommandError> {
        if let Some(host) = globals.host() {
            return Ok(Self::Host(Box::new(HostClient::connect(host).await?)));
        }
        let engine = reclaim_daemon::connect(globals.address(), globals.remote).await?;
        let engine = globals.identified(engine, None);
        let engine = engine.with_containerd_config(globals.containerd_config());
        Ok(Self::Direct(Box::new(engine)))
    }

    /// Says what a run would do.
    pub(crate) async fn plan(&self, asked: &Asked) -> Result<Shown, CommandError> {
        match self {
            Self::Direct(engine) => {
                let preview = with_bar(async |bar| {
                    let progress = |progress| bar.show(progress);
                    engine.preview(&asked.direct, &progress).await
                });
                let (report, plan) = preview.await?.into_report().await;
                Ok(Shown {
                    report,
                    confirmed: Confirmed::Direct(Box::new(plan)),
                })
            }
            Self::Host(client) => {
                let planned = client.plan(asked.host.clone()).await?;
                Ok(Shown {
                    report: planned.report,
                    confirmed: Confirmed::Host(planned.id),
                })
            }
        }
    }

    /// Removes what is asked for, or of that only what was confirmed. The signal that cancels
    /// ends the waiting where a daemon does the work.
    pub(crate) async fn prune(
        &self,
        asked: &Asked,
        confirmed: Option<&Confirmed>,
        controls: Controls<'_>,
        stop: &Stop,
    ) -> Result<Report, CommandError> {
        match self {
            Self::Direct(engine) => {
                let confirmed = confirmed.and_then(|it| match it {
                    Confirmed::Direct(plan) => Some(&**plan),
                    Confirmed::Host(_) => None,
                });
                Ok(engine.prune(&asked.direct, confirmed, controls).await?)
            }
            Self::Host(client) => {
                let Controls {
                    options, progress, ..
                } = controls;
                let running = async {
                    match confirmed {
                        Some(Confirmed::Host(plan)) => client.apply(plan, options, progress).await,
                        Some(Confirmed::Direct(_)) | None => {
                            client.prune(asked.host.clone(), options, progress).await
                        }
                    }
                };
                tokio::select! {
                    report = running => Ok(report?),
                    exit = stop.signalled() => Err(CommandError::LeftToDaemon(exit)),
                }
            }
        }
    }

    pub(crate) async fn images(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
    ) -> Result<ImageList, CommandError> {
        match self {
            Self::Direct(engine) => Ok(engine.images(namespace, may_lack_namespace).await?),
            Self::Host(client) => Ok(client.images(namespace, may_lack_namespace).await?),
        }
    }

    pub(crate) async fn projects(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
    ) -> Result<Vec<ProjectUsage>, CommandError> {
        match self {
            Self::Direct(engine) => Ok(engine.projects(namespace, may_lack_namespace).await?),
            Self::Host(client) => Ok(client.projects(namespace, may_lack_namespace).await?),
        }
    }

    pub(crate) async fn disk_usage(&self) -> Result<DiskUsage, CommandError> {
        with_bar(async |bar| match self {
            Self::Direct(engine) => {
                let progress = |progress: Progress| bar.show(progress);
                Ok(engine.disk_usage(&progress).await?)
            }
            Self::Host(client) => Ok(client.disk_usage().await?),
        })
        .await
    }

    pub(crate) async fn why(
        &self,
        namespace: &Namespace,
        thing: &str,
    ) -> Result<Vec<Answer>, CommandError> {
        match self {
            Self::Direct(engine) => Ok(engine.why(namespace, thing).await?),
            Self::Host(client) => Ok(client.why(namespace, thing).await?),
        }
    }

    pub(crate) async fn history(&self, namespace: &Namespace) -> Result<Vec<Hold>, CommandError> {
        match self {
            Self::Direct(engine) => Ok(engine.history(namespace).await?),
            Self::Host(client) => Ok(client.history(namespace).await?),
        }
    }

    pub(crate) async fn undo(
        &self,
        namespace: &Namespace,
        run: Option<&str>,
        images: &[String],
    ) -> Result<Undone, CommandError> {
        match self {
            Self::Direct(engine) => Ok(engine.undo(namespace, run, images).await?),
            Self::Host(client) => Ok(client.undo(namespace, run, images).await?),
        }
    }

    pub(crate) async fn pin(&self, request: &PinRequest) -> Result<Vec<PinOutcome>, CommandError> {
        match self {
            // A signal ends the process: nothing has begun while it waits.
            Self::Direct(engine) => Ok(engine.pin(request, &CancellationToken::new()).await?),
            Self::Host(client) => Ok(client.pin(request).await?),
        }
    }

    pub(crate) async fn release(
        &self,
        namespace: &Namespace,
        run: &str,
    ) -> Result<String, CommandError> {
        match self {
            Self::Direct(engine) => Ok(engine.release(namespace, Some(run)).await?.to_string()),
            Self::Host(client) => Ok(client.release(namespace, run).await?),
        }
    }
}
