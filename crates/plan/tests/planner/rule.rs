//! What a maintenance policy lets go, and in which order.

mod last_copies;
mod limits;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Digest, DigestFilter, Goal, GoalUnit, KeepReason, LastUse, LastUses, Plan, PolicyPart,
    ResolvedRequest, Rule, RuleFilters, RuleImages, SnapshotSizes,
};
use reclaim_plan::{Limited, decide, limit_by_use};

use crate::disk_usage::sizes;
use crate::world::{
    OVERLAY, Outcome, Part, RecordExt, World, ago, all, bytes, digest, id, library,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A policy that removes everything unused, of any age.
pub(crate) fn lenient() -> RuleImages {
    RuleImages {
        rule: Rule {
            name: "policy".parse().unwrap(),
            filters: RuleFilters::default(),
            min_age: Duration::ZERO,
            unused_for: Duration::ZERO,
            keep_newest: 0,
            last_copies: true,
        },
        filters: all(),
        uses: Arc::default(),
        registries: Arc::default(),
        part: PolicyPart::Images,
        docker_layers: false,
        goals: None,
        max_unused: None,
        max_images: None,
        max_bytes: None,
        inodes: SnapshotSizes::default(),
    }
}

pub(crate) fn by_policy(images: &RuleImages) -> ResolvedRequest {
    ResolvedRequest::new(World::NAMESPACE.parse().unwrap(), images.clone())
        .may_empty_namespace(true)
}

fn evaluated(world: &World, images: &RuleImages) -> Outcome {
    world.decide(&by_policy(images))
}

/// Targets and the hours since their last use.
pub(crate) fn used(hours: &[(&str, i64)]) -> Arc<LastUses> {
    let uses = hours.iter().map(|(target, hours)| {
        let moment = ago(SignedDuration::from_hours(*hours));
        let known = LastUse {
            first_seen: moment,
            last_used: moment,
            unused_since: Some(moment),
            spared_until: None,
        };
        (digest(target), known)
    });
    known(uses.collect())
}

/// These uses on a clock of their own, far from the wall clock.
pub(crate) fn known(mut targets: BTreeMap<Digest, LastUse>) -> Arc<LastUses> {
    let own = |time: Timestamp| time - SignedDuration::from_hours(400_000);
    for seen in targets.values_mut() {
        *seen = LastUse {
            first_seen: own(seen.first_seen),
            last_used: own(seen.last_used),
            unused_since: seen.unused_since.map(own),
            spared_until: seen.spared_until.map(own),
        };
    }
    let now = own(ago(SignedDuration::ZERO));
    Arc::new(LastUses { now, targets })
}

pub(crate) fn goal(amount: u64) -> Goal {
    Goal {
        unit: GoalUnit::Bytes { block: 1 },
        amount,
        has_content: true,
        snapshotters: Some(BTreeSet::from([OVERLAY.into()])),
    }
}

pub(crate) fn limited(world: &World, images: &RuleImages) -> Limited {
    let inventory = world.inventory();
    let decision = decide(&inventory, &world.registered, &by_policy(images));
    let sizes = sizes(&inventory).remove(&World::NAMESPACE.parse().unwrap());
    limit_by_use(decision.into_plan(&sizes.unwrap()), &inventory, images)
}

fn removed(plan: &Plan) -> Vec<&str> {
    let steps = plan.steps.iter();
    steps.map(|step| step.image.name.as_str()).collect()
}

/// Images that share nothing: `a`, `b` and so on.
fn apart(names: &[&str]) -> World {
    let mut world = World::new();
    for name in names {
        let part = Part {
            layers: &[name],
            ..Part::default()
        };
        world.manifest(&name.to_uppercase(), part);
        world.record(&library(&format!("{name}:1")), &name.to_uppercase());
    }
    world
}

#[test]
fn a_pinned_image_outlives_every_policy() {
    let mut world = apart(&["app", "other"]);
    let pin = ("io.cri-containerd.pinned", "pinned");
    for ours in [false, true] {
        let record = &mut world.here().images[0];
        record.label(pin.0, pin.1);
        if ours {
            record.label("reclaim/pinned", "2026-01-02T03:04:05Z");
        }
        let images = RuleImages {
            goals: Some(vec![goal(u64::MAX)]),
            ..lenient()
        };
        let limited = limited(&world, &images);
        assert_eq!(removed(&limited.plan), [library("other:1")]);
        let kept = &limited.plan.kept[0];
        assert_eq!(kept.reason, KeepReason::Pinned);
        let label = if ours { "reclaim/pinned" } else { pin.0 };
        assert_eq!(kept.holders[0].to_string(), format!("label {label}"));
    }
}

#[test]
fn each_rule_keeps_and_names_itself() {
    let world = apart(&["app", "other"]);
    let app = library("app:1");
    let rule = |change: &dyn Fn(&mut Rule)| {
        let mut images = lenient();
        change(&mut images.rule);
        images
    };
    let cases = [
        (
            rule(&|rule| rule.filters.images.references = vec!["other".parse().unwrap()]),
            KeepReason::RuleFilter,
            "rule policy.filters reference",
        ),
        (
            rule(&|rule| rule.filters.images.digests = vec![DigestFilter::Whole(digest("OTHER"))]),
            KeepReason::RuleFilter,
            "rule policy.filters digest",
        ),
        (
            rule(&|rule| {
                let size = bytes("APP") + bytes("APP.config") + bytes("app");
                rule.filters.images.larger_than = size + 1;
            }),
            KeepReason::RuleFilter,
            "rule policy.filters larger-than",
        ),
        (
            rule(&|rule| rule.last_copies = false),
            KeepReason::LastCopy,
            "rule policy.last_copies",
        ),
        (
            rule(&|rule| rule.min_age = HOUR),
            KeepReason::TooYoung,
            "rule policy.min_age",
        ),
        (
            rule(&|rule| rule.unused_for = HOUR),
            KeepReason::UsedRecently,
            "rule policy.unused_for",
        ),
        (
            rule(&|rule| rule.filters.images.unused_for = HOUR),
            KeepReason::UsedRecently,
            "rule policy.unused_for",
        ),
        (
            rule(&|rule| rule.keep_newest = 1),
            KeepReason::Newest,
            "rule policy.keep_newest",
        ),
    ];
    for (images, reason, holder) in cases {
        let outcome = evaluated(&world, &images);
        assert_eq!(outcome.reason(&app), reason, "{holder}");
        assert_eq!(outcome.holders(&app), [holder]);
    }
    assert_eq!(evaluated(&world, &lenient()).removed().len(), 2);
}

#[test]
fn at_exactly_its_age_an_image_goes() {
    let world = apart(&["app"]);
    let with_age = |age: Duration| {
        let mut images = lenient();
        images.rule.min_age = age;
        images.uses = used(&[("APP", 2)]);
        evaluated(&world, &images).removed().len()
    };
    assert_eq!(with_age(2 * HOUR), 1);
    assert_eq!(with_age(2 * HOUR + Duration::from_nanos(1)), 0);
    let with_idleness = |idle: Duration| {
        let mut images = lenient();
        images.rule.unused_for = idle;
        images.uses = used(&[("APP", 2)]);
        evaluated(&world, &images).removed().len()
    };
    assert_eq!(with_idleness(2 * HOUR), 1);
    assert_eq!(with_idleness(2 * HOUR + Duration::from_nanos(1)), 0);
}

#[test]
fn at_exactly_its_size_an_image_goes() {
    let world = apart(&["app"]);
    let size = bytes("APP") + bytes("APP.config") + bytes("app");
    for (larger_than, n_removed) in [(size - 1, 1), (size, 1), (size + 1, 0)] {
        let mut images = lenient();
        images.rule.filters.images.larger_than = larger_than;
        assert_eq!(evaluated(&world, &images).removed().len(), n_removed);
    }
}

#[test]
fn a_leap_of_the_wall_clock_ages_nothing() {
    let mut world = apart(&["app"]);
    // Written in 1970, before the clock was set.
    world.here().images[0].created_at = Some(Timestamp::UNIX_EPOCH);
    world.here().images[0].updated_at = None;
    let with = |change: &dyn Fn(&mut RuleImages)| {
        let mut images = lenient();
        images.uses = used(&[("APP", 2)]);
        change(&mut images);
        let outcome = evaluated(&world, &images);
        outcome.plan.kept.first().map(|kept| kept.reason)
    };
    assert_eq!(with(&|images| images.rule.min_age = 2 * HOUR), None);
    let young = with(&|images| images.rule.min_age = 3 * HOUR);
    assert_eq!(young, Some(KeepReason::TooYoung));
    let recent = with(&|images| images.rule.unused_for = 3 * HOUR);
    assert_eq!(recent, Some(KeepReason::UsedRecently));
    let unknown = with(&|images| {
        images.rule.min_age = HOUR;
        images.uses = known(BTreeMap::new());
    });
    assert_eq!(unknown, Some(KeepReason::TooYoung));
}

#[test]
fn one_check_alone_does_not_prove_an_image_unused() {
    let world = apart(&["app"]);
    let kept_by = |first_check: Option<SignedDuration>, idle: Duration| {
        let seen = LastUse {
            first_seen: ago(SignedDuration::from_hours(9)),
            last_used: ago(SignedDuration::from_hours(9)),
            unused_since: first_check.map(ago),
            spared_until: None,
        };
        let mut images = lenient();
        images.rule.unused_for = idle;
        images.uses = known([(digest("APP"), seen)].into());
        let outcome = evaluated(&world, &images);
        outcome.plan.kept.first().map(|kept| kept.holders.clone())
    };
    let once = "rule policy.unused_for, seen unused only once";
    for first_check in [None, Some(SignedDuration::from_secs(59))] {
        let holders = kept_by(first_check, HOUR).expect("it stays");
        assert_eq!(holders[0].to_string(), once);
    }
    assert_eq!(kept_by(Some(SignedDuration::from_secs(60)), HOUR), None);
    // A rule of seconds asks for no more than that.
    let short = Duration::from_secs(5);
    assert!(kept_by(Some(SignedDuration::from_secs(4)), short).is_some());
    assert_eq!(kept_by(Some(SignedDuration::from_secs(5)), short), None);
    assert!(kept_by(None, short).is_some());
    // Without such a rule the check of the plan is enough.
    assert_eq!(kept_by(None, Duration::ZERO), None);
}

#[test]
fn what_came_back_is_spared_for_a_while() {
    let world = apart(&["app"]);
    let mut images = lenient();
    let spared_until = |hours: i64| {
        let known = LastUse {
            first_seen: ago(SignedDuration::from_hours(9)),
            last_used: ago(SignedDuration::from_hours(9)),
            unused_since: None,
            spared_until: Some(ago(SignedDuration::from_hours(-hours))),
        };
        self::known([(digest("APP"), known)].into())
    };
    images.uses = spared_until(1);
    assert_eq!(
        evaluated(&world, &images).reason(&library("app:1")),
        KeepReason::Repulled
    );
    images.uses = spared_until(0);
    assert_eq!(evaluated(&world, &images).removed().len(), 1);
}

#[test]
fn the_newest_of_each_repository_stay() {
    let mut world = World::new();
    for (hours, target) in [(1, "C"), (2, "B"), (3, "A")] {
        let part = Part {
            layers: &[target],
            ..Part::default()
        };
        world.manifest(target, part);
        let record = world.record(&library(&format!("app:{target}")), target);
        record.created(ago(SignedDuration::from_hours(hours)));
        record.updated_at = None;
    }
    world.record(&library("other:1"), "A");
    let mut images = lenient();
    images.rule.keep_newest = 2;
    let outcome = evaluated(&world, &images);
    // `A` is the newest of `other`, and goes with all its names or not at all.
    assert_eq!(outcome.removed(), Vec::<&str>::new());
    images.rule.keep_newest = 1;
    let outcome = evaluated(&world, &images);
    assert_eq!(outcome.removed(), [library("app:B")]);
    // The CRI plugin's records by ID look like those of one repository, and are of none.
    for record in &mut world.here().images {
        record.name = id(&record.name);
    }
    world.here().images.pop();
    assert_eq!(evaluated(&world, &images).removed().len(), 3);
}
