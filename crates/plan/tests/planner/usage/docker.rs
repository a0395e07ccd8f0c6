//! Docker's containers as they show in containerd: stopped ones have no container record.

use reclaim_model::{ContainerSource, KeepReason, SnapshotKind};

use super::assert_used;
use crate::world::{World, chain, digest, id, library, snapshot};

/// The snapshots and the lease of a Docker container on the chain of an image.
pub(super) fn docker_container(world: &mut World, id: &str, stack: &str) {
    let init = format!("{id}-init");
    world.snapshot(&init, Some(&chain(stack)), SnapshotKind::Committed);
    world.active(id, &init);
    world.lease(id, &[snapshot(&init), snapshot(id)]);
}

#[test]
fn a_stopped_container_keeps_its_image() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.image(&library("b:1"), "B");
    let id = digest("stopped").hex();
    docker_container(&mut world, &id, "base+A.layer");
    let outcome = world.prune_all();
    assert_used(
        &outcome,
        &library("a:1"),
        &[&format!("stopped container {id}")],
    );
    assert_eq!(outcome.removed(), [library("b:1")]);
}

#[test]
fn a_container_under_construction_keeps_its_image() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    let id = digest("new").hex();
    let init = format!("{id}-init");
    let parent = chain("base+A.layer");
    world.snapshot(&init, Some(&parent), SnapshotKind::Committed);
    world.lease(&id, &[snapshot(&init)]);
    assert_used(
        &world.prune_all(),
        &library("a:1"),
        &[&format!("stopped container {id}")],
    );
}

#[test]
fn a_running_container_is_known_by_name_and_by_lease() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.image(&library("old:1"), "B");
    let id = digest("running").hex();
    // The tag has moved since, but the container's record still names it.
    docker_container(&mut world, &id, "base+B.layer");
    world.container(&id, "a:1");
    let outcome = world.prune_all();
    assert_used(&outcome, &library("a:1"), &[&format!("container {id}")]);
    assert_used(&outcome, &library("old:1"), &[&format!("container {id}")]);
}

#[test]
fn a_remapped_copy_of_a_layer_leads_to_the_image() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    let layer = chain("base+A.layer");
    let copy = format!("{layer}-100000-100000");
    world.snapshot(&copy, Some(&layer), SnapshotKind::Committed);
    world.active("web", &copy);
    world.lease("web", &[snapshot("web")]);
    assert_used(&world.prune_all(), &library("a:1"), &["lease web"]);
}

/// Two names of one image, and a running container that a Docker Engine lists as created from
/// `listed`; dockerd has written the first name into containerd's record.
fn two_names(listed: &str) -> World {
    let mut world = World::new();
    world.image(&library("busybox:a"), "A");
    world.image(&library("busybox:latest"), "A");
    let id = digest("running").hex();
    docker_container(&mut world, &id, "base+A.layer");
    world.container(&id, &library("busybox:a"));
    let listed = world.listed(&id, ContainerSource::Docker, listed);
    listed.image_digest = Some(digest("A"));
    world
}

#[test]
fn the_name_in_dockers_list_is_the_one_that_stays() {
    let by_digest = format!("busybox@{}", id("A"));
    let by_tag = format!("busybox:latest@{}", id("A"));
    for (listed, stays) in [
        (&*id("A"), "busybox:latest"),
        (&digest("A").hex()[..12], "busybox:latest"),
        (&by_digest, "busybox:latest"),
        (&by_tag, "busybox:latest"),
        ("busybox", "busybox:latest"),
        ("busybox:a", "busybox:a"),
        // Docker lists the ID if the name no longer leads to the image.
        ("", "busybox:latest"),
    ] {
        let outcome = two_names(listed).prune_all();
        assert_eq!(outcome.removed().len(), 1, "{listed}");
        assert_eq!(
            outcome.reason(&library(stays)),
            KeepReason::InUse,
            "{listed}"
        );
    }
}

#[test]
fn without_a_digest_in_dockers_list_the_recorded_name_counts() {
    let mut world = two_names(&id("A"));
    world.registered[0].image_digest = None;
    let outcome = world.prune_all();
    assert_eq!(outcome.reason(&library("busybox:a")), KeepReason::InUse);
    // Another engine's list says nothing about dockerd's choice.
    let mut world = two_names(&id("A"));
    world.registered[0].source = ContainerSource::Engine;
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("busybox:latest")]);
    // Nor does a list without that container.
    let mut world = two_names(&id("A"));
    world.registered[0].id = digest("other").hex();
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("busybox:latest")]);
}

#[test]
fn a_recorded_name_that_has_moved_keeps_the_record() {
    let mut world = two_names(&id("A"));
    world.image(&library("b:1"), "B");
    world.image(&library("b:2"), "B");
    world.here().containers[0].image = library("b:1");
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("b:2"), library("busybox:a")]);
}
