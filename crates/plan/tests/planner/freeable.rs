//! What each step frees alone: the same as its request.

use proptest::prelude::*;
use reclaim_model::{Amount, Freeable, Part};
use reclaim_plan::decide;

use crate::disk_usage::{pruned, sizes, usage};
use crate::random::scenes;
use crate::slim::{parts, several, slim};
use crate::world::{RecordExt, World, bytes, library};

fn freeable(world: &World) -> Freeable {
    let usage = usage(world);
    let mut namespaces = usage.namespaces.iter();
    let here = namespaces.find(|it| it.namespace == pruned()).unwrap();
    here.freeable.unwrap()
}

/// What a request for one part frees, and what is garbage before it.
fn planned(world: &World, part: Part) -> (Amount, Amount) {
    let inventory = world.inventory();
    let decision = decide(&inventory, &world.registered, &slim(parts(&[part])));
    let plan = decision.into_plan(&sizes(&inventory).remove(&pruned()).unwrap_or_default());
    (plan.freed.amount(), plan.not_counted.pending.amount())
}

#[test]
fn an_unused_image_has_three_ways_to_free_something() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.blob(
        "A",
        &[("containerd.io/distribution.source.docker.io", "library/a")],
    );
    world.blob("garbage", &[]);
    let freeable = freeable(&world);
    let content = |names: &[&str]| names.iter().map(|it| bytes(it)).sum::<u64>();
    assert_eq!(freeable.garbage.content_bytes, bytes("garbage"));
    assert_eq!(
        (freeable.snapshots.snapshots, freeable.snapshots.blobs),
        (2, 0)
    );
    assert_eq!(freeable.layers.content_bytes, content(&["base", "A.layer"]));
    assert_eq!((freeable.layers.snapshots, freeable.layers.blobs), (0, 2));
    assert_eq!(
        freeable.images.content_bytes,
        content(&["base", "A.layer", "A", "A.config"])
    );
    assert_eq!(freeable.images.snapshots, 2);
    assert_eq!(freeable.platforms, Amount::default());

    let mut pinned = world.clone();
    pinned
        .image(&library("a:1"), "A")
        .label("io.cri-containerd.pinned", "pinned");
    let rest = self::freeable(&pinned);
    assert_eq!(rest.garbage, freeable.garbage);
    assert_eq!(
        [rest.snapshots, rest.layers, rest.images],
        [Amount::default(); 3]
    );
}

#[test]
fn platforms_of_other_machines_are_counted() {
    let world = several();
    let platforms = freeable(&world).platforms;
    assert!(platforms.blobs > 0);
    assert_eq!(platforms, planned(&world, Part::Platforms).0);
}

proptest! {
    #[test]
    fn each_step_frees_what_its_request_plans(scene in scenes()) {
        let world = scene.world();
        let mut freeable = freeable(&world);
        for part in Part::ALL {
            let (freed, garbage) = planned(&world, part);
            prop_assert_eq!(*freeable.part_mut(part), freed);
            prop_assert_eq!(freeable.garbage, garbage);
        }
        let images = world.prune_all().plan;
        prop_assert_eq!(freeable.images.blobs, images.freed.amount().blobs);
        prop_assert_eq!(freeable.images.content_bytes, images.freed.amount().content_bytes);
    }
}
