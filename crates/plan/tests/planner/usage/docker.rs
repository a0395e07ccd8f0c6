//! Docker's containers as they show in containerd: stopped ones have no container record.

use reclaim_model::SnapshotKind;

use super::assert_used;
use crate::world::{World, chain, digest, library, snapshot};

/// The snapshots and the lease of a Docker container on the chain of an image.
fn docker_container(world: &mut World, id: &str, stack: &str) {
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
