//! How long a policy waits for the cluster lock, in simulated time.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reclaim_engine::Engine;
use reclaim_fake::{Fake, Image, Labels, Layer};
use reclaim_maintenance::{
    ClusterLock, ClusterLockGuard, Filesystems, LastUseIndex, Maintenance, Policy, PolicyOutcome,
    PolicyRun, SharedLock, Trigger,
};
use reclaim_model::{Filesystem, Room, RuleFilters, Watermark, Watermarks};
use reclaim_store::{Containerd, Disk};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const MINUTE: Duration = Duration::from_secs(60);

/// A disk with so many percent in use.
#[derive(Debug)]
struct Used(AtomicU64);

impl Disk for Used {
    fn filesystems(&self) -> Filesystems {
        let bytes = Room {
            total: 100,
            left: 100 - self.0.load(Ordering::Relaxed),
        };
        let filesystem = Filesystem {
            mount_point: "/var/lib/containerd".into(),
            block: 1,
            bytes,
            inodes: Room::default(),
            has_content: true,
            snapshotters: ["overlayfs".into()].into(),
        };
        Filesystems {
            seen: vec![filesystem],
            unmeasured: Vec::new(),
        }
    }
}

/// What another node does with the lock.
#[derive(Debug, Clone, Copy)]
enum Other {
    Keeps,
    ReleasesAfter(Duration),
    /// The API server refuses.
    Fails,
}

#[derive(Debug)]
struct Lock {
    other: Other,
    /// Whether the wait ended without dropping it.
    was_cancelled: Arc<AtomicBool>,
}

struct Guard;

#[async_trait]
impl ClusterLock for Lock {
    async fn acquire(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn ClusterLockGuard>, Box<dyn Error + Send + Sync>> {
        let wait = match self.other {
            Other::Keeps => Duration::MAX,
            Other::ReleasesAfter(wait) => wait,
            Other::Fails => return Err("leases is forbidden".into()),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(Box::new(Guard)),
            () = cancel.cancelled() => {
                self.was_cancelled.store(true, Ordering::Relaxed);
                Err("stopped waiting".into())
            }
        }
    }
}

#[async_trait]
impl ClusterLockGuard for Guard {
    fn lost(&self) -> CancellationToken {
        CancellationToken::new()
    }

    async fn release(self: Box<Self>) {}
}

/// A node with one unused image, and a policy that removes it above 70%.
struct Node {
    maintenance: Maintenance,
    policy: Policy,
    disk: Arc<Used>,
    was_cancelled: Arc<AtomicBool>,
}

impl Node {
    async fn new(used: u64, other: Other) -> Self {
        let fake = Fake::new("2.1.9");
        let image = Image::new(vec![Layer::of("layer")], &Labels::new());
        fake.change(|state| {
            image.store(state, NAMESPACE, "overlayfs", Some("library/app"));
            let record = image.record("docker.io/library/app:1");
            state.put_image(NAMESPACE, record, reclaim_engine::now());
        });
        let disk = Arc::new(Used(used.into()));
        let store = Containerd::from_channel(fake.channel()).with_disk(Arc::clone(&disk) as _);
        let index = Arc::new(LastUseIndex::in_memory());
        let engine = Arc::new(Engine::new(store).with_last_use(Arc::clone(&index) as _));
        index.reconcile(&engine).await.unwrap();
        let mut policy = Policy::of_name("p".parse().unwrap());
        policy.namespaces = vec![NAMESPACE.parse().unwrap()];
        policy.rule.filters = RuleFilters::parse(&[], true).unwrap();
        policy.rule.min_age = Duration::ZERO;
        policy.rule.last_copies = true;
        policy.pressure.bytes = Watermarks::new(Watermark::Used(70), Watermark::Used(60)).ok();
        let was_cancelled = Arc::new(AtomicBool::new(false));
        let lock = Lock {
            other,
            was_cancelled: Arc::clone(&was_cancelled),
        };
        let maintenance = Maintenance {
            engine,
            index,
            headroom: None,
            cluster_lock: Some(SharedLock {
                lock: Arc::new(lock),
                critical: Watermark::Used(90),
            }),
            kubelet_config: None,
            registries: reclaim_maintenance::Registries::default(),
            late: Arc::default(),
            quiet: Arc::default(),
        };
        Self {
            maintenance,
            policy,
            disk,
            was_cancelled,
        }
    }

    async fn run(&self) -> PolicyRun {
        let cancel = CancellationToken::new();
        let running = self
            .maintenance
            .run(&self.policy, Trigger::Schedule, &cancel);
        Box::pin(running).await
    }
}

/// Below the critical mark a node waits as long as it takes. At the mark is not above it.
#[tokio::test(start_paused = true)]
async fn a_node_waits_for_its_turn() {
    let node = Node::new(90, Other::ReleasesAfter(100 * MINUTE)).await;
    let began = Instant::now();
    let run = node.run().await;
    assert!(began.elapsed() >= 100 * MINUTE);
    assert_eq!(run.removed(), 1, "{run:?}");
    assert!(run.warnings.is_empty(), "{run:?}");
}

#[tokio::test(start_paused = true)]
async fn above_the_critical_mark_a_node_waits_for_a_minute_and_says_so() {
    let node = Node::new(91, Other::Keeps).await;
    let began = Instant::now();
    let run = node.run().await;
    let waited = began.elapsed();
    assert!((MINUTE..2 * MINUTE).contains(&waited), "{waited:?}");
    assert_eq!(run.removed(), 1, "{run:?}");
    assert_eq!(
        run.warnings,
        [
            "ran without the cluster lock: `/var/lib/containerd` is above 90% (fleet.critical), and \
             other nodes held the lock for 60 s"
        ]
    );
    assert!(node.was_cancelled.load(Ordering::Relaxed));
}

/// The disk fills up while the node waits for a lock that it never gets.
#[tokio::test(start_paused = true)]
async fn a_disk_that_becomes_critical_ends_the_wait() {
    let node = Node::new(75, Other::Keeps).await;
    let began = Instant::now();
    let (run, ()) = tokio::join!(node.run(), async {
        tokio::time::sleep(10 * MINUTE).await;
        node.disk.0.store(95, Ordering::Relaxed);
        tokio::time::sleep(MINUTE / 2).await;
        node.disk.0.store(80, Ordering::Relaxed);
        tokio::time::sleep(10 * MINUTE).await;
        node.disk.0.store(95, Ordering::Relaxed);
    });
    let waited = began.elapsed();
    assert!((21 * MINUTE..23 * MINUTE).contains(&waited), "{waited:?}");
    assert_eq!(run.removed(), 1, "{run:?}");
    assert_eq!(run.warnings.len(), 1, "{run:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_lock_stops_only_what_can_wait() {
    let run = Node::new(90, Other::Fails).await.run().await;
    assert_eq!(run.outcome, PolicyOutcome::Failed, "{run:?}");
    assert_eq!(run.removed(), 0, "{run:?}");
    let run = Node::new(91, Other::Fails).await.run().await;
    assert_eq!(run.removed(), 1, "{run:?}");
    assert!(run.warnings[0].ends_with("leases is forbidden"), "{run:?}");
}

/// A daemon that stops does not remove anything first.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_without_a_removal() {
    let node = Node::new(91, Other::Keeps).await;
    let cancel = CancellationToken::new();
    let running = node
        .maintenance
        .run(&node.policy, Trigger::Schedule, &cancel);
    let (run, ()) = tokio::join!(Box::pin(running), async {
        tokio::time::sleep(MINUTE / 4).await;
        cancel.cancel();
    });
    assert_eq!(run.removed(), 0, "{run:?}");
    assert_eq!(run.outcome, PolicyOutcome::Failed, "{run:?}");
}
