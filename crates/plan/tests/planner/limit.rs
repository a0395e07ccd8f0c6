//! Freeing as much as was asked for and no more.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;
use reclaim_model::{Digest, Filesystem, KeepReason, Plan, Room};
use reclaim_plan::{TooLittle, decide, limit};

use crate::dependents::loses_nothing;
use crate::disk_usage::sizes;
use crate::naive;
use crate::random::scenes;
use crate::world::{OVERLAY, RecordExt, World, ago, all, bytes, content, library, request};

fn whole(world: &World) -> Plan {
    let inventory = world.inventory();
    let decision = decide(&inventory, &world.registered, &request(all()));
    let sizes = sizes(&inventory).remove(&World::NAMESPACE.parse().unwrap());
    decision.into_plan(&sizes.unwrap())
}

fn limited(world: &World, target: u64) -> Result<Plan, TooLittle> {
    limit(whole(world), &world.inventory(), target, None)
}

fn removed(plan: &Plan) -> Vec<&str> {
    plan.steps
        .iter()
        .map(|step| step.image.name.as_str())
        .collect()
}

/// Images without a common layer, each a day younger than the one before.
fn by_age(names: &[&str]) -> World {
    let mut world = World::new();
    for (days, name) in (1..).zip(names.iter().rev()) {
        world.manifest(
            name,
            crate::world::Part {
                layers: &[name],
                ..Default::default()
            },
        );
        let created = ago(SignedDuration::from_hours(24 * days));
        world
            .record(&library(&format!("{name}:1")), name)
            .created(created);
    }
    world
}

/// The layer is only leased once `b` is gone.
#[test]
fn leases_on_images_that_stay_are_not_listed() {
    let mut world = World::new();
    world
        .image(&library("a:1"), "A")
        .created(ago(SignedDuration::from_hours(48)));
    world
        .image(&library("b:1"), "B")
        .created(ago(SignedDuration::from_hours(24)));
    world.lease("pull", &[content("B.layer")]);
    let leases = |plan: &Plan| {
        let leased = &plan.not_counted.leased;
        let ids = leased.leases.iter().map(|lease| lease.id.clone());
        (
            ids.collect::<Vec<_>>(),
            leased.things.amount().content_bytes,
        )
    };
    let enough = limited(&world, 1).unwrap();
    assert_eq!(removed(&enough), [library("a:1")]);
    assert_eq!(leases(&enough), (vec![], 0));
    let most = whole(&world).freed.amount().total_bytes();
    let all = limited(&world, most).unwrap();
    assert_eq!(removed(&all), [library("a:1"), library("b:1")]);
    assert_eq!(leases(&all), (vec!["pull".to_owned()], bytes("B.layer")));
}

/// Only what is on the filesystem counts.
#[test]
fn a_target_counts_on_its_filesystem() {
    let mut world = by_age(&["b"]);
    let packed = crate::world::Part {
        layers: &["a"],
        is_unpacked: false,
        ..Default::default()
    };
    world.manifest("a", packed);
    let created = ago(SignedDuration::from_hours(1000));
    world.record(&library("a:1"), "a").created(created);
    let filesystem = |has_content, snapshotters: &[&str]| Filesystem {
        mount_point: "/x".into(),
        block: 4096,
        bytes: Room::default(),
        inodes: Room::default(),
        has_content,
        snapshotters: snapshotters.iter().map(|it| (*it).into()).collect(),
    };
    let limited =
        |target: u64, on: &Filesystem| limit(whole(&world), &world.inventory(), target, Some(on));
    let freed = whole(&world).freed.amount();
    let content = filesystem(true, &[]);
    assert_eq!(removed(&limited(1, &content).unwrap()), [library("a:1")]);
    let all = limited(freed.content_bytes, &content).unwrap();
    assert_eq!(removed(&all).len(), 2);
    let error = limited(freed.content_bytes + 1, &content).unwrap_err();
    assert_eq!(error.available, freed.content_bytes);
    let snapshots = filesystem(false, &[OVERLAY]);
    assert_eq!(removed(&limited(1, &snapshots).unwrap()), [library("b:1")]);
    let error = limited(1, &filesystem(false, &["stargz"])).unwrap_err();
    assert_eq!(error.available, 0);
}

#[test]
fn the_oldest_go_until_enough_is_free() {
    let world = by_age(&["a", "b", "c"]);
    let everything = whole(&world).freed.amount().total_bytes();
    assert_eq!(removed(&limited(&world, 1).unwrap()), [library("a:1")]);
    assert_eq!(removed(&limited(&world, everything).unwrap()).len(), 3);
    let available = everything;
    assert_eq!(
        limited(&world, everything + 1).unwrap_err(),
        TooLittle { available }
    );
}

#[test]
fn the_names_of_a_target_go_by_the_youngest_of_them() {
    let mut world = by_age(&["a", "b"]);
    let created = ago(SignedDuration::from_secs(1));
    world.record(&library("z:1"), "a").created(created);
    let plan = limited(&world, 1).unwrap();
    assert_eq!(removed(&plan), [library("b:1")]);
    let spared: Vec<_> = plan
        .kept
        .iter()
        .map(|it| (it.name.as_str(), it.reason))
        .collect();
    assert_eq!(spared.len(), 2);
    assert!(
        spared
            .iter()
            .all(|(_, reason)| *reason == KeepReason::NotNeeded)
    );
}

#[test]
fn an_unknown_age_is_the_youngest() {
    let mut world = by_age(&["b"]);
    world.record(&library("a:1"), "b").created_at = None;
    world.manifest(
        "c",
        crate::world::Part {
            layers: &["c"],
            ..Default::default()
        },
    );
    world
        .record(&library("c:1"), "c")
        .created(ago(SignedDuration::ZERO));
    assert_eq!(removed(&limited(&world, 1).unwrap()), [library("c:1")]);
}

#[test]
fn a_shared_layer_counts_with_the_last_image_that_has_it() {
    let mut world = World::new();
    for (days, name) in [(3, "A"), (2, "B"), (1, "C")] {
        let created = ago(SignedDuration::from_hours(24 * days));
        world
            .image(&library(&format!("{}:1", name.to_lowercase())), name)
            .created(created);
    }
    let everything = whole(&world).freed.amount().total_bytes();
    // Without the layer and snapshot that all three have, the sum falls short.
    let own = everything - bytes("base");
    assert_eq!(removed(&limited(&world, own).unwrap()).len(), 3);
}

proptest! {
    #[test]
    fn frees_enough_and_needs_every_image_for_it(scene in scenes(), share in 1..=100_u64) {
        let world = scene.world();
        let whole = whole(&world);
        let target = (whole.freed.amount().total_bytes() * share / 100).max(1);
        let Ok(plan) = limited(&world, target) else {
            prop_assert!(whole.freed.amount().total_bytes() < target);
            return Ok(());
        };
        prop_assert!(plan.freed.amount().total_bytes() >= target);
        loses_nothing(&world, &plan)?;
        prop_assert_eq!(plan.steps.len() + plan.kept.len(), whole.steps.len() + whole.kept.len());

        let inventory = world.inventory();
        let pruned = &inventory.namespaces[&plan.namespace];
        let bytes_of = |names: &[&str]| {
            let (blobs, snapshots) = naive::freed(&inventory, pruned, names);
            let blobs = pruned.blobs.iter().filter(|it| blobs.contains(&it.digest));
            let blobs: u64 = blobs.map(|it| it.size).sum();
            blobs + snapshots.iter().map(|id| bytes(&id.key)).sum::<u64>()
        };
        prop_assert_eq!(bytes_of(&removed(&plan)), plan.freed.amount().total_bytes());
        if world.has_dependents() {
            // They go with others, needed or not.
            return Ok(());
        }
        let targets: BTreeSet<&Digest> =
            plan.steps.iter().map(|step| &step.image.target.digest).collect();
        for left_out in targets {
            let rest = plan.steps.iter().filter(|it| it.image.target.digest != *left_out);
            let rest: Vec<&str> = rest.map(|it| it.image.name.as_str()).collect();
            prop_assert!(bytes_of(&rest) < target, "{left_out} is not needed");
        }
    }
}
