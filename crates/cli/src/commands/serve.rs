//! `reclaim serve`.

use std::sync::Arc;

use reclaim_api::docker::{DockerApi, DockerOptions};
use reclaim_api::grpc::{self, GrpcApi};
use reclaim_api::listen::{self, Limits};
use reclaim_engine::{DockerContainers, Engine, RegisteredContainers, UnlistedDocker};
use reclaim_model::Namespace;
use sd_notify::NotifyState;
use tracing::{info, warn};

use crate::args::Globals;
use crate::args::serve::ServeArgs;
use crate::exit::{CommandError, Exit};
use crate::signals::{STOPPING, stop_on_signals};
use crate::{commands, config};

/// Where a Docker Engine keeps its images.
const MOBY: &str = "moby";

pub(crate) async fn run(globals: &Globals, args: &ServeArgs) -> Result<Exit, CommandError> {
    let namespace = namespace(globals, args)?;
    let registered = Arc::new(registered(globals, args)?);
    let engine = with_docker(commands::connect("serve", globals).await?, args)?;
    let engine = Arc::new(engine.with_containers(Arc::clone(&registered) as _));
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
    let grpc = grpc::router(GrpcApi {
        engine: Arc::clone(&engine),
        registered,
        namespace: namespace.clone(),
        run: args.pace.options(),
        cancel: stop.token.clone(),
    });
    let router = grpc.await?.merge(docker.router());
    for address in &args.listen {
        info!(%address, %namespace, "listening");
    }
    notify(&[NotifyState::Ready]);
    listen::serve(listeners, router, Limits::default(), stop.token).await;
    // Nobody may be waiting for a run any more, and it has to end all the same.
    engine.idle().await;
    info!("stopped");
    Ok(Exit::Done)
}

/// Opens what engines have registered.
fn registered(globals: &Globals, args: &ServeArgs) -> Result<RegisteredContainers, CommandError> {
    let config = config::find(globals.config())?;
    let state = args.state.as_ref().unwrap_or(&config.state);
    let directory = state.join("containers");
    let opened = RegisteredContainers::open(directory.clone());
    opened.map_err(|error| CommandError::State { directory, error })
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
fn with_docker(engine: Engine, args: &ServeArgs) -> Result<Engine, CommandError> {
    if args.trust_leases {
        return Ok(engine);
    }
    Ok(engine.with_containers(if args.docker.is_empty() {
        Arc::new(UnlistedDocker)
    } else {
        Arc::new(DockerContainers::new(&args.docker)?)
    }))
}

/// Tells systemd, if it has started us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd cannot be told");
    }
}
