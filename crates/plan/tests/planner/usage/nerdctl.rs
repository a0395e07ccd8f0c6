//! nerdctl's image mounts: views that are roots, which a container's label names.

use reclaim_model::{Column, GcLabels, HolderRole, SnapshotKind};

use super::assert_used;
use crate::disk_usage::usage;
use crate::why::answer;
use crate::world::{ContainerExt, World, chain, library};

const KEY: &str = "1234-image-mount";

/// An image that is mounted, and the container that mounts it, on another image.
fn mounted() -> World {
    let mut world = World::new();
    world.image(&library("data:1"), "A");
    world.image(&library("app:1"), "B");
    let view = world.snapshot(KEY, Some(&chain("base+A.layer")), SnapshotKind::View);
    view.gc = GcLabels::parse([("containerd.io/gc.root", "2026-01-02T03:04:05Z")]);
    world.active("web", &chain("base+B.layer"));
    let container = world.container("web", "app:1").on("web");
    container.mounted_snapshots = vec![KEY.to_owned()];
    world
}

#[test]
fn the_container_holds_the_image_that_it_mounts() {
    let world = mounted();
    let outcome = world.prune_all();
    assert_used(&outcome, &library("data:1"), &["container web"]);
    let answer = answer(&world, KEY);
    let holders = answer.holders.iter().map(|it| it.holder.to_string());
    assert_eq!(holders.collect::<Vec<_>>(), ["container web"]);
    assert_eq!(answer.warnings, [""; 0]);
    let usage = usage(&world);
    assert_eq!(usage.warnings, [""; 0]);
    assert_eq!(usage.total.column(Column::Rooted).total_bytes(), 0);
}

#[test]
fn a_mount_without_a_container_has_leaked() {
    let holder = format!("leaked image mount overlayfs/{KEY}");
    let warning = format!(
        "namespace `default`: no container has the image mount `overlayfs/{KEY}`; unless nerdctl \
         is creating one, remove it with `ctr -n default snapshots --snapshotter overlayfs rm {KEY}`"
    );
    for spoil in [
        |world: &mut World| world.here().containers.clear(),
        |world: &mut World| world.here().containers[0].mounted_snapshots.clear(),
        // A container of another snapshotter does not mount it.
        |world: &mut World| {
            let container = &mut world.here().containers[0];
            container.snapshot = Some(reclaim_model::SnapshotId::new("stargz", "web"));
        },
    ] {
        let mut world = mounted();
        spoil(&mut world);
        let outcome = world.prune_all();
        assert_used(&outcome, &library("data:1"), &[&holder]);
        let answer = answer(&world, "data:1");
        let [held] = &answer.holders[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(held.holder.role, Some(HolderRole::LeakedImageMount));
        assert_eq!(answer.warnings, [&*warning]);
        let usage = usage(&world);
        assert_eq!(usage.warnings, [&*warning]);
    }
}

#[test]
fn other_snapshots_are_not_image_mounts() {
    for (key, kind, labels) in [
        ("other", SnapshotKind::View, &["containerd.io/gc.root"][..]),
        (KEY, SnapshotKind::Active, &["containerd.io/gc.root"]),
        (KEY, SnapshotKind::View, &[]),
    ] {
        let mut world = World::new();
        world.image(&library("data:1"), "A");
        let snapshot = world.snapshot(key, Some(&chain("base+A.layer")), kind);
        snapshot.gc = GcLabels::parse(labels.iter().map(|label| (*label, "")));
        assert_eq!(usage(&world).warnings, [""; 0], "{key} {kind:?}");
    }
    // A container may not name snapshots that are not image mounts.
    let mut world = mounted();
    let other = world.snapshot("other", Some(&chain("base+A.layer")), SnapshotKind::View);
    other.gc = GcLabels::parse([("containerd.io/gc.root", "")]);
    world.here().containers[0].mounted_snapshots = vec!["other".to_owned()];
    let answer = answer(&world, "other");
    let holders = answer.holders.iter().map(|it| it.holder.to_string());
    assert_eq!(holders.collect::<Vec<_>>(), ["snapshot overlayfs/other"]);
}
