//! How many of the images that a policy may remove go, and in which order.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;
use reclaim_model::{CollectorRules, EXPIRE, Goal, KeepReason, LastUse, RootMark, RuleImages};
use reclaim_plan::{decide, eviction_order, limit_by_use};

use super::{HOUR, apart, by_policy, goal, known, lenient, limited, removed, used};
use crate::dependents::loses_nothing;
use crate::disk_usage::sizes;
use crate::random::scenes;
use crate::world::{Part, RecordExt, World, ago, all, bytes, chain, library, request};

#[test]
fn the_least_recently_used_go_until_the_goal_is_met() {
    let world = apart(&["a", "b", "c"]);
    let mut images = lenient();
    images.uses = used(&[("A", 1), ("B", 3), ("C", 2)]);
    let up_to = |amount: u64| {
        let mut images = images.clone();
        images.goals = Some(vec![goal(amount)]);
        limited(&world, &images)
    };
    let first = up_to(1);
    assert_eq!(removed(&first.plan), [library("b:1")]);
    let exactly = first.freed[0];
    assert!(exactly > bytes("b"));
    assert_eq!(removed(&up_to(exactly).plan), [library("b:1")]);
    let more = up_to(exactly + 1);
    assert_eq!(removed(&more.plan), [library("b:1"), library("c:1")]);
    assert_eq!(more.freed, [more.plan.freed.amount().total_bytes()]);
    assert_eq!(removed(&up_to(u64::MAX).plan).len(), 3);
    images.goals = Some(Vec::new());
    assert_eq!(removed(&limited(&world, &images).plan).len(), 0);
    images.max_unused = Some(2 * HOUR);
    let idle = limited(&world, &images);
    assert_eq!(removed(&idle.plan), [library("b:1"), library("c:1")]);
}

#[test]
fn what_frees_nothing_towards_the_goal_is_left_out() {
    let mut world = apart(&["b"]);
    world.manifest(
        "A",
        Part {
            layers: &["b"],
            ..Part::default()
        },
    );
    world.record(&library("a:1"), "A");
    world.within("other").manifest(
        "A",
        Part {
            layers: &["b"],
            ..Part::default()
        },
    );
    world.record(&library("a:1"), "A");
    world.within(World::NAMESPACE);
    let mut images = lenient();
    images.uses = used(&[("A", 2), ("B", 1)]);
    // All content of `a` stays elsewhere, and its snapshots stay here for `b`.
    let only_snapshots = Goal {
        has_content: false,
        ..goal(1)
    };
    images.goals = Some(vec![only_snapshots]);
    let cut = limited(&world, &images);
    // The snapshot of both goes only with both.
    assert_eq!(removed(&cut.plan), [library("a:1"), library("b:1")]);
    world.active("container", &chain("b")).gc.root = RootMark::Exact;
    let cut = limited(&world, &images);
    assert_eq!(removed(&cut.plan), Vec::<&str>::new());
}

/// On two disks, one with the content and one with the snapshots, an image goes only if it frees
/// something on a disk that is still too full.
#[test]
fn only_images_that_free_something_on_a_full_disk_go() {
    let mut world = apart(&["d"]);
    for name in ["a", "b", "c"] {
        let packed = Part {
            layers: &[name],
            is_unpacked: false,
            ..Part::default()
        };
        world.manifest(&name.to_uppercase(), packed);
        world.record(&library(&format!("{name}:1")), &name.to_uppercase());
    }
    let mut images = lenient();
    images.uses = used(&[("A", 4), ("B", 3), ("C", 2), ("D", 1)]);
    let content = |amount: u64| Goal {
        snapshotters: Some(BTreeSet::new()),
        ..goal(amount)
    };
    let snapshots = |amount: u64| Goal {
        has_content: false,
        ..goal(amount)
    };
    let mut gone = |goals: Vec<Goal>, max_images: Option<usize>| {
        images.goals = Some(goals);
        images.max_images = max_images;
        let cut = limited(&world, &images);
        let names = removed(&cut.plan).into_iter().map(str::to_owned);
        (names.collect::<Vec<_>>(), cut.freed)
    };
    assert_eq!(gone(vec![content(1)], None).0, [library("a:1")]);
    // Images that are not unpacked do not use up the cap.
    assert_eq!(gone(vec![snapshots(1)], Some(1)).0, [library("d:1")]);
    let (both, freed) = gone(vec![content(1), snapshots(1)], Some(2));
    assert_eq!(both, [library("a:1"), library("d:1")]);
    let all = gone(vec![content(u64::MAX), snapshots(1)], None).1;
    assert!(freed[0] < all[0] && freed[1] == all[1], "{freed:?} {all:?}");
    // An unmeasured snapshotter is on no disk.
    assert_eq!(gone(vec![content(u64::MAX)], None).0.len(), 4);
}

/// Of images that were used at the same time, the order is that of their names; images that depend on
/// each other have the last of theirs.
#[test]
fn images_that_depend_on_each_other_go_in_the_order_of_their_last_name() {
    for (first, last) in [("A", "Z"), ("Z", "A")] {
        let mut world = apart(&["m"]).with_rules(CollectorRules::V2_3);
        world.image(&library("a:1"), first);
        let past = ago(SignedDuration::from_hours(1)).to_string();
        world
            .image(&library("z:1"), last)
            .label("containerd.io/gc.bref.image", &library("a:1"))
            .label(EXPIRE, &past);
        let mut images = lenient();
        images.uses = used(&[("A", 1), ("M", 1), ("Z", 1)]);
        images.goals = Some(vec![goal(1)]);
        let cut = limited(&world, &images);
        assert_eq!(removed(&cut.plan), [library("m:1")]);
    }
}

#[test]
fn caps_end_a_run_and_say_so() {
    let world = apart(&["a", "b", "c"]);
    let mut images = lenient();
    images.uses = used(&[("A", 3), ("B", 2), ("C", 1)]);
    images.max_images = Some(2);
    let cut = limited(&world, &images);
    assert_eq!(removed(&cut.plan), [library("a:1"), library("b:1")]);
    assert!(cut.is_capped);
    let kept = &cut.plan.kept[0];
    assert_eq!(kept.reason, KeepReason::Capped);
    assert_eq!(kept.holders[0].to_string(), "rule policy.max_images");
    images.max_images = None;
    images.max_bytes = Some(1);
    let cut = limited(&world, &images);
    assert_eq!(removed(&cut.plan), Vec::<&str>::new());
    assert_eq!(
        cut.plan.kept[0].holders[0].to_string(),
        "rule policy.max_bytes"
    );
}

#[test]
fn exactly_a_cap_goes_and_the_one_that_ended_the_run_is_named() {
    let world = apart(&["a", "b", "c"]);
    let mut images = lenient();
    images.uses = used(&[("A", 3), ("B", 2), ("C", 1)]);
    images.max_images = Some(1);
    let first = limited(&world, &images).plan.freed.amount().total_bytes();
    for (max_images, max_bytes, n_removed, cap) in [
        (None, first, 1, "max_bytes"),
        (None, first - 1, 0, "max_bytes"),
        (Some(2), first, 1, "max_bytes"),
        (Some(1), u64::MAX, 1, "max_images"),
    ] {
        images.max_images = max_images;
        images.max_bytes = Some(max_bytes);
        let cut = limited(&world, &images);
        assert_eq!(removed(&cut.plan).len(), n_removed);
        for kept in &cut.plan.kept {
            assert_eq!(kept.reason, KeepReason::Capped);
            assert_eq!(kept.holders[0].to_string(), format!("rule policy.{cap}"));
        }
    }
}

#[test]
fn only_what_a_cap_left_out_is_said_to_be_capped() {
    let mut world = apart(&["a", "b", "used"]);
    world.container("web", "used:1");
    // Frees nothing here: another namespace has it, and nothing of it is unpacked.
    let useless = Part {
        layers: &["useless"],
        is_unpacked: false,
        ..Part::default()
    };
    world.manifest("USELESS", useless);
    world.record(&library("useless:1"), "USELESS");
    world.within("other").manifest("USELESS", useless);
    world.record(&library("useless:1"), "USELESS");
    world.within(World::NAMESPACE);
    let mut images = lenient();
    images.uses = used(&[("USELESS", 4), ("A", 3), ("B", 2), ("USED", 1)]);
    images.goals = Some(vec![goal(u64::MAX)]);
    // The useless image does not count.
    images.max_images = Some(2);
    let cut = limited(&world, &images);
    assert_eq!(removed(&cut.plan), [library("a:1"), library("b:1")]);
    assert!(!cut.is_capped);
    images.max_images = Some(1);
    let cut = limited(&world, &images);
    assert_eq!(removed(&cut.plan), [library("a:1")]);
    let reasons: Vec<_> = cut
        .plan
        .kept
        .iter()
        .map(|it| (&*it.name, it.reason))
        .collect();
    let expected = [
        (&*library("b:1"), KeepReason::Capped),
        (&*library("used:1"), KeepReason::InUse),
        (&*library("useless:1"), KeepReason::NotNeeded),
    ];
    assert_eq!(reasons, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A policy never removes what a prune -a would keep; with a minimum age that is higher it
    /// removes no more; and its order is the eviction order, cut as soon as the goal is met.
    #[test]
    fn a_policy_is_a_careful_prune(
        scene in scenes(),
        hours in prop::collection::vec(0_i64..9, 8),
        least in 0_u64..9,
        amount in 1_u64..60_000_000,
    ) {
        let world = scene.world();
        let inventory = world.inventory();
        let pruned = &inventory.namespaces[&World::NAMESPACE.parse().unwrap()];
        let uses = pruned.images.iter().zip(hours.iter().cycle()).map(|(image, hours)| {
            let moment = ago(SignedDuration::from_hours(*hours));
            let known = LastUse {
                first_seen: moment,
                last_used: moment,
                unused_since: Some(moment),
                spared_until: None,
            };
            (image.target.digest.clone(), known)
        });
        let mut images = lenient();
        images.uses = known(uses.collect());
        images.rule.min_age = HOUR * u32::try_from(least).unwrap();
        let prune = decide(&inventory, &world.registered, &request(all()));
        let going = |images: &RuleImages| {
            let decision = decide(&inventory, &world.registered, &by_policy(images));
            let sizes = sizes(&inventory).remove(&World::NAMESPACE.parse().unwrap());
            decision.into_plan(&sizes.unwrap())
        };
        let plan = going(&images);
        let kept: BTreeSet<&str> = prune.kept().iter().map(|it| it.name.as_str()).collect();
        for step in &plan.steps {
            prop_assert!(!kept.contains(step.image.name.as_str()));
            let known = images.uses.targets[&step.image.target.digest];
            let idle = images.uses.now.duration_since(known.last_used);
            prop_assert!(idle >= SignedDuration::try_from(images.rule.min_age).unwrap());
        }
        let mut stricter = images.clone();
        stricter.rule.min_age += HOUR;
        let fewer = going(&stricter);
        let all_names: BTreeSet<&str> = removed(&plan).into_iter().collect();
        prop_assert!(removed(&fewer).iter().all(|it| all_names.contains(it)));

        images.goals = Some(vec![goal(amount)]);
        let candidates = eviction_order(&plan, &inventory, &images);
        prop_assert!(candidates.is_sorted_by(|a, b| (a.used, a.pulled, &a.name) <= (b.used, b.pulled, &b.name)));
        let certain = plan.at_least().total_bytes();
        prop_assert_eq!(candidates.iter().map(|it| it.frees[0]).sum::<u64>(), certain);
        let cut = limit_by_use(plan, &inventory, &images);
        prop_assert!(cut.freed[0] >= amount.min(certain));
        loses_nothing(&world, &cut.plan)?;
        // Without its last step, something would be missing.
        let mut sum = 0;
        for rung in &candidates {
            if sum >= amount {
                break;
            }
            sum += rung.frees[0];
        }
        prop_assert_eq!(cut.freed[0], sum);
        prop_assert_eq!(cut.plan.at_least().total_bytes(), sum);
    }
}
