//! Images of the CRI plugin: several records for one image, and pins.

use jiff::SignedDuration;
use reclaim_model::{KeepReason, PruneFilters};

use super::assert_used;
use crate::world::{RecordExt, World, ago, all, id, library, now};

/// The three records of one image.
fn names(name: &str, target: &str) -> [String; 3] {
    [
        library(&format!("{name}:1")),
        format!("{}@{}", library(name), id(target)),
        id(&format!("{target}.config")),
    ]
}

fn pull(world: &mut World, name: &str, target: &str) {
    for record in names(name, target) {
        world.image(&record, target).cri();
    }
}

#[test]
fn an_unused_image_goes_with_all_its_records() {
    let mut world = World::new();
    pull(&mut world, "a", "A");
    let mut expected = names("a", "A");
    expected.sort();
    assert_eq!(world.prune_all().removed(), expected);
}

#[test]
fn one_record_in_use_keeps_the_others() {
    for used in names("a", "A") {
        let mut world = World::new();
        pull(&mut world, "a", "A");
        world.container("pod", &used);
        let outcome = world.prune_all();
        assert!(outcome.removed().is_empty(), "{used}");
        assert_used(&outcome, &used, &["container pod"]);
        for name in names("a", "A").into_iter().filter(|name| *name != used) {
            if outcome.reason(&name) == KeepReason::InUse {
                continue;
            }
            assert_eq!(outcome.reason(&name), KeepReason::CriGroup, "{name}");
            assert!(outcome.holders(&name)[0].starts_with("image "), "{name}");
        }
    }
}

#[test]
fn a_record_spared_by_a_filter_keeps_the_others() {
    let mut world = World::new();
    pull(&mut world, "a", "A");
    world.record(&library("again:1"), "A").cri().created(now());
    let outcome = world.prune_by(PruneFilters {
        until: Some(ago(SignedDuration::from_hours(1))),
        ..all()
    });
    assert!(outcome.removed().is_empty());
    assert_eq!(outcome.reason(&library("again:1")), KeepReason::TooRecent);
    let holder = format!("image {}", library("again:1"));
    for name in names("a", "A") {
        assert_eq!(outcome.reason(&name), KeepReason::CriGroup);
        assert_eq!(outcome.holders(&name), [&*holder]);
    }
}

#[test]
fn a_name_that_the_plugin_does_not_manage_goes_its_own_way() {
    let mut world = World::new();
    pull(&mut world, "a", "A");
    world.container("pod", &id("A.config"));
    world.record(&library("by-hand:1"), "A");
    let outcome = world.prune_all();
    assert!(
        !outcome.plan.kept.iter().any(|kept| {
            kept.name == library("by-hand:1") && kept.reason == KeepReason::CriGroup
        })
    );
}

#[test]
fn a_pinned_image_stays_with_all_its_records() {
    let mut world = World::new();
    pull(&mut world, "pause", "P");
    let pin = |world: &mut World, value: &str| {
        world.here().images[0].label("io.cri-containerd.pinned", value);
    };
    pin(&mut world, "pinned");
    let outcome = world.prune_all();
    assert!(outcome.removed().is_empty());
    assert_eq!(outcome.reason(&library("pause:1")), KeepReason::Pinned);

    pin(&mut world, "no");
    assert_eq!(world.prune_all().removed().len(), 3);
}

#[test]
fn the_sandbox_image_stays_with_all_its_records_by_containerds_configuration() {
    let mut world = World::new();
    pull(&mut world, "pause", "P");
    pull(&mut world, "idle", "I");
    world.here().pod_images.names = vec![library("pause:1")];
    let outcome = world.prune_all();
    assert_eq!(outcome.removed().len(), 3);
    let [tag, by_digest, by_id] = names("pause", "P");
    assert_eq!(outcome.reason(&tag), KeepReason::Protected);
    assert_eq!(outcome.holders(&tag), ["rule sandbox image of pods"]);
    assert_eq!(outcome.reason(&by_digest), KeepReason::CriGroup);
    assert_eq!(outcome.reason(&by_id), KeepReason::CriGroup);
    // Where it is not known which are needed, what may be stays.
    let pod_images = &mut world.here().pod_images;
    pod_images.names.clear();
    pod_images.is_partial = true;
    assert_eq!(world.prune_all().removed().len(), 3);
    world.here().pod_images.is_partial = false;
    assert_eq!(world.prune_all().removed().len(), 6);
}
