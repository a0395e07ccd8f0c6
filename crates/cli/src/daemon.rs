//! What goes on beside the answers of a daemon: learning last use, running policies, metrics,
//! following SIGHUP, and telling systemd.

use std::sync::Arc;
use std::time::Duration;

use reclaim_api::listen::{self, Limits};
use reclaim_api::metrics::{self, Metrics};
use reclaim_engine::{Health, blocking};
use reclaim_maintenance::{PolicySet, Scheduler, SchedulerHandle};
use reclaim_model::{PolicyName, chain};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::args::Globals;
use crate::config;
use crate::exit::CommandError;
use crate::upkeep::Host;

/// The tasks of a daemon.
pub(crate) struct Daemon {
    tasks: JoinSet<()>,
    scheduler: SchedulerHandle,
    health: Arc<Health>,
}

impl Daemon {
    /// Starts them. They end when `cancel` is cancelled.
    pub(crate) async fn start(
        host: Arc<Host>,
        globals: &Globals,
        names: Vec<PolicyName>,
        cancel: &CancellationToken,
    ) -> Result<Self, CommandError> {
        // Before anything is started: an error here must leave nothing running.
        let set = host.set(&host.config, &names)?;
        let health = Arc::new(Health::default());
        let metrics = Metrics::new(
            env!("CARGO_PKG_VERSION"),
            Some(Arc::clone(&host.index)),
            Arc::clone(&health),
        );
        let metrics = Arc::new(metrics);
        metrics.reloaded(true);
        let hangup = signal(SignalKind::hangup())?;
        let mut tasks = JoinSet::new();
        if let Some(address) = host.config.metrics {
            let listener = listen::open_plain(address).await?;
            let router = metrics::router(Arc::clone(&metrics));
            info!(%address, "metrics are served");
            tasks.spawn(listen::serve(
                vec![listener],
                router,
                Limits::of_metrics(),
                cancel.clone(),
            ));
        }
        let (engine, token) = (Arc::clone(&host.engine), cancel.clone());
        tasks.spawn(async move { engine.finish_runs(&token).await });
        let (connection, token) = (host.second_connection.clone(), cancel.clone());
        let watched = Arc::clone(&health);
        tasks.spawn(async move { watched.watch(&connection, &token).await });
        let (engine, index) = (Arc::clone(&host.engine), Arc::clone(&host.index));
        let token = cancel.clone();
        tasks.spawn(async move { index.watch(&engine, &token).await });
        let (engine, counted, token) = (
            Arc::clone(&host.engine),
            Arc::clone(&metrics),
            cancel.clone(),
        );
        tasks.spawn(async move { counted.count_runs(&engine, &token).await });
        let (new, taken_up) = mpsc::channel(1);
        let scheduler = Scheduler::new(set, Arc::clone(&host.history), Arc::clone(&metrics) as _);
        let handle = scheduler.handle();
        let token = cancel.clone();
        tasks.spawn(async move { scheduler.run(taken_up, &token).await });
        let feeding = Arc::clone(&host.engine);
        let reloader = Arc::new(Reloader {
            host,
            file: globals.config().map(ToOwned::to_owned),
            names,
            metrics,
            new,
        });
        let token = cancel.clone();
        tasks.spawn(async move { reloader.follow(hangup, &token).await });
        if let Some(every) = watchdog() {
            let (engine, token) = (Arc::clone(&feeding), cancel.clone());
            let feed = || notify(&[NotifyState::Watchdog]);
            tasks.spawn(async move { feed_by(|| engine.moves(), feed, every, &token).await });
        }
        Ok(Self {
            tasks,
            scheduler: handle,
            health,
        })
    }

    /// Returns a way to ask who runs the policies.
    pub(crate) fn scheduler(&self) -> SchedulerHandle {
        self.scheduler.clone()
    }

    /// Returns whether containerd answers.
    pub(crate) fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Waits until all have ended.
    pub(crate) async fn ended(self) {
        self.tasks.join_all().await;
    }
}

/// How much longer than the grace a daemon may take to end: whatever containerd does, and however
/// long it takes. Blocking work has the rest of ten seconds; see `main`.
const TO_END: Duration = Duration::from_secs(9);

/// Works until that ends, or for a limited time after a request to stop. What a run had under way is
/// held then, as after a crash.
pub(crate) async fn until_stopped(
    work: impl Future<Output = ()>,
    stop: &CancellationToken,
    grace: Duration,
) {
    let too_long = async {
        stop.cancelled().await;
        notify(&[NotifyState::Stopping]);
        tokio::time::sleep(grace.saturating_add(TO_END)).await;
    };
    tokio::select! {
        () = work => info!("stopped"),
        () = too_long => warn!(
            "stopped before everything had ended; what a run had removed is held, and restored by \
             the next"
        ),
    }
}

/// Reads the configuration again when it is told to.
struct Reloader {
    host: Arc<Host>,
    file: Option<std::path::PathBuf>,
    names: Vec<PolicyName>,
    metrics: Arc<Metrics>,
    new: mpsc::Sender<PolicySet>,
}

impl Reloader {
    async fn follow(self: Arc<Self>, mut hangup: Signal, cancel: &CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                heard = hangup.recv() => if heard.is_none() {
                    return;
                },
            }
            match NotifyState::monotonic_usec_now() {
                Ok(since) => notify(&[NotifyState::Reloading, since]),
                Err(_) => notify(&[NotifyState::Reloading]),
            }
            let reloader = Arc::clone(&self);
            let is_accepted = match blocking(move || reloader.read()).await {
                Ok(set) => {
                    let sending = self.new.send(set);
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        result = sending => result.is_ok(),
                    }
                }
                Err(error) => {
                    let error = chain(&error);
                    error!(%error, "cannot reload the configuration; keeping the old one");
                    false
                }
            };
            self.metrics.reloaded(is_accepted);
            notify(&[NotifyState::Ready]);
        }
    }

    fn read(&self) -> Result<PolicySet, CommandError> {
        let config = config::find(self.file.as_deref())?;
        let old = &self.host.config;
        for (key, is_changed) in [
            ("containerd.address", config.address != old.address),
            ("state.directory", config.state != old.state),
            ("metrics.listen", config.metrics != old.metrics),
        ] {
            if is_changed {
                warn!(key, "a change of this key takes a restart");
            }
        }
        let set = self.host.set(&config, &self.names)?;
        info!(policies = set.policies.len(), "the configuration is read");
        Ok(set)
    }
}

/// Tells systemd, if it has started us.
pub(crate) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify systemd");
    }
}

/// How often to look whether there is motion that systemd's watchdog wants to know of: so often
/// that hardly any of its time is lost between the two.
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|it| it / 12)
}

/// Feeds a watchdog whenever `moves` has grown. What does not move is not fed: it should be
/// started again.
async fn feed_by(
    moves: impl Fn() -> u64,
    feed: impl Fn(),
    every: Duration,
    cancel: &CancellationToken,
) {
    let mut last = None;
    while !cancel.is_cancelled() {
        let now = Some(moves());
        if last != now {
            feed();
            last = now;
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_watchdog_is_fed_only_while_something_moves() {
        let (moves, n_fed) = (AtomicU64::new(0), AtomicU64::new(0));
        let cancel = CancellationToken::new();
        let every = Duration::from_millis(1);
        let count = |of: &AtomicU64| of.fetch_add(1, Ordering::Relaxed);
        let n_looks = AtomicU64::new(0);
        // It moves twice, and then never again.
        let look = || match count(&n_looks) {
            0 | 1 => count(&moves),
            2..20 => moves.load(Ordering::Relaxed),
            _ => {
                cancel.cancel();
                moves.load(Ordering::Relaxed)
            }
        };
        let feed = || {
            count(&n_fed);
        };
        feed_by(look, feed, every, &cancel).await;
        assert_eq!(n_fed.into_inner(), 3);
    }
}
