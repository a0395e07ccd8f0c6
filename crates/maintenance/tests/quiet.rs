//! What ends the quiet of a step that had nothing to do, on a containerd in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::{Clock, ContainerdConfig, Engine, InMemoryContainers};
use reclaim_fake::api::services::v1::snapshots::{Info as SnapshotInfo, Kind};
use reclaim_fake::{Fake, Fault, Image, Labels, Layer, Lease, Snapshot};
use reclaim_maintenance::{
    ClockReading, Filesystems, HostClock, LastUseIndex, Maintenance, Policy, PolicyOutcome,
    PolicyRun, Registries, Trigger,
};
use reclaim_model::{
    Container, Filesystem, Namespace, Protection, Room, RuleFilters, Snapshotter, Watermark,
    Watermarks,
};
use reclaim_store::{Containerd, Disk};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const NAME: &str = "docker.io/library/app:1";
const OTHER: &str = "docker.io/library/app:2";
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const MONTH: i64 = 30 * 24 * HOUR;

/// The maximum number of checks of a condition that another task fulfils, 10 ms apart.
const CHECKS: u32 = 3000;

/// A filesystem of 100 bytes.
#[derive(Debug)]
struct SmallDisk(Arc<AtomicU64>);

impl Disk for SmallDisk {
    fn filesystems(&self) -> Filesystems {
        let filesystem = Filesystem {
            mount_point: "/var/lib/containerd".into(),
            block: 1,
            bytes: Room {
                total: 100,
                left: self.0.load(Ordering::Relaxed),
            },
            inodes: Room::default(),
            has_content: true,
            snapshotters: [Snapshotter::from("overlayfs")].into(),
        };
        Filesystems {
            seen: vec![filesystem],
            unmeasured: Vec::new(),
        }
    }
}

struct Host {
    fake: Fake,
    maintenance: Maintenance,
    policy: Policy,
    registered: Arc<InMemoryContainers>,
    /// Seconds since the start, and by how many the wall clock is ahead.
    passed: Arc<AtomicI64>,
    ahead: Arc<AtomicI64>,
    /// The bytes left on the disk.
    left: Arc<AtomicU64>,
    /// How many steps took the guard of a run, and so planned.
    plans: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Host {
    /// A host with an image that goes after a month without use.
    fn new() -> Self {
        let began: Timestamp = "2026-03-15T04:30:00Z".parse().expect("a time");
        let passed = Arc::new(AtomicI64::new(0));
        let ahead = Arc::new(AtomicI64::new(0));
        let seconds = |of: &Arc<AtomicI64>| {
            let of = Arc::clone(of);
            move || SignedDuration::from_secs(of.load(Ordering::Relaxed))
        };
        let (since_boot, off) = (seconds(&passed), seconds(&ahead));
        let wall = move || began + since_boot() + off();
        let fake = Fake::with_clock("2.1.9", wall.clone());
        let since_boot = seconds(&passed);
        let host_clock = HostClock::new({
            let wall = wall.clone();
            move || ClockReading {
                wall: wall(),
                is_synchronized: false,
                boot: "1".to_owned(),
                since_boot: since_boot(),
            }
        });
        let image = image();
        fake.change(|state| {
            image.store(state, NAMESPACE, "overlayfs", Some("library/app"));
            state.put_image(NAMESPACE, image.record(NAME), wall());
        });
        let plans = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&plans);
        fake.on_call(move |call| {
            if call.method == "Leases/Create" {
                counting.fetch_add(1, Ordering::Relaxed);
            }
            Fault::None
        });
        let left = Arc::new(AtomicU64::new(50));
        let registered = Arc::new(InMemoryContainers::new());
        let index = Arc::new(LastUseIndex::in_memory_with(host_clock));
        let store = Containerd::from_channel(fake.channel())
            .with_clock(Clock::new(wall))
            .with_disk(Arc::new(SmallDisk(Arc::clone(&left))));
        let engine = Engine::new(store)
            .with_containers(Arc::clone(&registered) as _)
            .with_last_use(Arc::clone(&index) as _);
        let engine = Arc::new(engine);
        let mut tasks = JoinSet::new();
        let (watching, source) = (Arc::clone(&index), Arc::clone(&engine));
        tasks.spawn(async move {
            let cancel = CancellationToken::new();
            watching.watch(&source, &(), &cancel).await;
        });
        let mut policy = Policy::of_name("p".parse().expect("a name"));
        policy.namespaces = vec![namespace()];
        policy.rule.filters = RuleFilters::parse(&[], true).expect("no filters");
        policy.rule.min_age = Duration::ZERO;
        policy.rule.last_copies = true;
        policy.max_unused = Some(Duration::from_secs(MONTH.unsigned_abs()));
        policy.pressure.bytes = Watermarks::new(Watermark::Used(90), Watermark::Used(80)).ok();
        Self {
            fake,
            maintenance: Maintenance {
                engine,
                index,
                headroom: None,
                cluster_lock: None,
                kubelet_config: None,
                late: Arc::default(),
                quiet: Arc::default(),
                registries: Registries::default(),
            },
            policy,
            registered,
            passed,
            ahead,
            left,
            plans,
            _tasks: tasks,
        }
    }

    async fn run(&self, trigger: Trigger) -> PolicyRun {
        let cancel = CancellationToken::new();
        self.maintenance.run(&self.policy, trigger, &cancel).await
    }

    /// Makes a scheduled run. Returns whether its step planned.
    async fn plans(&self) -> bool {
        let before = self.plans.load(Ordering::Relaxed);
        drop(self.run(Trigger::Schedule).await);
        self.plans.load(Ordering::Relaxed) > before
    }

    fn pass(&self, seconds: i64) {
        self.passed.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Waits until steps are left out. Time passes, because images must be seen unused twice.
    async fn until_quiet(&self) {
        for _ in 0..CHECKS {
            if !self.plans().await {
                return;
            }
            self.pass(MINUTE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("each step plans");
    }

    /// Waits until a step is not left out, because of events.
    async fn until_planned(&self, why: &str) {
        for _ in 0..CHECKS {
            if self.plans().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no step plans: {why}");
    }

    fn names(&self) -> Vec<String> {
        let names = |state: &reclaim_fake::State| {
            let images = &state.namespaces[NAMESPACE].images;
            images.keys().cloned().collect()
        };
        self.fake.look(names)
    }
}

fn image() -> Image {
    Image::new(vec![Layer::of("layer")], &Labels::new())
}

fn namespace() -> Namespace {
    NAMESPACE.parse().expect("a name")
}

#[tokio::test]
async fn events_and_a_broken_stream_end_the_quiet() {
    let host = Host::new();
    host.until_quiet().await;
    assert!(!host.plans().await, "nothing has changed");
    let now = host.fake.now();
    let put = |state: &mut reclaim_fake::State| {
        state.put_image(NAMESPACE, image().record(OTHER), now);
    };
    host.fake.change(put);
    host.until_planned("an image").await;

    host.until_quiet().await;
    let container = reclaim_fake::api::services::v1::Container {
        id: "c".to_owned(),
        image: NAME.to_owned(),
        ..Default::default()
    };
    let created = |state: &mut reclaim_fake::State| state.put_container(NAMESPACE, container);
    host.fake.change(created);
    host.until_planned("a container").await;
    host.until_quiet().await;
    assert!(!host.plans().await, "a container's record ends by an event");
    host.fake
        .change(|state| state.remove_container(NAMESPACE, "c"));
    host.until_planned("a container is gone").await;

    host.until_quiet().await;
    host.fake.stop();
    // While it is away: nothing reports this.
    host.fake
        .change(|state| state.remove_image(NAMESPACE, OTHER));
    host.fake.start();
    host.until_planned("another connection").await;
}

#[tokio::test]
async fn changes_without_an_event_end_the_quiet() {
    let mut host = Host::new();
    host.until_quiet().await;
    host.maintenance
        .engine
        .protect(Protection::default(), ContainerdConfig::default());
    assert!(host.plans().await, "a configuration");

    host.until_quiet().await;
    let container = Container {
        id: "r".to_owned(),
        image: NAME.to_owned(),
        ..Container::default()
    };
    host.registered.upsert(&namespace(), container);
    assert!(host.plans().await, "a registered container");
    host.until_quiet().await;
    host.registered.remove(&namespace(), "r");
    assert!(host.plans().await, "a registered container is gone");

    host.until_quiet().await;
    host.ahead.fetch_add(HOUR, Ordering::Relaxed);
    assert!(host.plans().await, "the clock is set");

    host.until_quiet().await;
    let before = host.plans.load(Ordering::Relaxed);
    drop(host.run(Trigger::Demand).await);
    assert!(host.plans.load(Ordering::Relaxed) > before, "a request");

    host.until_quiet().await;
    host.maintenance.quiet = Arc::default();
    assert!(host.plans().await, "a daemon starts");

    // A lease comes and ends without an event, and keeps the image meanwhile.
    host.until_quiet().await;
    let key = "mount".to_owned();
    let snapshot = Snapshot {
        info: SnapshotInfo {
            name: key.clone(),
            parent: image().chains().pop().expect("a layer"),
            kind: Kind::Active.into(),
            ..SnapshotInfo::default()
        },
        bytes: 1,
        inodes: 1,
    };
    let lease = Lease {
        message: reclaim_fake::api::services::v1::Lease {
            id: "l".to_owned(),
            ..Default::default()
        },
        resources: [("snapshots/overlayfs".to_owned(), key.clone())].into(),
    };
    host.fake.change(|state| {
        let space = state.namespace(NAMESPACE);
        let key = ("overlayfs".to_owned(), key);
        space.snapshots.insert(key, snapshot);
        space.leases.insert("l".to_owned(), lease);
    });
    host.pass(HOUR);
    assert!(host.plans().await, "an hour");
    assert!(host.plans().await, "a lease may end at any time");
    assert_eq!(host.names(), [NAME]);
}

#[tokio::test]
async fn an_image_goes_when_it_is_due_although_nothing_happens() {
    let host = Host::new();
    host.until_quiet().await;
    let uses = host.maintenance.index.uses(&namespace());
    let last_used = uses.targets.values().next().expect("the image").last_used;
    let unused = uses.now.duration_since(last_used).as_secs();
    host.pass(MONTH - unused - 10);
    assert!(host.plans().await, "an hour");
    assert!(!host.plans().await, "ten seconds before it is due");
    assert_eq!(host.names(), [NAME]);
    host.pass(10);
    tokio::time::pause();
    let run = host.run(Trigger::Schedule).await;
    assert_eq!((run.removed(), run.outcome), (1, PolicyOutcome::Done));
}

#[tokio::test]
async fn a_disk_that_another_process_fills_ends_the_quiet() {
    let host = Host::new();
    host.until_quiet().await;
    host.left.store(5, Ordering::Relaxed);
    tokio::time::pause();
    let run = host.run(Trigger::Schedule).await;
    assert_eq!(run.removed(), 1, "{run:?}");
}
