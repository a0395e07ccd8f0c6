//! Policies that free parts of images, on hosts with content and snapshots on one disk or on two.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use reclaim_engine::Engine;
use reclaim_fake::{Fake, Fault, Image, Labels, Layer};
use reclaim_maintenance::{
    Filesystems, LastUseIndex, Maintenance, Policy, PolicyForecast, PolicyOutcome, PolicyRun,
    Trigger,
};
use reclaim_model::{
    Filesystem, Mode, PolicyPart, Room, RuleFilters, Snapshotter, Watermark, Watermarks,
};
use reclaim_store::{Containerd, Disk};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const OVERLAY: &str = "overlayfs";
const BLOCK: u64 = 4096;
const LAYER: u64 = 1 << 20;
const IMAGES: u64 = 20;

/// One disk, or one for content and one for snapshots.
#[derive(Debug)]
struct Disks {
    fake: Fake,
    /// The size of the disk with snapshots, or of the only one.
    total: u64,
    /// The size of a disk for content only.
    content: Option<u64>,
}

impl Disks {
    /// Returns the bytes of content and of snapshots.
    fn occupied(&self) -> (u64, u64) {
        self.fake.look(|state| {
            let blobs: BTreeMap<&String, u64> = state
                .namespaces
                .values()
                .flat_map(|it| &it.content)
                .map(|(digest, info)| (digest, u64::try_from(info.size).unwrap()))
                .collect();
            let content = blobs.values().map(|it| it.next_multiple_of(BLOCK)).sum();
            let snapshots = state
                .namespaces
                .values()
                .flat_map(|it| it.snapshots.values());
            (content, snapshots.map(|it| it.bytes).sum())
        })
    }
}

impl Disk for Disks {
    fn filesystems(&self) -> Filesystems {
        let (content, snapshots) = self.occupied();
        let filesystem = |place: &str, total: u64, used: u64| Filesystem {
            mount_point: place.into(),
            block: BLOCK,
            bytes: Room {
                total,
                left: total.saturating_sub(used),
            },
            inodes: Room::default(),
            has_content: place == "/content" || self.content.is_none(),
            snapshotters: if place == "/content" {
                BTreeSet::new()
            } else {
                [Snapshotter::from(OVERLAY)].into()
            },
        };
        let seen = match self.content {
            Some(total) => vec![
                filesystem("/content", total, content),
                filesystem("/snapshots", self.total, snapshots),
            ],
            None => vec![filesystem("/", self.total, content + snapshots)],
        };
        Filesystems {
            seen,
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
    /// A host with images whose layer takes as much compressed as unpacked, and a policy with this low
    /// mark.
    async fn new(total: u64, content: Option<u64>, free: &[PolicyPart], low: u8) -> Self {
        let fake = Fake::new("2.1.9");
        fake.change(|state| {
            for number in 0..IMAGES {
                let name = format!("{number:02}");
                let layer = Layer {
                    length: LAYER,
                    unpacked: LAYER,
                    ..Layer::of(&name)
                };
                let image = Image::new(vec![layer], &Labels::new());
                image.store(state, NAMESPACE, OVERLAY, Some("library/app"));
                let name = format!("docker.io/library/app:{name}");
                state.put_image(NAMESPACE, image.record(&name), reclaim_engine::now());
            }
        });
        let disk = Disks {
            fake: fake.clone(),
            total,
            content,
        };
        let store = Containerd::from_channel(fake.channel()).with_disk(Arc::new(disk));
        let index = Arc::new(LastUseIndex::in_memory());
        let engine = Arc::new(Engine::new(store).with_last_use(Arc::clone(&index) as _));
        index.reconcile(&engine).await.unwrap();
        let mut policy = Policy::of_name("p".parse().unwrap());
        policy.namespaces = vec![NAMESPACE.parse().unwrap()];
        policy.rule.filters = RuleFilters::parse(&[], true).unwrap();
        policy.rule.min_age = Duration::ZERO;
        policy.free = free.to_vec();
        policy.pressure.bytes = Watermarks::new(Watermark::Used(80), Watermark::Used(low)).ok();
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

    async fn forecast(&self) -> PolicyForecast {
        let explained = self.maintenance.explain(&[&self.policy]).await;
        explained.unwrap().remove(0)
    }

    /// Returns the number of images and of their snapshots and layers.
    fn left(&self) -> (usize, usize, usize) {
        self.fake.look(|state| {
            let namespace = &state.namespaces[NAMESPACE];
            let layers = namespace.content.values();
            let layers = layers.filter(|it| u64::try_from(it.size).unwrap() == LAYER);
            (
                namespace.images.len(),
                namespace.snapshots.len(),
                layers.count(),
            )
        })
    }
}

/// What each step of a run freed: the part, and how many images lost it or went.
fn steps(run: &PolicyRun) -> Vec<(&'static str, usize)> {
    let reports = run.reports.iter();
    let steps = reports.map(|report| {
        let part = report.part.unwrap();
        (part.key(), report.removed.len() + report.slimmed.len())
    });
    steps.collect()
}

const SNAPSHOTS_FIRST: [PolicyPart; 2] = [PolicyPart::Snapshots, PolicyPart::Images];

#[tokio::test(start_paused = true)]
async fn no_image_goes_if_snapshots_suffice() {
    // 40 MiB of 48 are used, and 29 may stay.
    let host = Host::new(48 * LAYER, None, &SNAPSHOTS_FIRST, 60).await;
    let run = host.run().await;
    assert_eq!(run.outcome, PolicyOutcome::Done, "{run:?}");
    assert_eq!(steps(&run), [("snapshots", 12)]);
    assert_eq!(host.left(), (20, 8, 20));
    assert_eq!((run.removed(), run.slimmed()), (0, 12));
    let record = run.record().unwrap();
    let [step] = &record.runs[..] else {
        panic!("{record:?}")
    };
    assert_eq!((step.part, step.slimmed), (Some(PolicyPart::Snapshots), 12));
    assert_eq!(step.reclaimed_bytes, 12 * LAYER);
}

#[tokio::test(start_paused = true)]
async fn the_next_part_goes_as_far_as_the_first_did_not_suffice() {
    // 40 MiB of 42 are used: 8 may stay, and 20 are left without snapshots.
    let host = Host::new(42 * LAYER, None, &SNAPSHOTS_FIRST, 20).await;
    let forecast = host.forecast().await;
    let now = forecast.namespaces.iter();
    let now: Vec<(&str, usize)> = now
        .map(|step| {
            let now = &step.now;
            let n = now.removed.len() + now.slimmed.len();
            (now.part.unwrap().key(), n)
        })
        .collect();
    let run = host.run().await;
    assert_eq!(run.outcome, PolicyOutcome::Done, "{run:?}");
    assert_eq!(steps(&run), [("snapshots", 20), ("images", 12)]);
    assert_eq!(now, steps(&run));
    assert_eq!(host.left(), (8, 0, 8));
    // Nothing is counted twice.
    let at_most = forecast.namespaces.iter();
    let at_most: u64 = at_most
        .map(|step| step.at_most.estimate.0.total_bytes())
        .sum();
    assert!((40 * LAYER..41 * LAYER).contains(&at_most), "{at_most}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stops_where_a_run_would() {
    for (total, low) in [(42, 20), (48, 60), (100, 60)] {
        let mut host = Host::new(total * LAYER, None, &SNAPSHOTS_FIRST, low).await;
        host.policy.mode = Mode::DryRun;
        let dry = host.run().await;
        let before = host.left();
        let forecast = host.forecast().await;
        assert_eq!(before, host.left(), "nothing was changed");
        host.policy.mode = Mode::Apply;
        let run = host.run().await;
        assert_eq!(steps(&dry), steps(&run), "{total}");
        let now = forecast.namespaces.iter();
        let now = now.filter(|step| step.now.has_changes()).count();
        assert_eq!(now, steps(&run).len(), "{total}");
        let estimates = dry.reports.iter().map(|it| it.estimate.0.total_bytes());
        let freed = run.reports.iter().map(|it| it.reclaimed.0.total_bytes());
        assert_eq!(
            estimates.collect::<Vec<_>>(),
            freed.collect::<Vec<_>>(),
            "{total}"
        );
    }
}

/// Each disk gets room by what is on it, and what is on the other one stays.
#[tokio::test(start_paused = true)]
async fn only_what_is_on_the_full_disk_goes() {
    const ALL: [PolicyPart; 3] = [
        PolicyPart::Snapshots,
        PolicyPart::Layers,
        PolicyPart::Images,
    ];
    for (snapshots, content, low, expected, left) in [
        (24, 100, 60, vec![("snapshots", 6)], (20, 14, 20)),
        // Snapshots do not help a disk with content.
        (
            100,
            24,
            60,
            vec![("snapshots", 0), ("layers", 6)],
            (20, 20, 14),
        ),
        (
            21,
            21,
            60,
            vec![("snapshots", 8), ("layers", 8)],
            (20, 12, 12),
        ),
        // The layers of images that lost their snapshots are the only copy.
        (
            21,
            21,
            20,
            vec![("snapshots", 16), ("layers", 4), ("images", 12)],
            (8, 4, 4),
        ),
    ] {
        let host = Host::new(snapshots * LAYER, Some(content * LAYER), &ALL, low).await;
        let run = host.run().await;
        assert_eq!(run.outcome, PolicyOutcome::Done, "{run:?}");
        assert_eq!(steps(&run), expected, "{snapshots}, {content}");
        assert_eq!(host.left(), left, "{snapshots}, {content}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_mark_all_parts_of_all_candidates_go_in_order() {
    let mut host = Host::new(100 * LAYER, None, &SNAPSHOTS_FIRST, 60).await;
    host.policy.pressure.bytes = None;
    host.policy.max_images = Some(25);
    let run = host.run().await;
    assert_eq!(run.outcome, PolicyOutcome::Capped, "{run:?}");
    assert_eq!(steps(&run), [("snapshots", 20), ("images", 5)]);
    assert_eq!(host.left(), (15, 0, 15));
}

/// Without pressure, images that are idle for too long go at once: their parts do not go before.
#[tokio::test(start_paused = true)]
async fn idle_images_go_whole_if_images_may_go() {
    for (free, expected) in [
        (&SNAPSHOTS_FIRST[..], (0, 0, 0)),
        (&SNAPSHOTS_FIRST[..1], (20, 0, 20)),
    ] {
        let mut host = Host::new(100 * LAYER, None, free, 60).await;
        host.policy.max_unused = Some(Duration::from_nanos(1));
        tokio::time::advance(Duration::from_secs(3600)).await;
        let index = &host.maintenance.index;
        index.reconcile(&host.maintenance.engine).await.unwrap();
        let run = host.run().await;
        assert_eq!(host.left(), expected, "{run:?}");
        let slims = run.reports.iter().filter(|it| !it.slimmed.is_empty());
        assert_eq!(slims.count(), usize::from(expected.0 > 0), "{run:?}");
    }
}

/// What a step freed stays restorable for the undo window, and the next step does not count on it.
#[tokio::test(start_paused = true)]
async fn each_step_has_an_undo_window_of_its_own() {
    let all = [
        PolicyPart::Snapshots,
        PolicyPart::Layers,
        PolicyPart::Images,
    ];
    let mut host = Host::new(100 * LAYER, None, &all, 60).await;
    host.policy.pressure.bytes = None;
    host.policy.undo_window = Duration::from_secs(3600);
    host.policy.rule.filters =
        RuleFilters::parse(&["reference=docker.io/library/app:0*".to_owned()], true).unwrap();
    let run = host.run().await;
    // No image loses its layers while a hold keeps the snapshots that it lost.
    assert_eq!(
        steps(&run),
        [("snapshots", 10), ("layers", 0), ("images", 10)]
    );
    assert!(run.reports[0].held_until.is_some() && run.reports[2].held_until.is_some());
    assert_eq!(host.left(), (10, 20, 20));
    let namespace = NAMESPACE.parse().unwrap();
    for expected in [(20, 20, 20), (20, 20, 20)] {
        let engine = &host.maintenance.engine;
        engine.undo(&namespace, None, &[], false).await.unwrap();
        host.fake.collect();
        assert_eq!(host.left(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_frees_no_further_part() {
    let host = Host::new(42 * LAYER, None, &SNAPSHOTS_FIRST, 20).await;
    let cancel = CancellationToken::new();
    let stopping = cancel.clone();
    host.fake.on_call(move |call| {
        if call.method == "Content/Update" {
            stopping.cancel();
        }
        Fault::None
    });
    let run = host
        .maintenance
        .run(&host.policy, Trigger::Schedule, &cancel)
        .await;
    assert_eq!(run.outcome, PolicyOutcome::Partial, "{run:?}");
    assert_eq!(host.left().0, 20);
    assert_eq!(run.removed(), 0);
}
