use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{Digest, Holder, LastUse, Mode, RunId};

use super::*;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn policy() -> Policy {
    Policy {
        max_unused: Some(Duration::from_secs(30 * 24 * 60 * 60)),
        ..Policy::of_name("p".parse().unwrap())
    }
}

fn namespace() -> Namespace {
    "default".parse().unwrap()
}

fn now() -> Timestamp {
    "2026-03-15T04:30:00Z".parse().unwrap()
}

fn basis() -> Basis {
    Basis {
        events: 7,
        containers: Vec::new(),
        protection: Arc::default(),
        clock: ClockReading {
            wall: now(),
            is_synchronized: true,
            boot: "1".to_owned(),
            since_boot: DAY,
        },
    }
}

/// Returns the basis after this time.
fn later(mut basis: Basis, by: SignedDuration) -> Basis {
    basis.clock.wall += by;
    basis.clock.since_boot += by;
    basis
}

/// Changes one part of a basis.
type Change = fn(&mut Basis);

fn target() -> Digest {
    format!("sha256:{}", "a".repeat(64)).parse().unwrap()
}

fn kept(reason: KeepReason, holders: &[HolderKind]) -> Kept {
    Kept {
        name: "app:1".to_owned(),
        target: target(),
        reason,
        holders: holders.iter().map(|it| Holder::new(*it, "h")).collect(),
    }
}

/// Returns the report of a step that kept one image.
fn report(kept: Kept) -> Report {
    let mut report = Report::new(RunId("run".to_owned()), namespace(), Mode::Apply);
    report.kept.push(kept);
    report
}

fn needless() -> Report {
    report(kept(KeepReason::NotNeeded, &[]))
}

/// Returns what is known about an image that was last used this long ago.
fn unused_for(age: SignedDuration) -> LastUse {
    LastUse {
        first_seen: now() - 90 * DAY,
        last_used: now() - age,
        unused_since: Some(now() - age.min(HOUR)),
        spared_until: None,
    }
}

fn uses(last: LastUse) -> LastUses {
    LastUses {
        now: now(),
        targets: [(target(), last)].into(),
    }
}

fn lasting(policy: &Policy, report: &Report, last: LastUse) -> Option<SignedDuration> {
    let here = namespace();
    let step = Step {
        policy,
        part: PolicyPart::Images,
        namespace: &here,
    };
    lasts(step, report, &uses(last))
}

#[test]
fn each_difference_of_the_basis_ends_the_quiet() {
    let (policy, here, there) = (policy(), namespace(), "other".parse().unwrap());
    let step = Step {
        policy: &policy,
        part: PolicyPart::Images,
        namespace: &here,
    };
    let steps = QuietSteps::default();
    assert!(!steps.is_quiet(step, &basis()), "the daemon starts");
    let first = basis();
    let before = (first.clone(), uses(unused_for(DAY)));
    steps.note(step, Some(before.clone()), &needless());
    assert!(steps.is_quiet(step, &first));
    let slewed = SignedDuration::from_secs(2);
    let mut changed = later(first.clone(), HOUR - slewed);
    changed.clock.wall += slewed;
    assert!(steps.is_quiet(step, &changed), "NTP slews the clock");

    let differences: [(&str, Change); 7] = [
        ("an event, or another connection", |now| now.events += 1),
        ("containers", |now| {
            now.containers.push(Container::default());
        }),
        ("a configuration", |now| now.protection = Arc::default()),
        ("the clock forward", |now| now.clock.wall += HOUR),
        ("the clock back", |now| now.clock.wall -= HOUR),
        ("another boot", |now| now.clock.boot = "2".to_owned()),
        ("time before the step", |now| now.clock.since_boot -= HOUR),
    ];
    for (what, change) in differences {
        let mut now = first.clone();
        change(&mut now);
        assert!(!steps.is_quiet(step, &now), "{what}");
    }
    assert!(
        !steps.is_quiet(step, &later(first.clone(), HOUR)),
        "an hour"
    );
    let elsewhere = Step {
        namespace: &there,
        ..step
    };
    assert!(!steps.is_quiet(elsewhere, &first));
    let parts = Step {
        part: PolicyPart::Snapshots,
        ..step
    };
    assert!(!steps.is_quiet(parts, &first));

    steps.note(step, None, &needless());
    assert!(
        !steps.is_quiet(step, &first),
        "a result that must not count"
    );
    steps.note(parts, Some(before), &needless());
    assert!(!steps.is_quiet(parts, &first), "parts of images");
}

#[test]
fn a_result_counts_until_an_image_is_due() {
    let policy = policy();
    let minute = SignedDuration::from_mins(1);
    let for_days = |last| lasting(&policy, &needless(), last);
    assert_eq!(for_days(unused_for(DAY)), Some(HOUR), "not due for long");
    assert_eq!(for_days(unused_for(30 * DAY - minute)), Some(minute));
    assert_eq!(
        for_days(unused_for(31 * DAY)),
        Some(HOUR),
        "stays although due"
    );
    let seen_once = |since| LastUse {
        unused_since: since,
        ..unused_for(31 * DAY)
    };
    assert_eq!(for_days(seen_once(None)), None, "the next scan");
    assert_eq!(for_days(seen_once(Some(now()))), None, "a minute");
    let spared = LastUse {
        spared_until: Some(now() + minute),
        ..unused_for(31 * DAY)
    };
    assert_eq!(for_days(spared), Some(minute), "a re-pull");

    let mut short = policy.clone();
    short.rule.unused_for = Duration::from_secs(60);
    let used_now = unused_for(SignedDuration::ZERO);
    assert_eq!(lasting(&short, &needless(), used_now), Some(minute));
    let mut filtered = policy.clone();
    filtered.rule.filters.images.unused_for = Duration::from_secs(60);
    assert_eq!(lasting(&filtered, &needless(), used_now), Some(minute));
    let (step, unknown) = (
        namespace(),
        LastUses {
            now: now(),
            ..LastUses::default()
        },
    );
    let step = Step {
        policy: &short,
        part: PolicyPart::Images,
        namespace: &step,
    };
    assert_eq!(
        lasts(step, &needless(), &unknown),
        Some(minute),
        "unknown means now"
    );
}

#[test]
fn reasons_that_end_without_an_event_do_not_count() {
    let mut policy = policy();
    let is_quiet = |policy: &Policy, reason, holders: &[HolderKind]| {
        let report = report(kept(reason, holders));
        lasting(policy, &report, unused_for(DAY)).is_some()
    };
    for reason in [
        KeepReason::TooYoung,
        KeepReason::TooRecent,
        KeepReason::UsageUnknown,
        KeepReason::Unreadable,
        KeepReason::DependentStays,
        KeepReason::Capped,
        KeepReason::LayersMissing,
    ] {
        assert!(!is_quiet(&policy, reason, &[]), "{reason:?}");
    }
    let in_use = KeepReason::InUse;
    assert!(is_quiet(&policy, in_use, &[HolderKind::Container]));
    assert!(is_quiet(
        &policy,
        in_use,
        &[HolderKind::Lease, HolderKind::Container]
    ));
    for holder in [HolderKind::Lease, HolderKind::Sandbox, HolderKind::Snapshot] {
        assert!(!is_quiet(&policy, in_use, &[holder]), "{holder:?}");
    }
    assert!(!is_quiet(&policy, in_use, &[]));
    assert!(is_quiet(&policy, KeepReason::LastCopy, &[]));
    policy.ask_registry = true;
    assert!(!is_quiet(&policy, KeepReason::LastCopy, &[]));
}

#[test]
fn a_step_with_news_does_not_count() {
    let policy = policy();
    let mut warned = needless();
    warned.warnings.push("cannot list snapshots".to_owned());
    assert_eq!(lasting(&policy, &warned, unused_for(DAY)), None);
    let mut unfinished = needless();
    unfinished.unfinished = Some("cannot collect".to_owned());
    assert_eq!(lasting(&policy, &unfinished, unused_for(DAY)), None);
}
