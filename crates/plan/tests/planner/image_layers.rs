//! Which layers of images are here, compressed and unpacked.

use reclaim_model::{Part, Platform, PlatformLayers};
use reclaim_plan::image_layers;

use crate::disk_usage::pruned;
use crate::slim::{cut, parts, several, slim};
use crate::world::{OVERLAY, World, digest, library};

fn layers(world: &World, target: &str) -> Vec<PlatformLayers> {
    let layers = image_layers(&world.inventory(), &pruned());
    layers[&digest(target)].clone()
}

fn counts(layers: &[PlatformLayers]) -> Vec<(usize, usize, usize)> {
    let counts = layers.iter().map(|it| {
        let unpacked = it.unpacked.get(OVERLAY).copied().unwrap_or(0);
        (it.packed, unpacked, it.total)
    });
    counts.collect()
}

fn world() -> World {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.blob(
        "A",
        &[("containerd.io/distribution.source.docker.io", "library/a")],
    );
    world
}

/// Loses what only the cuts of one part hold.
fn without(world: &World, part: Part) -> World {
    let plan = world.decide(&slim(parts(&[part]))).plan;
    let mut world = cut(world, &plan.cuts);
    let here = world.here();
    let freed = &plan.freed;
    here.blobs
        .retain(|blob| !freed.blobs.iter().any(|it| it.digest == blob.digest));
    for list in here.snapshots.values_mut() {
        list.retain(|snapshot| !freed.snapshots.iter().any(|it| it.id.key == snapshot.key));
    }
    world
}

#[test]
fn an_image_has_both_copies_until_one_is_freed() {
    let world = world();
    assert_eq!(counts(&layers(&world, "A")), [(2, 2, 2)]);
    let packed = without(&world, Part::Snapshots);
    assert_eq!(counts(&layers(&packed, "A")), [(2, 0, 2)]);
    assert!(layers(&packed, "A")[0].unpacked.is_empty());
    let unpacked = without(&world, Part::Layers);
    assert_eq!(counts(&layers(&unpacked, "A")), [(0, 2, 2)]);
    let mut torn = unpacked;
    torn.lose("A.config");
    assert_eq!(layers(&torn, "A"), []);
}

/// Layers that other images have are there, too; lower snapshots alone are not an unpacked image.
#[test]
fn counts_what_other_images_keep() {
    let mut world = world();
    world.image(&library("b:1"), "B");
    world.lose("A.layer");
    assert_eq!(counts(&layers(&world, "A")), [(1, 2, 2)]);
    let here = world.here();
    let top = crate::world::chain("base+A.layer");
    for list in here.snapshots.values_mut() {
        list.retain(|snapshot| *snapshot.key != *top);
    }
    assert_eq!(counts(&layers(&world, "A")), [(1, 0, 2)]);
    assert_eq!(counts(&layers(&world, "B")), [(2, 2, 2)]);
}

#[test]
fn lists_each_platform_that_is_here() {
    let world = several();
    let found = layers(&world, "I");
    assert_eq!(counts(&found), [(2, 2, 2); 3]);
    let host = Some(Platform::host());
    assert_eq!(found.iter().filter(|it| it.platform == host).count(), 1);
    let rest = without(&world, Part::Platforms);
    assert_eq!(layers(&rest, "I").len(), 2);
}

#[test]
fn a_namespace_that_does_not_exist_has_none() {
    let nowhere = "nowhere".parse().unwrap();
    assert!(image_layers(&world().inventory(), &nowhere).is_empty());
}
