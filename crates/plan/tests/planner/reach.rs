//! What goes when an image does: containerd's collector, root by root and edge by edge.
//!
//! Every case prunes one image of no user, `a:1` → A with the layers `base` and `A.layer`, and
//! asks what else keeps which part of it.

mod conditions;
mod edges;
mod namespaces;
mod roots;

use reclaim_model::CollectorRules;

use crate::world::{World, library};

const RULES: [CollectorRules; 4] = [
    CollectorRules::V1,
    CollectorRules::V2_0,
    CollectorRules::V2_2,
    CollectorRules::V2_3,
];

/// Everything of the image, sorted by name.
const BLOBS: [&str; 4] = ["A", "A.config", "A.layer", "base"];
const SNAPSHOTS: [&str; 2] = ["base", "base+A.layer"];
const NONE: [&str; 0] = [];

/// The image that goes.
fn world(rules: CollectorRules) -> World {
    let mut world = World::new().with_rules(rules);
    world.image(&library("a:1"), "A");
    world
}

/// Asserts that the image goes, and with it these of its blobs and snapshots.
#[track_caller]
fn assert_freed(world: &World, blobs: &[&str], snapshots: &[&str]) {
    let outcome = world.prune_all();
    let name = library("a:1");
    assert!(
        outcome.removed().contains(&&*name),
        "{:?}",
        outcome.plan.kept
    );
    assert_eq!(outcome.blobs(), blobs, "{:?}", world.rules);
    assert_eq!(outcome.snapshots(), snapshots, "{:?}", world.rules);
}
