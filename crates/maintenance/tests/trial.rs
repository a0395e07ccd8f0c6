//! `reclaim policy try` on simulated months: the replay of a month does what the real policy did in it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use containerd_client::services::v1::Container;
use containerd_client::services::v1::snapshots::{Info as SnapshotInfo, Kind};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use reclaim_engine::{Clock, Engine};
use reclaim_fake::{Fake, Image, Labels, Layer, Snapshot};
use reclaim_maintenance::{
    ClockReading, Cron, Filesystems, HostClock, LastUseIndex, Maintenance, Policy, PolicyOutcome,
    PolicyTrial, Registries, Schedule, Trigger, try_policies,
};
use reclaim_model::{
    Digest, Filesystem, Protection, Room, RuleFilters, Snapshotter, Watermark, Watermarks,
};
use reclaim_store::{Containerd, Disk};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const OVERLAY: &str = "overlayfs";
const BLOCK: u64 = 4096;
const MIB: u64 = 1 << 20;
const DISK: u64 = 400 * MIB;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAYS: usize = 12;
const IMAGES: usize = 24;

#[derive(Debug)]
struct OneDisk(Fake);

impl Disk for OneDisk {
    fn filesystems(&self) -> Filesystems {
        let used = self.0.look(|state| state.occupied(BLOCK));
        let filesystem = Filesystem {
            mount_point: "/".into(),
            block: BLOCK,
            bytes: Room {
                total: DISK,
                left: DISK.saturating_sub(used),
            },
            inodes: Room::default(),
            has_content: true,
            snapshotters: BTreeSet::from([Snapshotter::from(OVERLAY)]),
        };
        Filesystems {
            seen: vec![filesystem],
            unmeasured: Vec::new(),
        }
    }
}

/// A host whose clock the test moves.
struct Host {
    fake: Fake,
    rng: Rng,
    hours: Arc<AtomicI64>,
    maintenance: Maintenance,
    images: Vec<(String, Image)>,
    containers: BTreeMap<String, usize>,
    started: usize,
    /// The hours in which each image was used.
    uses: BTreeMap<Digest, Vec<Timestamp>>,
}

fn began() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl Host {
    fn new(seed: u64) -> Self {
        let hours = Arc::new(AtomicI64::new(0));
        let clock = {
            let hours = Arc::clone(&hours);
            move || began() + SignedDuration::from_hours(hours.load(Ordering::Relaxed))
        };
        let fake = Fake::with_clock("2.1.9", clock.clone());
        fake.change(|state| {
            state.namespace(NAMESPACE);
        });
        let reading = clock.clone();
        let host_clock = HostClock::new(move || ClockReading {
            wall: reading(),
            is_synchronized: false,
            boot: "1".to_owned(),
            since_boot: reading().duration_since(began()),
        });
        let index = Arc::new(LastUseIndex::in_memory_with(host_clock));
        let store = Containerd::from_channel(fake.channel())
            .with_clock(Clock::new(clock))
            .with_disk(Arc::new(OneDisk(fake.clone())));
        let engine = Arc::new(Engine::new(store).with_last_use(Arc::clone(&index) as _));
        let mut rng = Rng::with_seed(seed);
        let images = (0..IMAGES).map(|number| {
            let layer = |name: &str, size: u64| Layer {
                length: size,
                unpacked: size * 2,
                ..Layer::of(name)
            };
            let base = layer(&format!("base {}", number % 5), 3 * MIB);
            let own = layer(&format!("own {number}"), rng.u64(1..8) * MIB + 17);
            let name = format!("docker.io/library/app{}:{number}", number % 4);
            (name, Image::new(vec![base, own], &Labels::new()))
        });
        Self {
            images: images.collect(),
            fake,
            rng,
            hours,
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
            containers: BTreeMap::new(),
            started: 0,
            uses: BTreeMap::new(),
        }
    }

    fn now(&self) -> Timestamp {
        self.fake.now()
    }

    fn target(&self, image: usize) -> Digest {
        self.images[image].1.target().digest.parse().unwrap()
    }

    fn used(&mut self, image: usize) {
        let (target, now) = (self.target(image), self.now());
        self.uses.entry(target).or_default().push(now);
    }

    /// Pulls an image unless it is present. Returns whether it did.
    fn pull(&mut self, image: usize) -> bool {
        let (name, parts) = self.images[image].clone();
        let now = self.now();
        let repository = name.rsplit_once(':').unwrap().0;
        let repository = repository.trim_start_matches("docker.io/").to_owned();
        self.fake.change(|state| {
            let is_new = !state.namespace(NAMESPACE).images.contains_key(&name);
            if is_new {
                parts.store(state, NAMESPACE, OVERLAY, Some(&repository));
                state.put_image(NAMESPACE, parts.record(&name), now);
            }
            is_new
        })
    }

    fn start(&mut self, image: usize) {
        self.pull(image);
        self.started += 1;
        let id = format!("c{}", self.started);
        let (name, parts) = self.images[image].clone();
        let key = format!("active-{id}");
        let snapshot = Snapshot {
            info: SnapshotInfo {
                name: key.clone(),
                parent: parts.chains().last().unwrap().clone(),
                kind: Kind::Active.into(),
                ..SnapshotInfo::default()
            },
            bytes: BLOCK,
            inodes: 1,
        };
        let container = Container {
            id: id.clone(),
            image: name,
            snapshotter: OVERLAY.to_owned(),
            snapshot_key: key.clone(),
            ..Container::default()
        };
        self.fake.change(|state| {
            state.put_snapshot(NAMESPACE, (OVERLAY.to_owned(), key), snapshot);
            state.put_container(NAMESPACE, container);
        });
        self.containers.insert(id, image);
        self.used(image);
    }

    /// Something happens at random.
    fn happen(&mut self) {
        // Some images are popular.
        let range = if self.rng.bool() { IMAGES } else { IMAGES / 4 };
        let image = self.rng.usize(..range);
        match self.rng.u8(..100) {
            0..=11 if self.pull(image) => self.used(image),
            12..=23 => self.start(image),
            24..=49 => {
                let ids: Vec<String> = self.containers.keys().cloned().collect();
                if let Some(id) = self.rng.choice(ids) {
                    let image = self.containers.remove(&id).unwrap();
                    self.fake
                        .change(|state| state.remove_container(NAMESPACE, &id));
                    self.fake.collect();
                    self.used(image);
                }
            }
            _ => {}
        }
    }

    /// Lives through a month, with the policy or without. Returns what it removed, when, and how many bytes
    /// that freed.
    async fn month(&mut self, policy: Option<&Policy>) -> (Vec<(Timestamp, Digest)>, u64) {
        let (mut removed, mut freed) = (Vec::new(), 0);
        for _ in 0..DAYS * 24 {
            self.hours.fetch_add(1, Ordering::Relaxed);
            self.happen();
            let Maintenance { engine, index, .. } = &self.maintenance;
            index.reconcile(engine).await.unwrap();
            if let Some(policy) = policy {
                let cancel = CancellationToken::new();
                let run = self
                    .maintenance
                    .run(policy, Trigger::Schedule, &cancel)
                    .await;
                assert!(
                    matches!(
                        run.outcome,
                        PolicyOutcome::Nothing
                            | PolicyOutcome::Done
                            | PolicyOutcome::Capped
                            | PolicyOutcome::Unmet
                    ),
                    "{run:?}"
                );
                freed += run.freed().total_bytes();
                let now = self.now();
                let reports = run.reports.into_iter().flat_map(|report| report.removed);
                removed.extend(reports.map(|it| (now, it.target)));
            }
        }
        (removed, freed)
    }

    fn try_policy(&self, policy: &Policy) -> PolicyTrial {
        let timeline = self.maintenance.index.timeline().unwrap();
        // As it is sent and stored.
        let text = serde_json::to_string(&timeline).unwrap();
        assert_eq!(
            serde_json::from_str::<reclaim_maintenance::Timeline>(&text).unwrap(),
            timeline
        );
        try_policies(
            &timeline,
            std::slice::from_ref(policy),
            &Protection::default(),
        )
    }
}

fn policy(set: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::of_name("p".parse().unwrap());
    policy.namespaces = vec![NAMESPACE.parse().unwrap()];
    policy.rule.filters = RuleFilters::parse(&[], true).unwrap();
    // After unsuccessful runs an interval grows, and a line of a crontab stays.
    policy.schedule = Schedule::Cron(Cron::new("0 * * * *", "UTC").unwrap());
    set(&mut policy);
    policy
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

fn pressed(policy: &mut Policy) {
    policy.pressure.bytes = Watermarks::new(Watermark::Used(40), Watermark::Used(25)).ok();
}

fn sorted(mut removed: Vec<(Timestamp, Digest)>) -> Vec<(Timestamp, Digest)> {
    removed.sort();
    removed
}

#[tokio::test(start_paused = true)]
async fn the_replay_of_a_month_does_what_the_policy_did() {
    let policies = [
        policy(pressed),
        policy(|it| {
            pressed(it);
            it.rule.keep_newest = 1;
            it.max_unused = Some(days(3));
        }),
        policy(|it| {
            pressed(it);
            it.max_images = Some(1);
            it.rule.unused_for = days(1);
        }),
        policy(|it| it.rule.unused_for = days(2)),
        policy(|it| it.rule.min_age = days(2)),
    ];
    let (mut all, mut again) = (0, 0);
    for (seed, policy) in (1_u64..).zip(&policies) {
        let mut host = Host::new(seed);
        let (removed, freed) = host.month(Some(policy)).await;
        let trial = host.try_policy(policy);
        let tried = trial.images.iter();
        let tried = tried.map(|it| (it.at, it.target.clone())).collect();
        assert_eq!(sorted(tried), sorted(removed.clone()), "seed {seed}");
        assert_eq!(trial.freed_bytes, freed, "seed {seed}");
        assert_eq!(trial.notes, [""; 0]);
        let filesystem = &trial.filesystems[0];
        let wrong = filesystem.points.windows(2).find(|pair| {
            // What is recorded an hour later shows what the policy freed.
            pair[1].tried_left_bytes < pair[1].recorded_left_bytes
        });
        assert_eq!(wrong, None, "seed {seed}");
        all += removed.len();
        again += trial.pulled_again;
    }
    assert!(
        all > 60 && again > 15,
        "{all} removed, {again} pulled again"
    );
}

/// A use counts as pulled again if the image is gone then, and only then.
#[tokio::test(start_paused = true)]
async fn what_is_used_after_its_removal_is_pulled_again() {
    let mut host = Host::new(7);
    assert!(host.month(None).await.0.is_empty());
    let none = host.try_policy(&policy(|it| it.rule.unused_for = days(365)));
    assert_eq!(
        (none.removed_images, none.pulled_again, none.freed_bytes),
        (0, 0, 0)
    );
    let points = &none.filesystems[0].points;
    assert!(points.len() > DAYS * 20);
    let changed = points
        .iter()
        .find(|it| it.tried_left_bytes != it.recorded_left_bytes);
    assert_eq!(changed, None);

    let mut removed_before: Option<BTreeSet<Digest>> = None;
    for limit in [1, 2, 4] {
        let trial = host.try_policy(&policy(|it| it.rule.unused_for = days(limit)));
        for image in &trial.images {
            let uses = &host.uses[&image.target];
            let next = uses.iter().find(|at| **at > image.at).copied();
            assert_eq!(image.pulled_again, next, "{image:?} of {uses:?}");
            let last = uses.iter().filter(|at| **at <= image.at).max().unwrap();
            let unused = i64::try_from(image.unused_seconds).unwrap();
            let really = image.at.duration_since(*last).as_secs();
            // The use of a container ends with the scan after it.
            assert!(
                (unused - really).abs() <= HOUR.as_secs(),
                "{image:?} of {uses:?}"
            );
            assert!(image.unused_seconds >= days(limit).as_secs());
        }
        // Whatever is idle for longer was idle for less before.
        let removed: BTreeSet<Digest> = trial.images.iter().map(|it| it.target.clone()).collect();
        if let Some(before) = &removed_before {
            assert!(removed.is_subset(before), "{limit} days");
        }
        removed_before = Some(removed);
        let point = trial.filesystems[0].points.last().unwrap();
        assert!(point.tried_left_bytes >= point.recorded_left_bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn protected_images_stay() {
    let mut host = Host::new(8);
    host.month(None).await;
    let tried = policy(|it| it.rule.unused_for = days(1));
    let timeline = host.maintenance.index.timeline().unwrap();
    let protection = Protection {
        references: vec!["*/app1:*".parse().unwrap()],
        ..Protection::default()
    };
    let trial = try_policies(&timeline, std::slice::from_ref(&tried), &protection);
    let is_protected = |name: &String| name.contains("/app1:");
    let names = || trial.images.iter().flat_map(|it| &it.names);
    assert!(!names().any(is_protected));
    let without = host.try_policy(&tried);
    assert!(
        without
            .images
            .iter()
            .flat_map(|it| &it.names)
            .any(is_protected)
    );
    let protection = Protection {
        namespaces: BTreeSet::from([NAMESPACE.parse().unwrap()]),
        ..Protection::default()
    };
    let trial = try_policies(&timeline, std::slice::from_ref(&tried), &protection);
    assert_eq!(trial.removed_images, 0);
}
