//! Policies, their runs and forecasts come back as they were.

use reclaim_maintenance::{
    Breakdown, Cron, Excess, FilesystemRecord, Measure, NamespaceForecast, NamespaceRun, Policy,
    PolicyForecast, PolicyOutcome, PolicyRun, Pressure, RunRecord, Schedule, Trigger,
};
use reclaim_model::{BuildHistory, Filesystem, Room, Rule, RuleFilters, Watermarks};

use super::reports::report;
use super::*;

fn filesystem(seed: u64) -> Filesystem {
    Filesystem {
        mount_point: format!("/var/{seed}").into(),
        block: 4096,
        bytes: Room {
            total: seed,
            left: seed + 1,
        },
        inodes: Room {
            total: seed + 2,
            left: seed + 3,
        },
        has_content: seed.is_multiple_of(2),
        snapshotters: ["native", "overlayfs"].map(Into::into).into(),
    }
}

fn excesses() -> Vec<Excess> {
    let all = [
        Measure::Bytes("/a".into()),
        Measure::Inodes("/b".into()),
        Measure::Occupied,
    ];
    let all = all.into_iter().zip(7..);
    all.map(|(of, amount)| Excess { of, amount }).collect()
}

fn filters(all: bool) -> RuleFilters {
    let pairs = [
        "label=a",
        "label=b=c=d",
        "label!=x",
        "until=36h",
        "reference=docker.io/*:1",
        "reference=~^x=y$",
        "larger-than=10GiB",
        "unused-for=1h30m0.5s",
    ];
    let digest = format!("digest={}", digest('d'));
    let pairs = pairs.map(str::to_owned).into_iter().chain([digest]);
    RuleFilters::parse(&pairs.collect::<Vec<_>>(), all).unwrap()
}

fn marks(high: &str, low: &str) -> Option<Watermarks> {
    Watermarks::new(high.parse().unwrap(), low.parse().unwrap()).ok()
}

#[test]
fn policies_come_back() {
    let mut plain = Policy::of_name("plain".parse().unwrap());
    plain.rule.filters = RuleFilters::parse(&[], false).unwrap();
    comes_back::<Policy, proto::Policy>(&plain);
    let full = |schedule| Policy {
        rule: Rule {
            name: "full".parse().unwrap(),
            filters: filters(true),
            min_age: Duration::from_secs(1),
            unused_for: Duration::from_millis(2500),
            keep_newest: 3,
            last_copies: true,
        },
        namespaces: vec![namespace("b"), namespace("a")],
        schedule,
        startup_delay: Duration::from_secs(4),
        pressure: Pressure {
            bytes: marks("85%", "80%"),
            inodes: marks("5B", "6B"),
            max_used: Some(7),
            reserved: 8,
        },
        max_unused: Some(Duration::from_secs(9)),
        max_images: Some(10),
        max_bytes: Some(u64::MAX),
        undo_window: Duration::from_secs(11),
        max_deletes_per_second: Some(12),
        max_io_pressure: Some(13),
        history: BuildHistory::Unpin,
        mode: Mode::DryRun,
    };
    let interval = Schedule::Interval {
        every: Duration::from_secs(300),
        jitter: Duration::from_secs(14),
    };
    let cron = Cron::new("30 3 * * 1-5", "Europe/Vienna").unwrap();
    for schedule in [Schedule::OnDemand, interval, Schedule::Cron(cron)] {
        comes_back::<Policy, proto::Policy>(&full(schedule));
    }
}

#[test]
fn runs_of_policies_come_back() {
    let outcomes = PolicyOutcome::ALL.into_iter().enumerate();
    for (number, outcome) in outcomes {
        let is_even = number % 2 == 0;
        comes_back::<PolicyRun, proto::PolicyRun>(&PolicyRun {
            policy: "nightly".parse().unwrap(),
            trigger: if is_even {
                Trigger::Demand
            } else {
                Trigger::Schedule
            },
            mode: if is_even { Mode::Apply } else { Mode::DryRun },
            began: at("2026-01-02T03:04:05.678901234Z"),
            ended: at("2026-01-02T03:04:06Z"),
            before: vec![filesystem(1), filesystem(20)],
            after: vec![filesystem(30)],
            wanted: excesses(),
            missing: excesses().split_off(1),
            released: vec![(namespace("moby"), RunId("held".to_owned()))],
            reports: vec![report()],
            outcome,
            error: is_even.then(|| "why: cause".to_owned()),
            breakdown: is_even.then(|| Breakdown {
                account: [(Column::InUse, amount(1))].into_iter().collect(),
                other_bytes: 5,
            }),
            warnings: vec!["w".to_owned()],
        });
    }
}

#[test]
fn forecasts_come_back() {
    let at_most = Report {
        mode: Mode::DryRun,
        ..report()
    };
    comes_back::<PolicyForecast, proto::PolicyForecast>(&PolicyForecast {
        policy: "nightly".parse().unwrap(),
        filesystems: vec![filesystem(1)],
        wanted: excesses(),
        namespaces: vec![NamespaceForecast {
            now: report(),
            at_most,
        }],
        warnings: vec!["odd".to_owned()],
    });
}

#[test]
fn remembered_runs_come_back() {
    for (held_until, error) in [
        (None, Some("why".to_owned())),
        (Some(at("2026-01-02T03:04:05Z")), None),
    ] {
        comes_back::<RunRecord, proto::RunRecord>(&RunRecord {
            version: 1,
            policy: "gone".to_owned(),
            trigger: Trigger::Schedule,
            dry_run: true,
            outcome: PolicyOutcome::Capped,
            began: at("2026-01-02T03:04:05.5Z"),
            ended: at("2026-01-02T03:04:06Z"),
            filesystems: vec![FilesystemRecord {
                mount_point: "/var".into(),
                total_bytes: 1,
                left_bytes_before: 2,
                left_bytes_after: 3,
                left_inodes_before: 4,
                left_inodes_after: 5,
            }],
            wanted: vec!["w".to_owned()],
            missing: vec!["m".to_owned()],
            released: vec!["r".to_owned()],
            runs: vec![NamespaceRun {
                namespace: "default".to_owned(),
                run: "run".to_owned(),
                removed: 6,
                kept: 7,
                refused: 8,
                failed: 9,
                estimate_bytes: 10,
                reclaimed_bytes: 11,
                held_until,
            }],
            error,
        });
    }
}

/// A client of another place, or another version, may say anything of a policy.
#[test]
fn what_a_policy_cannot_be_is_refused_by_name() {
    let refused = |change: fn(&mut proto::Policy)| {
        let mut message = proto::Policy::from(&Policy::of_name("p".parse().unwrap()));
        change(&mut message);
        Policy::try_from(message).unwrap_err().to_string()
    };
    assert_eq!(refused(|it| it.schedule = None), "schedule: it is missing");
    assert!(refused(|it| it.filters.push("x=y".to_owned())).starts_with("filters: "));
    assert!(refused(|it| it.name.clear()).starts_with("name: "));
    assert!(refused(|it| it.max_io_pressure = Some(256)).starts_with("max_io_pressure: "));
    let cron = |it: &mut proto::Policy| {
        it.schedule = Some(proto::policy::Schedule::Cron(proto::policy::Cron {
            line: "* * * * *".to_owned(),
            zone: "Mars/Base".to_owned(),
        }));
    };
    assert!(refused(cron).starts_with("cron: "));
}
