//! Tests of what policies decide by, at moments at which a real containerd cannot be stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::{Clock, Engine};
use reclaim_fake::{Fake, Fault, Image, Labels, Layer};
use reclaim_maintenance::{
    ClockReading, HostClock, LastUseIndex, Maintenance, Policy, PolicyOutcome, PolicyRun,
    Registries, Trigger,
};
use reclaim_model::{RecordTimes, RuleFilters, UseEvent, UseEventKind, WrittenRecord};
use reclaim_store::Containerd;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const NAME: &str = "docker.io/library/app:1";

/// Runs a policy for images that were unused for a day on one that was last used two days ago, or
/// if `is_leap`, only by a wall clock that leapt. If `is_pulled`, the event of a pull arrives while
/// the engine reads the store.
async fn run(is_pulled: bool, is_leap: bool) -> PolicyRun {
    let began: Timestamp = "2026-03-15T04:30:00Z".parse().expect("a time");
    let now = began + SignedDuration::from_hours(48);
    let is_later = Arc::new(AtomicBool::new(false));
    let clock = {
        let is_later = Arc::clone(&is_later);
        move || {
            if is_later.load(Ordering::Relaxed) {
                now
            } else {
                began
            }
        }
    };
    let fake = Fake::with_clock("2.1.9", clock.clone());
    let image = Image::new(vec![Layer::of("layer")], &Labels::new());
    fake.change(|state| {
        image.store(state, NAMESPACE, "overlayfs", Some("library/app"));
        state.put_image(NAMESPACE, image.record(NAME), began);
    });
    let reading = clock.clone();
    let host_clock = HostClock::new(move || ClockReading {
        wall: reading(),
        is_synchronized: false,
        boot: "1".to_owned(),
        since_boot: if is_leap {
            SignedDuration::ZERO
        } else {
            reading().duration_since(began)
        },
    });
    let index = Arc::new(LastUseIndex::in_memory_with(host_clock));
    let store = Containerd::from_channel(fake.channel()).with_clock(Clock::new(clock));
    let engine = Arc::new(Engine::new(store).with_last_use(Arc::clone(&index) as _));
    index.reconcile(&engine).await.expect("the fake answers");
    is_later.store(true, Ordering::Relaxed);
    let pull = UseEvent {
        namespace: NAMESPACE.parse().expect("a name"),
        at: now,
        kind: UseEventKind::ImageWritten {
            name: NAME.to_owned(),
            record: Some(WrittenRecord {
                target: image.target().digest.parse().expect("a digest"),
                times: RecordTimes {
                    created: Some(began),
                    updated: Some(now),
                },
            }),
        },
    };
    let recording = Arc::clone(&index);
    fake.on_call(move |call| {
        if is_pulled && call.method == "Content/List" {
            recording.record_event(&pull);
        }
        Fault::None
    });
    let maintenance = Maintenance {
        engine,
        index,
        headroom: None,
        cluster_lock: None,
        kubelet_config: None,
        late: Arc::default(),
        quiet: Arc::default(),
        registries: Registries::default(),
    };
    let mut policy = Policy::of_name("p".parse().expect("a name"));
    policy.namespaces = vec![NAMESPACE.parse().expect("a name")];
    policy.rule.filters = RuleFilters::parse(&[], true).expect("no filters");
    policy.rule.unused_for = Duration::from_secs(24 * 60 * 60);
    let cancel = CancellationToken::new();
    maintenance.run(&policy, Trigger::Demand, &cancel).await
}

#[tokio::test(start_paused = true)]
async fn a_use_while_the_store_is_read_counts() {
    let run_alone = run(false, false).await;
    assert_eq!(run_alone.removed(), 1, "{run_alone:?}");
    let run_during_a_pull = run(true, false).await;
    assert_eq!(run_during_a_pull.removed(), 0, "{run_during_a_pull:?}");
    assert_eq!(run_during_a_pull.outcome, PolicyOutcome::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_leap_of_the_wall_clock_removes_nothing() {
    let run_after_leap = run(false, true).await;
    assert_eq!(run_after_leap.removed(), 0, "{run_after_leap:?}");
    assert_eq!(run_after_leap.outcome, PolicyOutcome::Nothing);
}
