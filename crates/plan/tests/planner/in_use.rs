//! Which targets are there, and which are in use at one look.

use std::collections::BTreeSet;

use reclaim_model::{Container, Document, Gap, Namespace, TargetsInUse};
use reclaim_plan::targets_in_use;

use crate::world::{ContainerExt, World, chain, content, digest, library};

fn look(world: &World) -> TargetsInUse {
    let namespace: Namespace = World::NAMESPACE.parse().unwrap();
    targets_in_use(&world.inventory(), &namespace, &world.registered)
}

fn used(world: &World) -> BTreeSet<reclaim_model::Digest> {
    look(world).used
}

/// Images A, B, C and D, each with a name and unpacked.
fn world() -> World {
    let mut world = World::new();
    for target in ["A", "B", "C", "D"] {
        world.image(&library(&format!("{}:1", target.to_lowercase())), target);
    }
    world
}

#[test]
fn every_kind_of_evidence_makes_a_use() {
    let mut world = world();
    assert_eq!(used(&world), BTreeSet::new());
    // By name, by what a snapshot stands on, by a lease, by an engine's own list.
    world.container("web", "a:1");
    world.active("root", &chain("base+B.layer"));
    world.container("unnamed", "").on("root");
    world.lease("pull", &[content("C")]);
    world.registered.push(Container {
        id: "elsewhere".to_owned(),
        image: "d:1".to_owned(),
        ..Container::default()
    });
    assert_eq!(used(&world), ["A", "B", "C", "D"].map(digest).into());
    let containers = look(&world).containers;
    let of = |id: &str| containers[id].clone();
    assert_eq!(of("web"), [digest("A")].into());
    assert_eq!(of("unnamed"), [digest("B")].into());
    assert_eq!(of("elsewhere"), [digest("D")].into());
    assert_eq!(containers.len(), 3, "a lease is no container");
}

#[test]
fn a_target_is_there_once_with_all_its_names_and_chains() {
    let mut world = world();
    world.record(&library("again:1"), "A");
    let seen = look(&world);
    assert_eq!(seen.present.len(), 4);
    let present = &seen.present[&digest("A")];
    let names: Vec<&String> = present.names.keys().collect();
    assert_eq!(names, [&library("a:1"), &library("again:1")]);
    assert!(present.names[&library("a:1")].created.is_some());
    assert_eq!(present.chains.len(), 1);
}

#[test]
fn what_cannot_be_traced_may_use_what_is_unpacked_there() {
    let mut world = world();
    let label = "containerd.io/gc.ref.snapshot.remote";
    world.blob("A", &[(label, "key")]);
    world.here().gaps.push(Gap::Snapshotter {
        is_configured: true,
        name: "remote".into(),
        why: "not loaded".to_owned(),
    });
    let container = world.container("web", "gone:1");
    container.snapshot = Some(reclaim_model::SnapshotId::new("remote", "web"));
    assert_eq!(used(&world), BTreeSet::from([digest("A")]));
}

#[test]
fn a_namespace_that_is_not_there_has_none() {
    let elsewhere: Namespace = "elsewhere".parse().unwrap();
    let seen = targets_in_use(&world().inventory(), &elsewhere, &[]);
    assert_eq!(seen, TargetsInUse::default());
}

#[test]
fn records_that_a_prune_keeps_as_unreadable_are_counted() {
    let mut world = world();
    world.record(&library("again:1"), "A");
    assert_eq!(look(&world).unreadable, 0);
    let not_read = Document::NotRead("a read error".to_owned());
    world.documents.insert(digest("A"), not_read);
    // A torn image is removed, unless a container may be of it.
    world.tear("B");
    assert_eq!(look(&world).unreadable, 2);
    world.here().has_unlisted_containers = true;
    assert_eq!(look(&world).unreadable, 3);
}
