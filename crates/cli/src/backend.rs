//! What carries out a command: this process, on containerd, or a daemon.

use std::path::PathBuf;
use std::sync::Arc;

use reclaim_api::json::{HostClient, Undo};
use reclaim_api::page::{self, PageParts};
use reclaim_daemon::config::{self, Config};
use reclaim_engine::{
    AuditLog, ContainerdConfig, Controls, Engine, FetchControls, Progress, RunError, Undone,
    blocking,
};
use reclaim_maintenance::{FillForecast, LastUseIndex, RegistrySource};
use reclaim_model::{
    Answers, AuditQuery, DiskUsage, HeldRuns, ImageList, Namespace, NamespaceList, PinRequest,
    Pins, Plan, ProjectList, PruneRequest, Report, RestoreCall, Restores, Separator, StoreMap,
};
use tokio_util::sync::CancellationToken;

use crate::args::Globals;
use crate::commands::policy::planned_here;
use crate::exit::CommandError;
use crate::progress::with_bar;
use crate::signals::Stop;

/// An engine in this process, or a daemon. Both return the same values.
pub(crate) enum Backend {
    /// Boxed because it is large.
    Direct(Box<Engine>),
    Host(Box<HostClient>),
}

/// Whether a command needs to know when images were last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastUseNeed {
    None,
    /// It shows it.
    IfKnown,
    /// Without it, it fails.
    Must,
}

/// The report of a plan, and the plan to be confirmed.
pub(crate) struct Preview {
    pub(crate) report: Report,
    pub(crate) confirmed: Confirmed,
}

/// A plan that the user confirmed.
pub(crate) enum Confirmed {
    /// Boxed because it is large.
    Direct(Box<Plan>),
    /// The ID of the daemon's plan.
    Host(String),
}

/// Reads the configuration of a command without a daemon, if there is one.
pub(crate) fn configuration(globals: &Globals) -> Result<Option<Config>, CommandError> {
    config::read_if_any(&globals.config()).map_err(CommandError::Protection)
}

impl Backend {
    /// As [`Self::connect`], and protects the images that the configuration names. A daemon has its
    /// own configuration.
    pub(crate) async fn connect_protected(globals: &Globals) -> Result<Self, CommandError> {
        if globals.host().is_some() {
            if globals.leaves_out_config() {
                return Err(CommandError::NotWithHost("--no-config"));
            }
            return Self::connect(globals).await;
        }
        // Before anything else: without the file nothing may be removed.
        let config = configuration(globals)?;
        let backend = Self::connect_by(globals, config.as_ref()).await?;
        if let (Self::Direct(engine), Some(config)) = (&backend, config) {
            let containerd_config = config.containerd_config(globals.containerd_config());
            engine.protect(config.protection, containerd_config);
        }
        Ok(backend)
    }

    /// As [`Self::connect_protected`], for a request: with last use, if its conditions depend on it.
    pub(crate) async fn connect_for(
        globals: &Globals,
        request: &PruneRequest,
    ) -> Result<Self, CommandError> {
        let need = if request.conditions.need_last_use() {
            LastUseNeed::Must
        } else {
            LastUseNeed::None
        };
        Self::connect_with(globals, need).await
    }

    /// As [`Self::connect_protected`], with when images were last used. A daemon always knows that.
    pub(crate) async fn connect_with(
        globals: &Globals,
        need: LastUseNeed,
    ) -> Result<Self, CommandError> {
        let backend = Self::connect_protected(globals).await?;
        let Self::Direct(engine) = backend else {
            return Ok(backend);
        };
        if need == LastUseNeed::None {
            return Ok(Self::Direct(engine));
        }
        let directory = globals.state_directory(configuration(globals)?.as_ref());
        let read = blocking(move || LastUseIndex::read(&directory)).await;
        Ok(Self::Direct(match read {
            Ok(index) => Box::new(engine.with_last_use(Arc::new(index))),
            Err(_) if need == LastUseNeed::IfKnown => engine,
            Err(error) => return Err(CommandError::LastUse(error)),
        }))
    }

    /// Connects to the daemon of `--host`, or else to containerd.
    pub(crate) async fn connect(globals: &Globals) -> Result<Self, CommandError> {
        // It only says where changes are recorded: no undo fails because of it.
        let config = configuration(globals).unwrap_or_default();
        Self::connect_by(globals, config.as_ref()).await
    }

    async fn connect_by(globals: &Globals, config: Option<&Config>) -> Result<Self, CommandError> {
        if let Some(host) = globals.host() {
            return Ok(Self::Host(Box::new(HostClient::new(host)?)));
        }
        let engine = reclaim_daemon::connect(globals.address(), globals.remote).await?;
        let serves_peers = config.is_some_and(|config| config.serves_peers);
        let hosts = match globals.containerd_config() {
            ContainerdConfig::At(path) => Some(path),
            ContainerdConfig::Unseen | ContainerdConfig::Ignored => {
                (!globals.remote).then(|| PathBuf::from("/etc/containerd/config.toml"))
            }
        };
        let engine = globals
            .audited(&globals.identified(engine, None), config)
            .with_containerd_config(globals.containerd_config())
            .with_layer_source(Arc::new(
                RegistrySource::new(hosts).serving_peers(serves_peers),
            ));
        let engine = match globals.kubelet_directory() {
            Some(directory) => engine.with_kubelet_directory(directory),
            None => engine,
        };
        Ok(Self::Direct(Box::new(engine)))
    }

    /// Previews a run.
    pub(crate) async fn plan(&self, request: &PruneRequest) -> Result<Preview, CommandError> {
        match self {
            Self::Direct(engine) => {
                let preview = with_bar(async |bar| {
                    let progress = |progress| bar.show(progress);
                    engine.preview(request, &progress).await
                });
                let (report, plan) = preview.await?.into_report().await;
                Ok(Preview {
                    report,
                    confirmed: Confirmed::Direct(Box::new(plan)),
                })
            }
            Self::Host(client) => {
                let planned = client.plan(request).await?;
                Ok(Preview {
                    report: planned.report,
                    confirmed: Confirmed::Host(planned.plan),
                })
            }
        }
    }

    /// Runs a request, or only the confirmed part of it. If a daemon runs it, a signal ends only the
    /// wait.
    pub(crate) async fn prune(
        &self,
        request: &PruneRequest,
        confirmed: Option<&Confirmed>,
        controls: Controls<'_>,
        stop: &Stop,
    ) -> Result<Report, CommandError> {
        match self {
            Self::Direct(engine) => {
                let plan = confirmed.and_then(|confirmed| match confirmed {
                    Confirmed::Direct(plan) => Some(&**plan),
                    Confirmed::Host(_) => None,
                });
                // Boxed, because the future of a run is large.
                Ok(Box::pin(engine.prune(request, plan, controls)).await?)
            }
            Self::Host(client) => {
                let Controls {
                    options, progress, ..
                } = controls;
                let running = async {
                    match confirmed {
                        Some(Confirmed::Host(plan)) => client.apply(plan, options, progress).await,
                        Some(Confirmed::Direct(_)) | None => {
                            client.prune(request, options, progress).await
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

    pub(crate) async fn namespaces(&self) -> Result<NamespaceList, CommandError> {
        match self {
            Self::Direct(engine) => Ok(engine.namespaces().await?),
            Self::Host(client) => Ok(client.namespaces().await?),
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
        separator: Separator,
    ) -> Result<ProjectList, CommandError> {
        Ok(match self {
            Self::Direct(engine) => {
                let listing = engine.projects(namespace, may_lack_namespace, separator);
                listing.await?
            }
            Self::Host(client) => {
                let listing = client.projects(namespace, may_lack_namespace, separator);
                listing.await?
            }
        })
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

    /// Measures the filesystems. Without a daemon there is no history, so every trend is unknown.
    pub(crate) async fn fill_forecast(&self) -> Result<FillForecast, CommandError> {
        match self {
            Self::Direct(engine) => {
                let found = engine.store().filesystems().await.map_err(RunError::from)?;
                Ok(FillForecast::new(&found, &[], None))
            }
            Self::Host(client) => Ok(client.fill_forecast().await?),
        }
    }

    pub(crate) async fn store_map(&self) -> Result<StoreMap, CommandError> {
        with_bar(async |bar| match self {
            Self::Direct(engine) => {
                let progress = |progress: Progress| bar.show(progress);
                Ok(engine.store_map(&progress).await?)
            }
            Self::Host(client) => Ok(client.store_map().await?),
        })
        .await
    }

    /// Returns the page, with the changes on record and what policies would remove, if they can be read.
    pub(crate) async fn page(&self, globals: &Globals) -> Result<String, CommandError> {
        with_bar(async |bar| match self {
            Self::Direct(engine) => {
                let progress = |progress: Progress| bar.show(progress);
                let log = engine.audit();
                let found = log
                    .and_then(|log| AuditLog::find(log.directory(), &AuditQuery::default()).ok());
                let found_filling = self.fill_forecast().await.unwrap_or_default();
                let now = engine.store().now();
                let parts = PageParts {
                    records: found.map(|found| found.records),
                    policies: planned_here(globals).await,
                    filling: page::fill_plots(&found_filling, |_| Vec::new(), now),
                };
                Ok(page::page(engine, parts, &progress).await?)
            }
            Self::Host(client) => Ok(client.page().await?),
        })
        .await
    }

    pub(crate) async fn why(
        &self,
        namespace: &Namespace,
        thing: &str,
    ) -> Result<Answers, CommandError> {
        match self {
            Self::Direct(engine) => {
                let answers = engine.why(namespace, thing).await?;
                Ok(Answers { answers })
            }
            Self::Host(client) => Ok(client.why(namespace, thing).await?),
        }
    }

    pub(crate) async fn history(&self, namespace: &Namespace) -> Result<HeldRuns, CommandError> {
        match self {
            Self::Direct(engine) => {
                let holds = engine.history(namespace).await?;
                Ok(HeldRuns {
                    namespace: namespace.clone(),
                    runs: holds.iter().map(Into::into).collect(),
                })
            }
            Self::Host(client) => Ok(client.history(namespace).await?),
        }
    }

    pub(crate) async fn undo(
        &self,
        namespace: &Namespace,
        run: Option<&str>,
        images: &[String],
        without_credentials: bool,
    ) -> Result<Undone, CommandError> {
        match self {
            Self::Direct(engine) => {
                let undoing = engine.undo(namespace, run, images, without_credentials);
                Ok(undoing.await?)
            }
            Self::Host(client) => {
                let undo = Undo {
                    namespace: Some(namespace.clone()),
                    run: run.map(ToOwned::to_owned),
                    images: images.to_vec(),
                    without_credentials,
                };
                Ok(client.undo(&undo).await?)
            }
        }
    }

    pub(crate) async fn pin(&self, request: &PinRequest) -> Result<Pins, CommandError> {
        match self {
            // A signal ends the process, which is safe: a pin that waits has changed nothing.
            Self::Direct(engine) => {
                let images = engine.pin(request, &CancellationToken::new()).await?;
                Ok(Pins::new(request, images))
            }
            Self::Host(client) => Ok(client.pin(request).await?),
        }
    }

    /// Fetches layers, or lists them. If a daemon fetches them, a signal ends only the wait.
    pub(crate) async fn restore(
        &self,
        call: &RestoreCall,
        stop: &Stop,
    ) -> Result<Restores, CommandError> {
        match self {
            Self::Direct(engine) => {
                let images = with_bar(async |bar| {
                    let progress = |progress| bar.fetched(progress);
                    let controls = FetchControls {
                        credentials: &call.credentials,
                        progress: &progress,
                        cancel: &stop.token,
                    };
                    engine.restore_layers(&call.request, controls).await
                });
                Ok(call.request.restores(images.await?))
            }
            Self::Host(client) => tokio::select! {
                restores = client.restore(call) => Ok(restores?),
                exit = stop.signalled() => Err(CommandError::LeftToDaemon(exit)),
            },
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
