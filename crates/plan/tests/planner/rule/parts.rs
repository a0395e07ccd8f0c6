//! Which parts of images a policy frees, and of which images first.

use std::sync::Arc;

use reclaim_model::{
    Goal, KeepReason, Mode, Part, PolicyPart, RegistryAnswer, RegistryImage, Report, RootMark,
    RuleImages, RunId,
};
use reclaim_plan::{Limited, after, no_longer_cut};

use super::{HOUR, apart, by_policy, evaluated, goal, lenient, limited, removed, used};
use crate::slim::cut;
use crate::world::{self, ContainerExt, World, chain, content, digest, library};

const SOURCE: &str = "containerd.io/distribution.source.docker.io";

/// A policy that frees one part of everything.
fn freeing(part: PolicyPart) -> RuleImages {
    RuleImages { part, ..lenient() }
}

fn slimmed(cut: &Limited) -> Vec<&str> {
    let slimmed = cut.plan.slimmed.iter();
    slimmed.map(|image| image.name.as_str()).collect()
}

#[track_caller]
fn assert_kept(world: &World, images: &RuleImages, name: &str, reason: KeepReason, rule: &str) {
    let outcome = evaluated(world, images);
    assert_eq!(outcome.reason(&library(name)), reason);
    assert_eq!(
        outcome.holders(&library(name)),
        [format!("rule policy.{rule}")]
    );
}

#[test]
fn the_least_recently_used_lose_their_snapshots_until_the_goal_is_met() {
    let world = apart(&["a", "b", "c"]);
    let mut images = freeing(PolicyPart::Snapshots);
    images.uses = used(&[("A", 1), ("B", 3), ("C", 2)]);
    let up_to = |amount: u64| {
        let mut images = images.clone();
        images.goals = Some(vec![goal(amount)]);
        limited(&world, &images)
    };
    let first = up_to(1);
    assert_eq!(slimmed(&first), [library("b:1")]);
    let exactly = first.freed[0];
    assert_eq!(slimmed(&up_to(exactly)), [library("b:1")]);
    let more = up_to(exactly + 1);
    assert_eq!(slimmed(&more), [library("b:1"), library("c:1")]);
    assert_eq!(more.freed, [more.plan.freed.amount().total_bytes()]);
    assert!(more.plan.freed.blobs.is_empty() && more.plan.steps.is_empty());
    assert_eq!(more.plan.cuts.len(), 2);
    let [kept] = &more.plan.kept[..] else {
        panic!("{:?}", more.plan.kept)
    };
    assert_eq!(kept.reason, KeepReason::NotNeeded);
    images.goals = Some(Vec::new());
    assert_eq!(slimmed(&limited(&world, &images)).len(), 0);
    images.max_unused = Some(2 * HOUR);
    let idle = limited(&world, &images);
    assert_eq!(slimmed(&idle), [library("b:1"), library("c:1")]);
}

#[test]
fn only_the_part_on_the_full_disk_goes() {
    let mut world = apart(&["a"]);
    world.labelled_blob("A", &[(SOURCE.to_owned(), "library/a".to_owned())]);
    let content = Goal {
        snapshotters: Some(std::collections::BTreeSet::new()),
        ..goal(1)
    };
    let snapshots = Goal {
        has_content: false,
        ..goal(1)
    };
    for (part, full, expected) in [
        (PolicyPart::Snapshots, &content, 0),
        (PolicyPart::Snapshots, &snapshots, 1),
        (PolicyPart::Layers, &content, 1),
        (PolicyPart::Layers, &snapshots, 0),
    ] {
        let mut images = freeing(part);
        images.goals = Some(vec![full.clone()]);
        let cut = limited(&world, &images);
        assert_eq!(cut.plan.cuts.len(), expected, "{part}");
    }
}

#[test]
fn caps_end_a_slim_and_say_so() {
    let world = apart(&["a", "b", "c"]);
    let mut images = freeing(PolicyPart::Snapshots);
    images.uses = used(&[("A", 3), ("B", 2), ("C", 1)]);
    images.max_images = Some(2);
    let cut = limited(&world, &images);
    assert_eq!(slimmed(&cut), [library("a:1"), library("b:1")]);
    assert_eq!(cut.plan.kept[0].reason, KeepReason::Capped);
    images.max_images = None;
    images.max_bytes = Some(1);
    let cut = limited(&world, &images);
    assert_eq!((slimmed(&cut).len(), cut.plan.cuts.len()), (0, 0));
    let cap = &cut.plan.kept[0].holders[0];
    assert_eq!(cap.to_string(), "rule policy.max_bytes");
}

/// Of two images that were unpacked to the same snapshots, one alone frees nothing.
#[test]
fn what_images_share_goes_with_the_last_of_them() {
    let mut world = apart(&["c"]);
    for name in ["A", "B"] {
        let part = world::Part {
            layers: &["shared"],
            ..world::Part::default()
        };
        world.manifest(name, part);
        world.record(&library(&format!("{}:1", name.to_lowercase())), name);
    }
    let mut images = freeing(PolicyPart::Snapshots);
    images.uses = used(&[("A", 3), ("B", 2), ("C", 1)]);
    images.goals = Some(vec![goal(1)]);
    let both = limited(&world, &images);
    assert_eq!(slimmed(&both), [library("a:1"), library("b:1")]);
    // A cap that leaves one of them out leaves both whole.
    images.max_images = Some(1);
    images.goals = None;
    let one = limited(&world, &images);
    assert_eq!((slimmed(&one).len(), one.plan.cuts.len()), (0, 0));
    assert_eq!(one.plan.freed.amount().total_bytes(), 0);
    // A container of one keeps the snapshots of both.
    world.active("web", &chain("shared"));
    world
        .here()
        .snapshots
        .values_mut()
        .flatten()
        .for_each(|it| {
            if &*it.key == "web" {
                it.gc.root = RootMark::Exact;
            }
        });
    images.max_images = None;
    images.goals = Some(vec![goal(1)]);
    assert_eq!(slimmed(&limited(&world, &images)), [library("c:1")]);
}

#[test]
fn an_image_that_a_rule_keeps_stays_whole() {
    let mut world = apart(&["a"]);
    world.labelled_blob("A", &[(SOURCE.to_owned(), "library/a".to_owned())]);
    for part in [PolicyPart::Snapshots, PolicyPart::Layers] {
        let mut images = freeing(part);
        images.uses = used(&[("A", 2)]);
        assert_eq!(slimmed(&limited(&world, &images)), [library("a:1")]);
        let with = |change: fn(&mut RuleImages)| {
            let mut images = images.clone();
            change(&mut images);
            images
        };
        let young = with(|it| it.rule.min_age = 3 * HOUR);
        assert_kept(&world, &young, "a:1", KeepReason::TooYoung, "min_age");
        let recent = with(|it| it.rule.unused_for = 3 * HOUR);
        assert_kept(
            &world,
            &recent,
            "a:1",
            KeepReason::UsedRecently,
            "unused_for",
        );
        let newest = with(|it| it.rule.keep_newest = 1);
        assert_kept(&world, &newest, "a:1", KeepReason::Newest, "keep_newest");
        let filtered = with(|it| it.rule.filters.images.larger_than = u64::MAX);
        assert_kept(
            &world,
            &filtered,
            "a:1",
            KeepReason::RuleFilter,
            "filters larger-than",
        );
        let dangling = with(|it| it.filters.dangling = None);
        let outcome = evaluated(&world, &dangling);
        assert_eq!(outcome.reason(&library("a:1")), KeepReason::NotDangling);
    }
}

/// Containers do not need the layers of their image, whatever `min_age` says about its last use.
#[test]
fn an_image_in_use_loses_its_layers_unless_it_has_to_be_unused() {
    let mut world = apart(&["a"]);
    world.labelled_blob("A", &[(SOURCE.to_owned(), "library/a".to_owned())]);
    world.active("web", &chain("a"));
    world.container("web", "a:1").on("web");
    let mut images = freeing(PolicyPart::Layers);
    let mut uses = used(&[("A", 5)]);
    let uses_now = uses.now;
    Arc::make_mut(&mut uses)
        .targets
        .get_mut(&digest("A"))
        .unwrap()
        .last_used = uses_now;
    images.uses = uses;
    images.rule.min_age = 2 * HOUR;
    assert_eq!(slimmed(&limited(&world, &images)), [library("a:1")]);
    images.rule.min_age = 6 * HOUR;
    assert_kept(&world, &images, "a:1", KeepReason::TooYoung, "min_age");
    images.rule.min_age = HOUR;
    images.rule.unused_for = HOUR;
    assert_kept(
        &world,
        &images,
        "a:1",
        KeepReason::UsedRecently,
        "unused_for",
    );
    images.part = PolicyPart::Snapshots;
    let outcome = evaluated(&world, &images);
    assert_eq!(outcome.reason(&library("a:1")), KeepReason::InUse);
}

#[test]
fn layers_stay_if_no_registry_is_known_to_have_them() {
    let world = apart(&["a"]);
    let mut images = freeing(PolicyPart::Layers);
    images.rule.last_copies = false;
    assert_kept(&world, &images, "a:1", KeepReason::LastCopy, "last_copies");
    // The layers stay, so the snapshots may go.
    images.part = PolicyPart::Snapshots;
    assert_eq!(slimmed(&limited(&world, &images)), [library("a:1")]);
    images.part = PolicyPart::Layers;
    let name = reclaim_model::Reference::parse_normalized(&library("a:1")).unwrap();
    let asked = RegistryImage::new(&name, &digest("A"));
    images.registries = Arc::new([(asked, RegistryAnswer::Has)].into());
    assert_eq!(slimmed(&limited(&world, &images)), [library("a:1")]);
    images.registries = Arc::default();
    images.rule.last_copies = true;
    assert_eq!(slimmed(&limited(&world, &images)), [library("a:1")]);
}

#[test]
fn layers_of_docker_need_a_key_of_their_own() {
    let mut world = apart(&["a"]);
    world.here().is_dockers = true;
    let mut images = freeing(PolicyPart::Layers);
    let outcome = evaluated(&world, &images);
    assert_eq!(outcome.reason(&library("a:1")), KeepReason::DockerLayers);
    images.docker_layers = true;
    assert_eq!(slimmed(&limited(&world, &images)), [library("a:1")]);
}

/// Two builds whose history holds what was unpacked of them.
fn history() -> World {
    let mut world = World::new();
    for name in ["old", "older"] {
        let part = world::Part {
            layers: &["base", name],
            ..world::Part::default()
        };
        world.manifest(name, part);
        let config = content(&format!("{name}.config"));
        world.lease(&format!("history-{name}"), &[config]);
    }
    world
}

#[test]
fn build_history_goes_as_far_as_needed() {
    let mut images = freeing(PolicyPart::BuildHistory);
    let all = limited(&history(), &images);
    assert_eq!(all.plan.cuts.len(), 2);
    assert_eq!(all.plan.freed.snapshots.len(), 3);
    images.goals = Some(vec![goal(1)]);
    // The base goes only with both.
    let some = limited(&history(), &images);
    assert_eq!(some.plan.cuts.len(), 1);
    assert_eq!(some.plan.cuts[0].part, Part::BuildHistory);
    assert_eq!(some.plan.freed.snapshots.len(), 1);
    images.goals = Some(vec![goal(some.freed[0] + 1)]);
    assert_eq!(limited(&history(), &images).plan.cuts.len(), 2);
    images.goals = Some(Vec::new());
    assert_eq!(limited(&history(), &images).plan.cuts.len(), 0);
}

/// Images whose snapshots went in a step before keep their layers, and are removed whole in a later
/// one, which frees only the rest.
#[test]
fn a_later_step_sees_what_the_earlier_ones_left() {
    let mut world = apart(&["a", "b"]);
    for name in ["A", "B"] {
        let repository = format!("library/{}", name.to_lowercase());
        world.labelled_blob(name, &[(SOURCE.to_owned(), repository)]);
    }
    let mut images = freeing(PolicyPart::Snapshots);
    images.uses = used(&[("A", 2), ("B", 1)]);
    images.goals = Some(vec![goal(1)]);
    let first = limited(&world, &images).plan;
    let mut inventory = world.inventory();
    let namespace = World::NAMESPACE.parse().unwrap();
    let mut report = Report::new(RunId("1".to_owned()), namespace, Mode::DryRun);
    report.cuts = first.cuts.clone();
    report.freed = first.freed.clone();
    after(&mut inventory, &report);
    // The same as what a run leaves.
    let mut left = cut(&world, &first.cuts);
    let rules = left.rules;
    let here = left.within(World::NAMESPACE).here();
    *here = crate::naive::collected(here, rules);
    let collected = left.inventory();
    assert_eq!(
        format!("{:?}", inventory.namespaces),
        format!("{:?}", collected.namespaces)
    );
    images.part = PolicyPart::Layers;
    images.goals = None;
    let layers = limited(&left, &images);
    assert_eq!(slimmed(&layers), [library("b:1")]);
    images.part = PolicyPart::Images;
    let last = limited(&left, &images);
    assert_eq!(removed(&last.plan), [library("a:1"), library("b:1")]);
    let snapshots = last.plan.freed.snapshots.iter();
    let keys: Vec<String> = snapshots.map(|it| it.id.key.to_string()).collect();
    assert_eq!(keys, [chain("b")]);
}

/// The second look plans again with the labels restored: a new user gets its part back.
#[test]
fn the_second_look_keeps_what_came_into_use() {
    let mut world = apart(&["a", "b"]);
    let mut images = freeing(PolicyPart::Snapshots);
    images.uses = used(&[("A", 2), ("B", 1)]);
    images.goals = Some(vec![goal(1)]);
    let cuts = limited(&world, &images).plan.cuts;
    let request = by_policy(&images);
    let unchanged = cut(&world, &cuts).inventory();
    assert_eq!(no_longer_cut(unchanged, &[], &request, &cuts), []);
    world.active("web", &chain("a"));
    world.container("web", "a:1").on("web");
    let used = cut(&world, &cuts).inventory();
    assert_eq!(no_longer_cut(used, &[], &request, &cuts), cuts);
}
