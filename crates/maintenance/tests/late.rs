//! Policies on a filesystem that shows freed space late, in simulated time.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reclaim_engine::Engine;
use reclaim_fake::{Fake, Image, Labels, Layer};
use reclaim_maintenance::{
    Filesystems, LastUseIndex, Maintenance, Policy, PolicyOutcome, PolicyRun, Trigger,
};
use reclaim_model::{Filesystem, Room, RuleFilters, Snapshotter, Watermark, Watermarks};
use reclaim_store::{Containerd, Disk};
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const BLOCK: u64 = 4096;
const LAYER: u64 = 1 << 20;
const IMAGES: u64 = 24;
const TOTAL: u64 = 60 * LAYER;

/// Shows freed space after a delay.
#[derive(Debug)]
struct LateDisk {
    fake: Fake,
    delay: Duration,
    hidden: Mutex<Hidden>,
}

#[derive(Debug, Default)]
struct Hidden {
    occupied: u64,
    /// When bytes were freed, and how many.
    freed: Vec<(Instant, u64)>,
}

impl Disk for LateDisk {
    fn filesystems(&self) -> Filesystems {
        let occupied = self.fake.look(|state| state.occupied(BLOCK));
        let mut hidden = self.hidden.lock().unwrap();
        let freed = hidden.occupied.saturating_sub(occupied);
        if freed > 0 {
            hidden.freed.push((Instant::now(), freed));
        }
        hidden.occupied = occupied;
        hidden.freed.retain(|(at, _)| at.elapsed() < self.delay);
        let late: u64 = hidden.freed.iter().map(|(_, bytes)| bytes).sum();
        let filesystem = Filesystem {
            mount_point: "/var/lib/containerd".into(),
            block: BLOCK,
            bytes: Room {
                total: TOTAL,
                left: TOTAL - occupied - late,
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
}

impl Host {
    /// A host with images of two mebibytes each, most of which is above the high mark.
    async fn new(delay: Duration) -> Self {
        let fake = Fake::new("2.1.9");
        fake.change(|state| {
            for number in 0..IMAGES {
                let name = number.to_string();
                let layer = Layer {
                    length: LAYER,
                    unpacked: LAYER,
                    ..Layer::of(&name)
                };
                let image = Image::new(vec![layer], &Labels::new());
                image.store(state, NAMESPACE, "overlayfs", Some("library/app"));
                let name = format!("docker.io/library/app:{name}");
                state.put_image(NAMESPACE, image.record(&name), reclaim_engine::now());
            }
        });
        let disk = LateDisk {
            fake: fake.clone(),
            delay,
            hidden: Mutex::default(),
        };
        let store = Containerd::from_channel(fake.channel()).with_disk(Arc::new(disk));
        let index = Arc::new(LastUseIndex::in_memory());
        let engine = Arc::new(Engine::new(store).with_last_use(Arc::clone(&index) as _));
        index.reconcile(&engine).await.unwrap();
        let mut policy = Policy::of_name("p".parse().unwrap());
        policy.namespaces = vec![NAMESPACE.parse().unwrap()];
        policy.rule.filters = RuleFilters::parse(&[], true).unwrap();
        policy.rule.min_age = Duration::ZERO;
        policy.rule.last_copies = true;
        policy.pressure.bytes = Watermarks::new(Watermark::Used(70), Watermark::Used(60)).ok();
        Self {
            fake,
            maintenance: Maintenance {
                engine,
                index,
                headroom: None,
                cluster_lock: None,
                kubelet_config: None,
                registries: reclaim_maintenance::Registries::default(),
                late: Arc::default(),
                quiet: Arc::default(),
            },
            policy,
        }
    }

    async fn run(&self) -> PolicyRun {
        let cancel = CancellationToken::new();
        self.maintenance
            .run(&self.policy, Trigger::Schedule, &cancel)
            .await
    }
}

fn late(run: &PolicyRun) -> u64 {
    run.not_yet_visible.iter().map(|it| it.amount).sum()
}

/// However late the space comes, and however many runs there are meanwhile, they remove what was
/// missing and at most one image more.
#[tokio::test(start_paused = true)]
async fn late_space_removes_no_further_image() {
    for seconds in [0, 3, 40, 500] {
        let delay = Duration::from_secs(seconds);
        let host = Host::new(delay).await;
        let first = host.run().await;
        assert_eq!(first.outcome, PolicyOutcome::Done, "{first:?}");
        let wanted = first.wanted[0].amount;
        let one = 2 * LAYER + 4 * BLOCK;
        let freed = first.freed().total_bytes();
        assert!(
            (wanted - one..wanted + one).contains(&freed),
            "{seconds}: {freed} of {wanted}"
        );
        // A run waits for ten seconds.
        assert_eq!(late(&first) > 0, seconds > 10, "{seconds}: {first:?}");
        let began = Instant::now();
        while began.elapsed() < delay + Duration::from_secs(60) {
            let again = host.run().await;
            assert_eq!(again.removed(), 0, "{seconds}: {again:?}");
            assert!(again.outcome.is_success(), "{seconds}: {again:?}");
            advance(Duration::from_secs(30)).await;
        }
        let last = host.run().await;
        assert_eq!(last.outcome, PolicyOutcome::Nothing, "{seconds}: {last:?}");
        assert_eq!(late(&last), 0, "{seconds}: {last:?}");
    }
}

/// Space that never comes, as if another process used it, is not expected forever.
#[tokio::test(start_paused = true)]
async fn space_that_does_not_come_is_given_up() {
    let host = Host::new(Duration::MAX).await;
    let first = host.run().await;
    assert!(late(&first) > 0, "{first:?}");
    advance(Duration::from_secs(10 * 60)).await;
    let second = host.run().await;
    assert!(second.removed() > 0, "{second:?}");
}

/// Garbage that is on its way counts, too: no image goes for it.
#[tokio::test(start_paused = true)]
async fn late_garbage_removes_no_image() {
    let host = Host::new(Duration::from_secs(60)).await;
    host.fake.change(|state| {
        for number in 0..7 {
            let name = format!("docker.io/library/app:{number}");
            state.remove_image(NAMESPACE, &name);
        }
    });
    let run = host.run().await;
    assert_eq!(run.removed(), 0, "{run:?}");
    assert_eq!(run.outcome, PolicyOutcome::Done, "{run:?}");
    assert!(late(&run) > 0, "{run:?}");
}
