//! The map of a store: its objects are what disk usage counts, and what images free together is
//! what the collector frees.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reclaim_model::{
    Amount, CollectorRules, Column, ObjectKind, SnapshotKind, StoreMap, StoredObject,
};
use reclaim_plan::{UsageInput, disk_usage, store_map};

use crate::disk_usage::{pruned, registered, sizes};
use crate::naive;
use crate::random::scenes;
use crate::world::{OVERLAY, World, chain, content, digest, library};

fn map(world: &World) -> StoreMap {
    let inventory = world.inventory();
    store_map(&UsageInput {
        inventory: &inventory,
        registered: &registered(world),
        snapshot_bytes: &sizes(&inventory),
        orphaned: Some(&[]),
        outside_records: None,
    })
}

/// Adds up objects by column.
fn columns(objects: &[StoredObject]) -> BTreeMap<Column, Amount> {
    let mut columns: BTreeMap<Column, Amount> = BTreeMap::new();
    for object in objects {
        let amount = columns.entry(object.column).or_default();
        if object.kind == ObjectKind::Snapshot {
            amount.snapshots += 1;
            amount.snapshot_bytes += object.bytes.unwrap_or(0);
        } else {
            amount.blobs += 1;
            amount.content_bytes += object.bytes.unwrap_or(0);
        }
    }
    columns
}

#[test]
fn each_object_names_its_images_and_what_else_keeps_it() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.image(&library("b:1"), "B");
    world.snapshot(
        &chain("left"),
        Some(&chain("base")),
        SnapshotKind::Committed,
    );
    world.lease("pull", &[content("B.layer")]);
    world.within("other").image(&library("c:1"), "A");
    let map = map(&world);
    let namespace = map.namespace(&pruned()).unwrap();
    let find = |id: String| {
        let mut objects = namespace.objects.iter();
        objects.find(|object| object.id == id).unwrap()
    };
    let blob = |name: &str| {
        let object = find(digest(name).to_string());
        (object.kind, &*object.images, object.held)
    };
    assert_eq!(blob("A"), (ObjectKind::Manifest, &[0][..], true));
    assert_eq!(blob("B"), (ObjectKind::Manifest, &[1][..], false));
    assert_eq!(blob("B.config"), (ObjectKind::Config, &[1][..], false));
    assert_eq!(blob("B.layer"), (ObjectKind::Layer, &[1][..], true));
    assert_eq!(blob("base"), (ObjectKind::Layer, &[0, 1][..], true));
    let left = find(format!("{OVERLAY}/{}", chain("left")));
    let expected = (ObjectKind::Snapshot, &[][..], Column::Pending);
    assert_eq!((left.kind, &*left.images, left.column), expected);

    let [of_a, of_b] = &namespace.images[..] else {
        panic!("{:?}", namespace.images);
    };
    assert_eq!(of_a[0].digest, digest("A"));
    let parts: Vec<ObjectKind> = of_b[0]
        .objects
        .iter()
        .map(|object| namespace.objects[*object as usize].kind)
        .collect();
    let expected = [
        ObjectKind::Manifest,
        ObjectKind::Config,
        ObjectKind::Layer,
        ObjectKind::Layer,
        ObjectKind::Snapshot,
        ObjectKind::Snapshot,
    ];
    assert_eq!(parts, expected);
}

proptest! {
    #[test]
    fn the_objects_are_what_disk_usage_counts(scene in scenes()) {
        let world = scene.world();
        let map = map(&world);
        let inventory = world.inventory();
        let usage = disk_usage(&UsageInput {
            inventory: &inventory,
            registered: &registered(&world),
            snapshot_bytes: &sizes(&inventory),
            orphaned: Some(&[]),
            outside_records: None,
        });
        prop_assert_eq!(&map.usage, &usage);
        for (counted, mapped) in usage.namespaces.iter().zip(&map.namespaces) {
            let mut expected: BTreeMap<Column, Amount> = counted.usage.columns().collect();
            // These are not objects: a blob that is being written, or one of an unknown algorithm.
            expected.remove(&Column::Ingest);
            expected.remove(&Column::Unknown);
            prop_assert_eq!(columns(&mapped.objects), expected);
            let images = counted.image_usage.as_ref().unwrap();
            prop_assert_eq!(mapped.images.len(), images.len());
        }
    }

    #[test]
    fn images_free_together_what_the_collector_frees(scene in scenes(), chosen in any::<u64>()) {
        let world = scene.world();
        let map = map(&world);
        let inventory = world.inventory();
        let sizes = &sizes(&inventory)[&pruned()];
        let namespace = &inventory.namespaces[&pruned()];
        // A record that has expired holds nothing by itself.
        let is_root = |image: usize| {
            let expires = namespace.images[image].expires;
            inventory.rules < CollectorRules::V2_0
                || expires.is_none_or(|expires| expires >= inventory.observed_at)
        };
        let is_removed = |image: usize| is_root(image) && chosen >> (image % 64) & 1 == 1;
        let removed = (0..namespace.images.len()).filter(|image| is_removed(*image));
        let names: Vec<&str> = removed.map(|image| &*namespace.images[image].name).collect();
        let (blobs, snapshots) = naive::freed(&inventory, namespace, &names);
        let content = namespace.blobs.iter().filter(|it| blobs.contains(&it.digest));
        let content: u64 = content.map(|it| it.size).sum();
        let unpacked: u64 = snapshots.iter().filter_map(|id| sizes.get(id)?).sum();
        let mapped = map.namespace(&pruned()).unwrap();
        prop_assert_eq!(mapped.freed_by(|image| is_removed(image as usize)), content + unpacked);
    }
}
