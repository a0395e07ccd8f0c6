//! Removing by name what a container, a pin, the CRI plugin or another image needs.

use reclaim_model::{ContainerState, NamedImages, RemoveReason, SnapshotKind, shortened};

use super::{remove, remove_with, said, text, world};
use crate::world::{
    ContainerExt, LeaseExt, RecordExt, World, chain, content, dangling, id, library, snapshot,
};

const CONTAINER: &str = "4f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab3586";

/// Every way in which a container of Docker's is seen: running, stopped and known to its engine,
/// stopped and known by what it left in containerd.
fn with_containers(images: &[(&str, &str)]) -> [(World, &'static str); 3] {
    let stack = "base+A.layer";
    let mut running = world(images);
    let container = running.container(CONTAINER, "x:1").of("A");
    container.state = ContainerState::Running;
    let mut stopped = world(images);
    let container = stopped.container(CONTAINER, "x:1").of("A");
    container.state = ContainerState::Stopped;
    let mut leased = world(images);
    let init = format!("{CONTAINER}-init");
    leased.snapshot(&init, Some(&chain(stack)), SnapshotKind::Committed);
    leased.active(CONTAINER, &init);
    leased.lease(CONTAINER, &[snapshot(&init), snapshot(CONTAINER)]);
    [
        (running, "running"),
        (stopped, "stopped"),
        (leased, "stopped"),
    ]
}

#[test]
fn refuses_the_last_name_of_what_a_container_uses() {
    for (world, _) in with_containers(&[("L/x:1", "A")]) {
        let outcome = remove(&world, &["x:1"], false);
        assert_eq!(outcome.removed(), [""; 0]);
        let words = text(
            "conflict: unable to delete x:1 (must be forced) - container 4f1c7e0d92ab is using \
             its referenced image <A:12>",
        );
        assert_eq!(said(&outcome.plan.named[0]), [words]);
        let holders = outcome.holders(&library("x:1"));
        assert!(holders.len() == 1 && holders[0].ends_with(CONTAINER));
    }
}

#[test]
fn forced_it_stays_without_a_name() {
    for (world, _) in with_containers(&[("L/x:1", "A")]) {
        let outcome = remove(&world, &["x:1"], true);
        assert_eq!(outcome.removal(&library("x:1")), RemoveReason::Replaced);
        assert_eq!(said(&outcome.plan.named[0]), ["Untagged: x:1"]);
        assert_eq!(outcome.amount().total_bytes(), 0);
    }
    // Docker takes the tag only: what has a digest only keeps the image.
    for (world, _) in with_containers(&[("L/x:1", "A"), ("L/x@<A>", "A")]) {
        let outcome = remove(&world, &["x:1"], true);
        assert_eq!(outcome.removal(&library("x:1")), RemoveReason::Named);
        assert_eq!(outcome.removed(), [library("x:1")]);
    }
    for (world, _) in with_containers(&[("L/x:1", "A"), ("moby-dangling@<A>", "A")]) {
        let outcome = remove(&world, &["x:1"], true);
        assert_eq!(outcome.removed(), [library("x:1")]);
        assert_eq!(outcome.removal(&library("x:1")), RemoveReason::Named);
    }
}

#[test]
fn what_has_no_name_or_can_get_none_is_not_taken_by_force() {
    let nothing = [""; 0];
    for (world, _) in with_containers(&[("moby-dangling@<A>", "A")]) {
        let outcome = remove(&world, &[&dangling("A")], true);
        assert_eq!(outcome.removed(), nothing);
        assert!(outcome.plan.named[0].error.is_some());
    }
    // Another image has the name that stands for a missing one.
    for (world, _) in with_containers(&[("L/x:1", "A"), ("moby-dangling@<A>", "B")]) {
        let outcome = remove(&world, &["x:1"], true);
        assert_eq!(outcome.removed(), nothing);
        assert!(outcome.plan.named[0].error.is_some());
    }
    // By its ID it loses its names, and stays by the record that is not a name.
    let [_, stopped, leased] = with_containers(&[("L/x:1", "A"), ("moby-dangling@<A>", "A")]);
    for (world, _) in [stopped, leased] {
        let outcome = remove(&world, &[&id("A")], true);
        assert_eq!(outcome.removed(), [library("x:1")]);
        assert_eq!(outcome.removal(&library("x:1")), RemoveReason::Named);
    }
}

#[test]
fn another_name_is_enough_for_a_container() {
    for (world, _) in with_containers(&[("L/x:1", "A"), ("L/x:2", "A")]) {
        let outcome = remove(&world, &["x:1"], false);
        assert_eq!(outcome.removed(), [library("x:1")]);
        // And the next is the last.
        let outcome = remove(&world, &["x:1", "x:2"], false);
        assert_eq!(outcome.removed(), [library("x:1")]);
        assert!(outcome.plan.named[1].error.is_some());
    }
    // A record that expires does not count.
    for (mut world, _) in with_containers(&[("L/x:1", "A")]) {
        let record = world.image(&library("x:2"), "A");
        record.label("containerd.io/gc.expire", "2026-02-01T00:00:00Z");
        let outcome = remove(&world, &["x:1"], false);
        assert_eq!(outcome.removed(), [""; 0]);
        let outcome = remove(&world, &["x:1"], true);
        assert_eq!(outcome.removal(&library("x:1")), RemoveReason::Replaced);
    }
}

#[test]
fn by_id_a_running_container_forbids_and_a_stopped_one_must_be_forced() {
    for (world, state) in with_containers(&[("L/x:1", "A"), ("L/y:1", "A")]) {
        let by = |state: &str, can: &str| {
            text(&format!(
                "conflict: unable to delete <A:12> ({can} be forced) - image is being used by \
                 {state} container 4f1c7e0d92ab"
            ))
        };
        let outcome = remove(&world, &[&id("A")], false);
        let can = if state == "running" { "cannot" } else { "must" };
        assert_eq!(said(&outcome.plan.named[0]), [by(state, can)]);
        let outcome = remove(&world, &[&id("A")], true);
        if state == "running" {
            assert_eq!(said(&outcome.plan.named[0]), [by(state, can)]);
            assert_eq!(outcome.removed(), [""; 0]);
        } else {
            // Docker deletes it; the container could not be committed or recreated any more.
            assert_eq!(outcome.removal(&library("x:1")), RemoveReason::Replaced);
            assert_eq!(outcome.removal(&library("y:1")), RemoveReason::Named);
            assert_eq!(outcome.amount().total_bytes(), 0);
        }
    }
    // Without a name there is nothing left to take.
    for (world, state) in with_containers(&[("moby-dangling@<A>", "A")]) {
        for force in [false, true] {
            let outcome = remove(&world, &[&id("A")], force);
            assert_eq!(outcome.removed(), [""; 0]);
            assert!(
                said(&outcome.plan.named[0])[0].contains("(cannot be forced)"),
                "{state}"
            );
        }
    }
}

#[test]
fn a_name_that_has_moved_is_no_use() {
    // S20 of the table of prunes: a prune keeps the name, here the request names it.
    let mut world = world(&[("L/x:1", "B"), ("L/old:1", "A")]);
    world.container("c", "x:1").of("A");
    let outcome = remove(&world, &["x:1"], false);
    assert_eq!(outcome.removed(), [library("x:1")]);
    // Of a container of which only the name is known it is one.
    let mut world = self::world(&[("L/x:1", "B")]);
    world.container("c", "x:1");
    let outcome = remove(&world, &["x:1"], false);
    assert_eq!(outcome.removed(), [""; 0]);
}

#[test]
fn what_only_keeps_content_is_not_in_the_way() {
    let mut pull = world(&[("L/x:1", "A")]);
    pull.lease("pull", &[content("A")]);
    let mut cache = world(&[("L/x:1", "A")]);
    cache
        .lease("cache", &[snapshot(&chain("base+A.layer"))])
        .flat();
    let mut rooted = world(&[("L/x:1", "A")]);
    rooted.blob("A", &[("containerd.io/gc.root", "1")]);
    for world in [pull, cache, rooted] {
        let outcome = remove(&world, &["x:1"], false);
        assert_eq!(outcome.removed(), [library("x:1")]);
    }
}

#[test]
fn whatever_stands_on_it_is_in_the_way() {
    let mut world = world(&[("L/x:1", "A")]);
    world.active("work", &chain("base+A.layer"));
    world.lease("holder", &[snapshot("work")]);
    let outcome = remove(&world, &["x:1"], false);
    assert_eq!(
        said(&outcome.plan.named[0]),
        ["conflict: unable to delete x:1 (must be forced) - image is being used by lease holder"]
    );
    let outcome = remove(&world, &["x:1"], true);
    assert_eq!(outcome.removal(&library("x:1")), RemoveReason::Replaced);
}

#[test]
fn a_lease_is_a_containers_only_if_its_id_and_its_snapshot_say_so() {
    let stack = chain("base+A.layer");
    let hex = CONTAINER;
    // Of another length, not hexadecimal, or with a snapshot of another name.
    for (lease, key) in [
        ("cafe", "cafe"),
        (&*"x".repeat(64), &*"x".repeat(64)),
        (hex, "other"),
    ] {
        let mut world = world(&[("L/x:1", "A")]);
        world.active(key, &stack);
        world.lease(lease, &[snapshot(key)]);
        let outcome = remove(&world, &["x:1"], false);
        let lease = shortened(lease);
        let words = format!("image is being used by lease {lease}");
        assert!(said(&outcome.plan.named[0])[0].ends_with(&words), "{lease}");
    }
    // A container's own lease is no other user.
    let [_, (mut stopped, _), _] = with_containers(&[("L/x:1", "A")]);
    stopped.active(hex, &stack);
    stopped.lease(hex, &[snapshot(hex)]);
    let outcome = remove(&stopped, &["x:1"], false);
    assert_eq!(
        outcome.holders(&library("x:1")),
        [format!("stopped container {hex}")]
    );
    // Nor does it stand for another.
    stopped.active("other", &stack);
    stopped.lease("holder", &[snapshot("other")]);
    let outcome = remove(&stopped, &["x:1"], false);
    assert_eq!(outcome.holders(&library("x:1")).len(), 2);
}

#[test]
fn what_only_keeps_an_images_own_snapshots_is_not_in_the_way() {
    let mut world = world(&[("L/x:1", "A")]);
    let resources = [content("A"), snapshot(&chain("base+A.layer"))];
    world.lease("pull", &resources);
    let outcome = remove(&world, &["x:1"], false);
    assert_eq!(outcome.removed(), [library("x:1")]);
}

#[test]
fn who_uses_another_image_leaves_the_users_of_this_one_alone() {
    let mut world = world(&[("L/x:1", "A"), ("L/y:1", "B")]);
    world.container("web", "x:1");
    world.container("other", "y:1").of("B");
    let outcome = remove(&world, &["x:1"], false);
    assert_eq!(outcome.removed(), [""; 0]);
    assert_eq!(outcome.holders(&library("x:1")), ["container web"]);
}

#[test]
fn a_pinned_image_must_be_forced() {
    let mut world = World::new();
    let record = world.image("registry.k8s.io/pause:3.9", "A");
    record.label("io.cri-containerd.pinned", "pinned");
    let outcome = remove(&world, &["registry.k8s.io/pause:3.9"], false);
    assert_eq!(outcome.removed(), [""; 0]);
    assert!(said(&outcome.plan.named[0])[0].ends_with("(must be forced) - image is pinned"));
    let outcome = remove(&world, &["registry.k8s.io/pause:3.9"], true);
    assert_eq!(outcome.removed().len(), 1);
}

#[test]
fn the_cri_plugin_keeps_its_record_by_id_as_long_as_it_has_another() {
    let cri = |names: &[&str]| {
        let mut world = World::new();
        for name in names {
            world.image(name, "A").cri();
        }
        world.image(&id("A.config"), "A").cri();
        world
    };
    let by_digest = text("L/a@<A>");
    let config = id("A.config");
    let world = cri(&[&library("a:1"), &by_digest]);
    for name in ["a:1", &config] {
        let outcome = remove(&world, &[name], false);
        assert_eq!(outcome.removed().len(), 3, "{name}");
    }
    let world = cri(&[&library("a:1"), &by_digest, &library("b:1")]);
    let outcome = remove(&world, &["a:1"], false);
    assert_eq!(outcome.removed(), [library("a:1"), by_digest.clone()]);
    let outcome = remove(&world, &[&config], false);
    assert!(outcome.plan.named[0].error.is_some());
    // A name that is not the plugin's does not help it.
    let mut world = cri(&[&library("a:1")]);
    world.image(&library("b:1"), "A");
    let outcome = remove(&world, &["a:1"], false);
    assert_eq!(outcome.removed(), [library("a:1"), config]);
}

#[test]
fn nameless_parents_go_with_their_last_child() {
    let mut world = world(&[("moby-dangling@<B>", "B"), ("moby-dangling@<C>", "C")]);
    let parent = |world: &mut World, name: &str, of: &str| {
        let at = world.here().images.iter().position(|it| it.name == name);
        world.here().images[at.unwrap()].label("org.mobyproject.image.parent", &id(of));
    };
    world.image(&library("x:1"), "A");
    parent(&mut world, &library("x:1"), "B");
    parent(&mut world, &dangling("B"), "C");
    let outcome = remove(&world, &["x:1"], false);
    assert_eq!(outcome.removed().len(), 3);
    assert_eq!(outcome.removal(&dangling("C")), RemoveReason::Parent);
    let rows = [
        "Untagged: x:1".to_owned(),
        format!("Deleted: {}", id("A")),
        format!("Deleted: {}", id("B")),
        format!("Deleted: {}", id("C")),
    ];
    assert_eq!(said(&outcome.plan.named[0]), rows);
    let images = NamedImages {
        names: vec!["x:1".to_owned()],
        force: false,
        prune_parents: false,
    };
    assert_eq!(remove_with(&world, images).removed(), [library("x:1")]);
    // With another child they stay, and so does a parent that has a name.
    world.image(&library("y:1"), "D");
    parent(&mut world, &library("y:1"), "B");
    assert_eq!(remove(&world, &["x:1"], false).removed(), [library("x:1")]);
    // Or one that is pinned, or that cannot be held.
    world.here().images.pop();
    let long = "x".repeat(4090);
    let labels = [
        ("io.cri-containerd.pinned", "pinned"),
        ("containerd.io/gc.ref.content", &long),
    ];
    for (name, n_removed) in [(dangling("B"), 1), (dangling("C"), 2)] {
        for (key, value) in labels {
            let mut world = world.clone();
            let mut images = world.here().images.iter_mut();
            images.find(|it| it.name == name).unwrap().label(key, value);
            let removed = remove(&world, &["x:1"], false).removed().len();
            assert_eq!(removed, n_removed, "{name} {key}");
        }
    }
    // A parent that loses its name stays without one.
    let mut world = self::world(&[("L/base:1", "B"), ("L/x:1", "A")]);
    parent(&mut world, &library("x:1"), "B");
    let outcome = remove(&world, &["base:1"], false);
    assert_eq!(outcome.removal(&library("base:1")), RemoveReason::Replaced);
}
