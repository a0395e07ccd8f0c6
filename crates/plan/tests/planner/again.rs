//! Deciding again on what was removed by name: what has become used comes back.

use std::collections::BTreeSet;

use reclaim_model::{EXPIRE, KeepReason, Kept, NamedImages, ResolvedRequest, SnapshotKind};
use reclaim_plan::decide_again;

use crate::world::{ContainerExt, RecordExt, World, ago, all, chain, id, library, request};

fn by_name() -> ResolvedRequest {
    ResolvedRequest::new(
        World::NAMESPACE.parse().unwrap(),
        NamedImages {
            names: Vec::new(),
            force: false,
            prune_parents: true,
        },
    )
}

/// What has to come back of `removed`, in a world that shows them as if they were there.
fn back(world: &World, request: &ResolvedRequest, removed: &[&str]) -> Vec<Kept> {
    let inventory = world.inventory();
    let removed: BTreeSet<&str> = removed.iter().copied().collect();
    let decision = decide_again(&inventory, &world.registered, request, &removed);
    let kept = decision.kept().iter();
    let kept = kept.filter(|it| removed.contains(it.name.as_str()));
    kept.cloned().collect()
}

fn names(kept: &[Kept]) -> Vec<&str> {
    kept.iter().map(|it| it.name.as_str()).collect()
}

#[test]
fn what_is_unused_stays_removed_and_the_others_were_not_requested() {
    let (a, b) = (library("a:1"), library("b:1"));
    let mut world = World::new();
    world.image(&a, "A");
    world.image(&b, "B");
    world.container("web", &b);
    assert_eq!(back(&world, &by_name(), &[&a]), []);
    let inventory = world.inventory();
    let removed = BTreeSet::from([a.as_str()]);
    let decision = decide_again(&inventory, &[], &by_name(), &removed);
    let kept = decision.kept();
    assert_eq!(names(kept), [b.as_str()]);
    assert_eq!(kept[0].reason, KeepReason::NotNamed);
}

#[test]
fn one_name_comes_back_for_a_new_user() {
    let (one, two) = (library("a:1"), library("a:2"));
    let mut world = World::new();
    world.image(&one, "A");
    world.image(&two, "A");
    let users: [fn(&mut World); 3] = [
        |world| {
            world.container("web", "").of("A");
        },
        |world| {
            world.active("rootfs", &chain("base+A.layer"));
            world.container("web", "").on("rootfs");
        },
        |world| {
            world.container("web", "a:1");
        },
    ];
    for user in users {
        let mut world = world.clone();
        user(&mut world);
        let kept = back(&world, &by_name(), &[&one, &two]);
        // Among equals the last, as everywhere.
        assert_eq!(names(&kept), [two.as_str()]);
        assert_eq!(kept[0].reason, KeepReason::InUse);
        assert_eq!(kept[0].holders[0].to_string(), "container web");
        // Where the other name was left, it does.
        assert_eq!(back(&world, &by_name(), &[&two]), []);
    }
}

#[test]
fn a_record_that_will_expire_is_no_name_that_lasts() {
    let (one, two) = (library("a:1"), library("a:2"));
    let mut world = World::new();
    world.image(&one, "A");
    let later = ago(jiff::SignedDuration::from_hours(-1)).to_string();
    world.image(&two, "A").label(EXPIRE, &later);
    world.container("web", "").of("A");
    assert_eq!(names(&back(&world, &by_name(), &[&one])), [one.as_str()]);
}

#[test]
fn a_cri_image_comes_back_whole() {
    let mut world = World::new();
    let (tag, config) = (library("a:1"), id("A.config"));
    world.image(&tag, "A").cri();
    world.image(&config, "A").cri();
    world.container("web", "").of("A");
    let kept = back(&world, &by_name(), &[&tag, &config]);
    let reasons: Vec<KeepReason> = kept.iter().map(|it| it.reason).collect();
    assert_eq!(kept.len(), 2);
    assert!(reasons.contains(&KeepReason::InUse) && reasons.contains(&KeepReason::CriGroup));
}

#[test]
fn of_a_prune_everything_is_evaluated_again() {
    let (one, two) = (library("a:1"), library("b:1"));
    let mut world = World::new();
    world.image(&one, "A");
    world.image(&two, "B");
    world.snapshot(&chain("base"), None, SnapshotKind::Committed);
    world.container("web", &two);
    let kept = back(&world, &request(all()), &[&one, &two]);
    assert_eq!(names(&kept), [two.as_str()]);
}
