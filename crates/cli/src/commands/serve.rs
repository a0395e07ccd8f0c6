//! `reclaim serve`.

use std::sync::Arc;

use reclaim_api::docker::{DockerApi, DockerOptions};
use reclaim_api::listen::{self, Limits};
use reclaim_engine::{DockerContainers, Engine, UnlistedDocker};
use reclaim_model::Namespace;
use sd_notify::NotifyState;
use tracing::{info, warn};

use crate::args::Globals;
use crate::args::serve::ServeArgs;
use crate::commands;
use crate::exit::{CommandError, Exit};
use crate::signals::stop_on_signals;

/// Where a Docker Engine keeps its images.
const MOBY: &str = "moby";

pub(crate) async fn run(globals: &Globals, args: &ServeArgs) -> Result<Exit, CommandError> {
    let namespace = namespace(globals, args)?;
    let engine = Arc::new(with_docker(commands::connect(globals).await?, args)?);
    let listeners = listen::open(&args.listen, &args.access(), args.tls().as_ref()).await?;
    let stop = stop_on_signals()?;
    let options = DockerOptions {
        namespace: namespace.clone(),
        run: args.pace.options(),
        cancel: stop.token.clone(),
    };
    let docker = DockerApi::new(engine, options);
    for address in &args.listen {
        info!(%address, %namespace, "listening");
    }
    notify(&[NotifyState::Ready]);
    listen::serve(listeners, docker.router(), Limits::default(), stop.token).await;
    info!("stopped");
    Ok(Exit::Done)
}

/// A Docker Engine that is named has its images in its own namespace.
fn namespace(globals: &Globals, args: &ServeArgs) -> Result<Namespace, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    if is_asked_for || args.docker.is_empty() {
        return Ok(namespace);
    }
    Ok(MOBY.parse()?)
}

/// Adds what knows the containers of Docker.
fn with_docker(mut engine: Engine, args: &ServeArgs) -> Result<Engine, CommandError> {
    for address in &args.docker {
        engine = engine.with_containers(Arc::new(DockerContainers::new(address)?));
    }
    if args.docker.is_empty() && !args.trust_leases {
        engine = engine.with_containers(Arc::new(UnlistedDocker));
    }
    Ok(engine)
}

/// Tells systemd, if it has started us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd cannot be told");
    }
}
