//! How large images are and what they share.

use reclaim_model::{ImageSize, SnapshotId, SnapshotSizes};
use reclaim_plan::image_objects;

use crate::world::{OVERLAY, Part, World, bytes, chain, digest, library};

fn sum(names: &[&str]) -> u64 {
    names.iter().map(|name| bytes(name)).sum()
}

/// The size of each image of the pruned namespace, when every stack of layers occupies the
/// bytes of its name.
fn sizes(world: &World, stacks: &[&str], targets: &[&str]) -> Vec<ImageSize> {
    let inventory = world.inventory();
    let objects = image_objects(&inventory, &World::NAMESPACE.parse().unwrap());
    let stacks = stacks.iter();
    let measured: SnapshotSizes = stacks
        .map(|stack| (SnapshotId::new(OVERLAY, chain(stack)), bytes(stack)))
        .collect();
    assert_eq!(
        objects.snapshots(),
        measured.iter().map(|it| it.0.clone()).collect::<Vec<_>>()
    );
    let sizes = objects.sizes(&measured);
    targets
        .iter()
        .map(|target| sizes[&digest(target)])
        .collect()
}

#[test]
fn tells_what_is_shared_from_what_is_not() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.image(&library("b:1"), "B");
    let found = sizes(
        &world,
        &["base", "base+A.layer", "base+B.layer"],
        &["A", "B"],
    );
    let expected = ["A", "B"].map(|name| ImageSize {
        content_bytes: sum(&[
            name,
            &format!("{name}.config"),
            &format!("{name}.layer"),
            "base",
        ]),
        unpacked_bytes: sum(&["base", &format!("base+{name}.layer")]),
        // A layer and a snapshot, which have the same name here.
        shared_bytes: 2 * bytes("base"),
    });
    assert_eq!(found, expected);
    let [a, _] = expected;
    assert_eq!(a.total_bytes(), a.content_bytes + a.unpacked_bytes);
    assert_eq!(a.unique_bytes(), a.total_bytes() - a.shared_bytes);
}

#[test]
fn two_names_of_one_target_share_nothing() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.record(&library("a:2"), "A");
    let found = sizes(&world, &["base", "base+A.layer"], &["A"]);
    assert_eq!(found[0].shared_bytes, 0);
}

#[test]
fn absent_parts_and_repeated_layers_do_not_count() {
    let mut world = World::new();
    let part = Part {
        layers: &["base", "empty", "empty"],
        is_unpacked: false,
        ..Part::default()
    };
    world.manifest("A", part);
    world.index("index", &["A", "absent"]);
    world.record(&library("a:1"), "index");
    world.lose("base");
    let found = sizes(&world, &[], &["index"]);
    let expected = ImageSize {
        content_bytes: sum(&["index", "A", "A.config", "empty"]),
        ..ImageSize::default()
    };
    assert_eq!(found, [expected]);
}

#[test]
fn an_unknown_namespace_is_made_of_nothing() {
    let inventory = World::new().inventory();
    let objects = image_objects(&inventory, &"elsewhere".parse().unwrap());
    assert!(objects.snapshots().is_empty());
    assert!(objects.sizes(&SnapshotSizes::default()).is_empty());
}
