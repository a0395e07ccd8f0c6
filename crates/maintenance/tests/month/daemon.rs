//! The real daemon, without its servers.

use std::path::Path;
use std::sync::Arc;

use reclaim_engine::{ContainerdConfig, Engine};
use reclaim_maintenance::{
    FillHistory, LastUseIndex, LateRoom, Maintenance, MaintenanceObserver, PolicyRun, PolicySet,
    Registries, RunHistory, Scheduler, SchedulerHandle,
};
use reclaim_store::{Clock, Containerd};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::host::Shared;

/// A process of the daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    pub(crate) handle: SchedulerHandle,
    new: mpsc::Sender<PolicySet>,
    set: PolicySet,
}

/// Returns an engine on the host's containerd, for a process of this boot.
pub(crate) fn engine(shared: &Shared, boot: usize) -> Engine {
    let host = shared.host();
    let (clock, disk) = (host.clock.clone(), Arc::clone(&host.disk));
    let store = Containerd::from_channel(host.fake.channel())
        .with_clock(Clock::new(move || clock.now()))
        .with_disk(disk);
    Engine::new(store).with_machine(&"1".repeat(32), &format!("boot {boot}"))
}

impl Daemon {
    /// Starts it with the contents of its state directory.
    pub(crate) fn start(shared: &Shared, state: &Path) -> Self {
        let boot = {
            let mut host = shared.host();
            host.boots += 1;
            host.boots
        };
        let clock = shared.host().clock.clone();
        let index = LastUseIndex::open_with(state, clock.host_clock());
        let index = index.expect("the index opens");
        let index = Arc::new(index);
        let engine = engine(shared, boot)
            .with_last_use(Arc::clone(&index) as _)
            .keeping_holds();
        let engine = Arc::new(engine);
        let protection = shared.host().protection.clone();
        engine.protect(protection, ContainerdConfig::default());
        let history = RunHistory::open(state).expect("the history opens");
        let mut host = shared.host();
        let late = LateRoom::of_runs(&history.runs(), host.clock.now(), Instant::now());
        host.late = Arc::new(late);
        host.disk.forget_late();
        host.index = Some(Arc::clone(&index));
        let clock = host.clock.clone();
        host.rhythm.started(&clock);
        let set = PolicySet {
            maintenance: Maintenance {
                engine: Arc::clone(&engine),
                index: Arc::clone(&index),
                headroom: None,
                cluster_lock: None,
                kubelet_config: None,
                late: Arc::clone(&host.late),
                quiet: Arc::default(),
                registries: Registries::default(),
            },
            policies: host.policies.clone(),
        };
        drop(host);
        let observer = Arc::new(Observer(shared.clone()));
        let filling = Arc::new(FillHistory::in_memory());
        let scheduler = Scheduler::new(set.clone(), Arc::new(history), filling, observer);
        let handle = scheduler.handle();
        let (new, taken_up) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let token = stop.clone();
        tasks.spawn(async move { scheduler.run(taken_up, &token).await });
        let (finishing, token) = (Arc::clone(&engine), stop.clone());
        tasks.spawn(async move { finishing.finish_runs(&token).await });
        let (ending, keeper, token) = (Arc::clone(&index), Arc::clone(&engine), stop.clone());
        tasks.spawn(async move { ending.end_holds(&keeper, &(), &token).await });
        let token = stop.clone();
        tasks.spawn(async move { index.watch(&engine, &(), &token).await });
        Self {
            tasks,
            stop,
            handle,
            new,
            set,
        }
    }

    /// Reloads the configuration.
    pub(crate) async fn reload(&self) {
        drop(self.new.send(self.set.clone()).await);
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }

    /// Ends it as SIGKILL does.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

#[derive(Debug)]
struct Observer(Shared);

impl MaintenanceObserver for Observer {
    fn ran(&self, run: &PolicyRun) {
        self.0.host().ran(run);
    }
}
