//! Names that tools make up where they are given none.

use reclaim_model::{KeepReason, RemoveReason};

use crate::world::{RecordExt, World, dangling, id, library};

fn import(target: &str) -> String {
    format!("import-2022-11-18@{}", id(target))
}

fn of_snapshotter(snapshotter: &str, target: &str) -> String {
    format!("{snapshotter}@{}", id(target))
}

#[test]
fn what_has_only_a_made_up_name_is_dangling() {
    let mut world = World::new();
    world.image(&import("A"), "A");
    world.image(&of_snapshotter("overlayfs", "B"), "B");
    world.image(&of_snapshotter("overlayfs", "C"), "D");
    world.image(&of_snapshotter("app", "E"), "E");
    let outcome = world.prune();
    assert_eq!(
        outcome.removed(),
        [import("A"), of_snapshotter("overlayfs", "B")]
    );
    assert_eq!(outcome.removal(&import("A")), RemoveReason::Dangling);
    for given in [of_snapshotter("overlayfs", "C"), of_snapshotter("app", "E")] {
        assert_eq!(outcome.reason(&given), KeepReason::NotDangling);
    }
}

#[test]
fn a_snapshotter_of_any_name_counts_as_long_as_any_namespace_has_it() {
    let mut world = World::new();
    world.image(&of_snapshotter("our-own", "A"), "A");
    assert_eq!(world.prune().removed(), [""; 0]);
    let lists = &mut world.within("elsewhere").here().snapshots;
    lists.insert("our-own".into(), Vec::new());
    assert_eq!(world.prune().removed(), [of_snapshotter("our-own", "A")]);
}

#[test]
fn beside_a_given_name_a_made_up_one_is_not_dangling() {
    let digest_only = format!("{}@{}", library("app"), id("A"));
    for given in [library("app:1"), digest_only, "Weird Name".to_owned()] {
        let mut world = World::new();
        world.image(&import("A"), "A");
        world.image(&given, "A");
        assert_eq!(world.prune().removed(), [""; 0], "{given}");
        // In use, the given name is the one that stays.
        world.container("web", "").image_digest = Some(id("A").parse().unwrap());
        let outcome = world.prune_all();
        assert_eq!(outcome.removed(), [import("A")], "{given}");
        assert_eq!(outcome.removal(&import("A")), RemoveReason::Duplicate);
        assert_eq!(outcome.reason(&given), KeepReason::InUse);
    }
}

#[test]
fn a_dangling_record_beside_a_made_up_one_leaves_both_dangling() {
    let mut world = World::new();
    world.image(&import("A"), "A");
    world.image(&dangling("A"), "A");
    assert_eq!(world.prune().removed(), [import("A"), dangling("A")]);
}

#[test]
fn the_cri_plugins_record_by_id_is_not_a_given_name() {
    let mut world = World::new();
    world.image(&import("A"), "A").cri();
    world.image(&id("A.config"), "A").cri();
    // By itself it is one: nothing says how the image came here.
    world.image(&id("B.config"), "B").cri();
    let outcome = world.prune();
    assert_eq!(outcome.removed(), [import("A"), id("A.config")]);
    assert_eq!(outcome.reason(&id("B.config")), KeepReason::NotDangling);
    // A record of such a name that the CRI plugin does not manage is a name.
    let mut world = World::new();
    world.image(&import("A"), "A");
    world.image(&id("A.config"), "A");
    assert_eq!(world.prune().removed(), [""; 0]);
    // The tag makes one image of all three.
    let mut world = World::new();
    world.image(&import("A"), "A").cri();
    world.image(&id("A.config"), "A").cri();
    world.image(&library("app:1"), "A").cri();
    assert_eq!(world.prune().removed(), [""; 0]);
}

#[test]
fn a_container_created_by_a_made_up_name_keeps_it() {
    let mut world = World::new();
    world.image(&import("A"), "A");
    world.container("web", &import("A"));
    let outcome = world.prune();
    assert_eq!(outcome.removed(), [""; 0]);
    assert_eq!(outcome.reason(&import("A")), KeepReason::InUse);
}
