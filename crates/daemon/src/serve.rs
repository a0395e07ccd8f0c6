//! Runs a daemon with servers (`reclaim serve`), or only for its policies (`reclaim maintain`).

use std::sync::Arc;

use reclaim_api::access::Access;
use reclaim_api::docker::forward::{self, Answered, EngineAddress, ForwardError, Forwarder};
use reclaim_api::docker::{DockerApi, DockerOptions};
use reclaim_api::listen::{self, Address, Limits, ListenError, Listener, SocketAccess, TlsFiles};
use reclaim_api::service::{Service, ServiceParts};
use reclaim_api::{grpc, health, json};
use reclaim_engine::{Grace, RunOptions};
use reclaim_model::{Namespace, PolicyName};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::daemon::{Daemon, Servers, until_stopped};
use crate::error::DaemonError;
use crate::host::Host;
use crate::systemd::notify;

/// The options of the servers.
#[derive(Debug)]
pub struct ServeOptions {
    /// The namespace of requests that name none.
    pub namespace: Namespace,
    /// The addresses to listen on.
    pub listen: Vec<Address>,
    /// The permissions of Unix sockets.
    pub access: SocketAccess,
    /// The addresses on which no client can change anything.
    pub read_only: Vec<Address>,
    /// The permissions of read-only Unix sockets.
    pub read_only_access: SocketAccess,
    /// The files for mutual TLS, if it is configured.
    pub tls: Option<TlsFiles>,
    /// The options of runs whose request has none.
    pub run: RunOptions,
    /// What is forwarded to a Docker Engine, if anything is.
    pub forward: Option<ForwardOptions>,
}

/// Which requests are forwarded, and to which engine.
#[derive(Debug, Clone)]
pub struct ForwardOptions {
    /// The address of the engine.
    pub engine: EngineAddress,
    /// What is answered here, in addition to prunes.
    pub except: Vec<Answered>,
}

/// Runs the policies and serves the APIs until `stop` is cancelled.
///
/// # Errors
///
/// If the daemon cannot start.
pub async fn serve(
    host: Host,
    options: ServeOptions,
    stop: &CancellationToken,
) -> Result<(), DaemonError> {
    let ServeOptions {
        namespace,
        listen: addresses,
        access,
        read_only,
        read_only_access,
        tls,
        run,
        forward,
    } = options;
    let access = match &forward {
        Some(forward) => forward::prepare(&forward.engine, &addresses, access)?,
        None => access,
    };
    let grace = run.grace.longest();
    let docker = host.docker.clone();
    let engine = Arc::clone(&host.engine);
    let registered = Arc::clone(&host.registered);
    let tls = tls.map(TlsFiles::load).transpose();
    let tls = tls.map_err(ListenError::from)?;
    raise_file_limit();
    let roles = Access::new(host.config.access.clone())?;
    let mut listeners = listen::open(&addresses, &access, tls.as_ref()).await?;
    let further = listen::open(&read_only, &read_only_access, tls.as_ref()).await?;
    listeners.extend(further.into_iter().map(Listener::read_only));
    let forwarder = forward.map(|forward| forwarder(forward, &listeners, stop));
    let forwarder = forwarder.transpose()?;
    let docker = DockerApi::new(
        Arc::clone(&engine),
        DockerOptions {
            namespace: namespace.clone(),
            run: run.clone(),
            cancel: stop.clone(),
            docker,
        },
    );
    let servers = Servers {
        access: roles.clone(),
        tls,
    };
    let daemon = Daemon::start(Arc::new(host), Vec::new(), Some(servers), stop).await?;
    let service = Arc::new(Service::new(ServiceParts {
        engine: Arc::clone(&engine),
        registered,
        scheduler: daemon.scheduler.clone(),
        namespace: namespace.clone(),
        run,
        cancel: stop.clone(),
    }));
    let router = grpc::router(&service)
        .await?
        .merge(json::router(service))
        .merge(docker.router())
        .merge(health::router(Arc::clone(&daemon.health)));
    let limits = match &forwarder {
        Some(_) => Limits::of_forwarding(),
        None => Limits::default(),
    };
    let router = listen::limited(router, &limits);
    let router = match forwarder {
        Some(forwarder) => forwarder.router(router),
        None => router,
    };
    for address in &addresses {
        info!(%address, %namespace, "listening");
    }
    for address in &read_only {
        info!(%address, %namespace, "listening, read-only");
    }
    notify(&[NotifyState::Ready]);
    let serving = listen::serve(listeners, router, limits, roles, stop.clone());
    let work = async {
        serving.await;
        // A run may continue after its client has disconnected.
        engine.idle().await;
        daemon.ended().await;
    };
    until_stopped(work, stop, grace).await;
    Ok(())
}

/// Forwards what arrives at `listeners`.
fn forwarder(
    options: ForwardOptions,
    listeners: &[Listener],
    stop: &CancellationToken,
) -> Result<Forwarder, ForwardError> {
    let ForwardOptions { engine, except } = options;
    info!(%engine, "forwarding other requests to the Docker Engine");
    Forwarder::new(engine, except, listeners, stop.clone())
}

/// Allows as many open files as the system does: at the usual limit of 1024, connections over TCP could
/// use up the files of the Unix socket, and each forwarded stream has two connections. No code of this
/// process depends on the lower limit.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "cannot raise the limit of open files; it limits connections");
    }
}

/// Runs the policies of these names, or all, until `stop` is cancelled.
///
/// # Errors
///
/// If the daemon cannot start.
pub async fn maintain(
    host: Host,
    names: Vec<PolicyName>,
    stop: &CancellationToken,
) -> Result<(), DaemonError> {
    let daemon = Daemon::start(Arc::new(host), names, None, stop).await?;
    notify(&[NotifyState::Ready]);
    let work = async {
        stop.cancelled().await;
        daemon.ended().await;
    };
    until_stopped(work, stop, Grace::LONG).await;
    Ok(())
}
