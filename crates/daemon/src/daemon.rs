//! The tasks of a daemon other than its servers: last use, policies, metrics, SIGHUP, systemd.

use std::sync::Arc;
use std::time::Duration;

use reclaim_api::access::Access;
use reclaim_api::listen::{self, Limits, Listener, Tls};
use reclaim_api::metrics::{self, Metrics};
use reclaim_api::page;
use reclaim_engine::{Engine, Health};
use reclaim_maintenance::{MaintenanceObserver, Scheduler, SchedulerHandle};
use reclaim_model::PolicyName;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::error::DaemonError;
use crate::events::EventQueue;
use crate::host::Host;
use crate::reload::{Reloader, TlsReloader};
use crate::systemd::{feed_by, notify, watchdog};

/// The parts of servers that are reloaded.
pub(crate) struct Servers {
    pub(crate) access: Access,
    pub(crate) tls: Option<Tls>,
}

/// The tasks of a daemon.
pub(crate) struct Daemon {
    tasks: JoinSet<()>,
    pub(crate) scheduler: SchedulerHandle,
    /// Whether containerd answers.
    pub(crate) health: Arc<Health>,
}

impl Daemon {
    /// Starts the tasks. They end when `cancel` is cancelled. `servers` are the parts of
    /// servers that are reloaded, if there are servers.
    pub(crate) async fn start(
        host: Arc<Host>,
        names: Vec<PolicyName>,
        servers: Option<Servers>,
        cancel: &CancellationToken,
    ) -> Result<Self, DaemonError> {
        // Before the first task starts, so that an error leaves no task running.
        let set = host.policy_set(&host.config, &names)?;
        let events = host.events()?;
        let health = Arc::new(Health::default());
        let metrics = Arc::new(Metrics::new(
            env!("CARGO_PKG_VERSION"),
            Arc::clone(&host.engine),
            Arc::clone(&host.index),
            Arc::clone(&health),
        ));
        metrics.reloaded(true);
        metrics.tls_reloaded(true);
        for connection in [host.engine.store(), &host.health_connection] {
            connection.observe_calls(Arc::clone(&metrics) as _);
        }
        let hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signal)?;
        let mut tasks = JoinSet::new();
        let listener = metrics_listener(&host.config).await?;
        let (engine, token) = (Arc::clone(&host.engine), cancel.clone());
        tasks.spawn(async move { engine.finish_runs(&token).await });
        let (connection, token) = (host.health_connection.clone(), cancel.clone());
        let watched = Arc::clone(&health);
        tasks.spawn(async move { watched.watch(&connection, &token).await });
        let (engine, index) = (Arc::clone(&host.engine), Arc::clone(&host.index));
        let (observer, token) = (Arc::clone(&metrics), cancel.clone());
        tasks.spawn(async move { index.watch(&engine, &*observer, &token).await });
        let (engine, index) = (Arc::clone(&host.engine), Arc::clone(&host.index));
        let (observer, token) = (Arc::clone(&metrics), cancel.clone());
        tasks.spawn(async move { index.end_holds(&engine, &*observer, &token).await });
        let (counting, token) = (Arc::clone(&metrics), cancel.clone());
        tasks.spawn(async move { counting.count_runs(&token).await });
        let (new, adopted) = mpsc::channel(1);
        let mut observers: Vec<Arc<dyn MaintenanceObserver>> = vec![Arc::clone(&metrics) as _];
        if let Some(sender) = events {
            let (queue, sending) = EventQueue::new(sender, cancel.clone());
            tasks.spawn(sending);
            observers.push(Arc::new(queue));
        }
        let (history, filling) = (Arc::clone(&host.history), Arc::clone(&host.filling));
        let scheduler = Scheduler::new(set, history, filling, Arc::new(observers));
        let handle = scheduler.handle();
        if let Some(listener) = listener {
            let page = host.config.metrics_page;
            let page = page.then(|| (Arc::clone(&host.engine), handle.clone()));
            tasks.spawn(serve_metrics(listener, &metrics, page, cancel));
        }
        let token = cancel.clone();
        tasks.spawn(async move { scheduler.run(adopted, &token).await });
        if let Some(every) = watchdog() {
            let (engine, token) = (Arc::clone(&host.engine), cancel.clone());
            let feed = || notify(&[NotifyState::Watchdog]);
            tasks.spawn(async move { feed_by(|| engine.heartbeats(), feed, every, &token).await });
        }
        let (access, tls) =
            servers.map_or((None, None), |Servers { access, tls }| (Some(access), tls));
        let tls = tls.map(|tls| TlsReloader {
            tls,
            metrics: Arc::clone(&metrics),
        });
        if let Some(following) = tls.clone() {
            following.record_expiry();
            let token = cancel.clone();
            tasks.spawn(async move { following.follow(&token).await });
        }
        let reloader = Arc::new(Reloader {
            host,
            names,
            metrics,
            new,
            access,
            tls,
        });
        let token = cancel.clone();
        tasks.spawn(async move { reloader.follow(hangup, &token).await });
        Ok(Self {
            tasks,
            scheduler: handle,
            health,
        })
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn ended(self) {
        self.tasks.join_all().await;
    }
}

/// Opens the listener of the metrics, if there is one.
async fn metrics_listener(config: &Config) -> Result<Option<Listener>, DaemonError> {
    Ok(match config.metrics {
        Some(address) => Some(listen::open_plain(address).await?),
        None => None,
    })
}

/// Returns the task that serves the metrics, and the page if it gets what that needs.
fn serve_metrics(
    listener: Listener,
    metrics: &Arc<Metrics>,
    page: Option<(Arc<Engine>, SchedulerHandle)>,
    cancel: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let limits = Limits::of_metrics();
    let router = metrics::router(Arc::clone(metrics));
    let router = match page {
        Some((engine, scheduler)) => router.merge(page::router(engine, scheduler)),
        None => router,
    };
    let router = listen::limited(router, &limits);
    if let Ok(address) = listener.tcp_address() {
        info!(%address, "serving metrics");
    }
    let access = Access::default();
    listen::serve(vec![listener], router, limits, access, cancel.clone())
}

/// How long a daemon may take to end, in addition to the grace period. The command waits one more
/// second for blocking work.
const STOP_TIMEOUT: Duration = Duration::from_secs(9);

/// Waits until `work` ends, or for a limited time after a request to stop. Images that an unfinished
/// run removed stay held then, as after a crash.
pub(crate) async fn until_stopped(
    work: impl Future<Output = ()>,
    stop: &CancellationToken,
    grace: Duration,
) {
    let too_long = async {
        stop.cancelled().await;
        notify(&[NotifyState::Stopping]);
        tokio::time::sleep(grace.saturating_add(STOP_TIMEOUT)).await;
    };
    tokio::select! {
        () = work => info!("stopped"),
        () = too_long => warn!(
            "stopped before a run ended; what it removed is held, and the next run restores it"
        ),
    }
}
