//! `reclaim serve`.

use std::sync::Arc;

use reclaim_api::docker::{DockerApi, DockerOptions};
use reclaim_api::listen::{self, Limits};
use reclaim_api::service::{Service, ServiceParts};
use reclaim_api::{grpc, health, json};
use reclaim_model::Namespace;
use sd_notify::NotifyState;
use tracing::info;

use crate::args::Globals;
use crate::args::serve::ServeArgs;
use crate::daemon::{Daemon, notify, until_stopped};
use crate::exit::{CommandError, Exit};
use crate::signals::{STOPPING, stop_on_signals};
use crate::upkeep::{Host, Patience};

/// The namespace of a Docker Engine's images.
const MOBY: &str = "moby";

pub(crate) async fn run(globals: &Globals, args: &ServeArgs) -> Result<Exit, CommandError> {
    let namespace = namespace(globals, args)?;
    let host = Arc::new(Host::open("serve", globals, &args.host, Patience::Waits).await?);
    let engine = Arc::clone(&host.engine);
    let listeners = listen::open(&args.listen, &args.access(), args.tls().as_ref()).await?;
    let stop = stop_on_signals(Some(STOPPING))?;
    let docker = DockerApi::new(
        Arc::clone(&engine),
        DockerOptions {
            namespace: namespace.clone(),
            run: args.pace.options(),
            cancel: stop.token.clone(),
        },
    );
    let registered = Arc::clone(&host.registered);
    let daemon = Daemon::start(host, globals, Vec::new(), &stop.token).await?;
    let service = Arc::new(Service::new(ServiceParts {
        engine: Arc::clone(&engine),
        registered,
        scheduler: daemon.scheduler(),
        namespace: namespace.clone(),
        run: args.pace.options(),
        cancel: stop.token.clone(),
    }));
    let router = grpc::router(&service)
        .await?
        .merge(json::router(service))
        .merge(docker.router())
        .merge(health::router(daemon.health()));
    for address in &args.listen {
        info!(%address, %namespace, "listening");
    }
    notify(&[NotifyState::Ready]);
    let serving = listen::serve(listeners, router, Limits::default(), stop.token.clone());
    let work = async {
        serving.await;
        // A run must end, even if its client has disconnected.
        engine.idle().await;
        daemon.ended().await;
    };
    until_stopped(work, &stop.token, args.pace.options().grace).await;
    Ok(Exit::Done)
}

/// Returns the namespace that is served: `moby` by default if a Docker Engine is named.
fn namespace(globals: &Globals, args: &ServeArgs) -> Result<Namespace, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    if is_asked_for || args.host.docker.is_empty() {
        return Ok(namespace);
    }
    Ok(MOBY.parse()?)
}
