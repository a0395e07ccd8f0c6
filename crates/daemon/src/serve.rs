//! Runs a daemon with servers (`reclaim serve`), or only for its policies (`reclaim maintain`).

use std::sync::Arc;

use reclaim_api::docker::{DockerApi, DockerOptions};
use reclaim_api::listen::{self, Address, Limits, SocketAccess, TlsFiles};
use reclaim_api::service::{Service, ServiceParts};
use reclaim_api::{grpc, health, json};
use reclaim_engine::RunOptions;
use reclaim_model::{Namespace, PolicyName};
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::daemon::{Daemon, until_stopped};
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
    /// The files for mutual TLS, if it is configured.
    pub tls: Option<TlsFiles>,
    /// The options of runs whose request has none.
    pub run: RunOptions,
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
        tls,
        run,
    } = options;
    let grace = run.grace;
    let engine = Arc::clone(&host.engine);
    let registered = Arc::clone(&host.registered);
    let listeners = listen::open(&addresses, &access, tls.as_ref()).await?;
    let docker = DockerApi::new(
        Arc::clone(&engine),
        DockerOptions {
            namespace: namespace.clone(),
            run: run.clone(),
            cancel: stop.clone(),
        },
    );
    let daemon = Daemon::start(Arc::new(host), Vec::new(), stop).await?;
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
    for address in &addresses {
        info!(%address, %namespace, "listening");
    }
    notify(&[NotifyState::Ready]);
    let serving = listen::serve(listeners, router, Limits::default(), stop.clone());
    let work = async {
        serving.await;
        // A run may continue after its client has disconnected.
        engine.idle().await;
        daemon.ended().await;
    };
    until_stopped(work, stop, grace).await;
    Ok(())
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
    let daemon = Daemon::start(Arc::new(host), names, stop).await?;
    notify(&[NotifyState::Ready]);
    let work = async {
        stop.cancelled().await;
        daemon.ended().await;
    };
    until_stopped(work, stop, RunOptions::DEFAULT_GRACE).await;
    Ok(())
}
