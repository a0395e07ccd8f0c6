//! What holds when parts of images go, in every world.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reclaim_model::{
    CollectorRules, Cut, Document, GcRef, ImageParts, Inventory, NamespaceInventory, Part,
    PruneFilters, SnapshotId, SnapshotKind,
};
use reclaim_plan::no_longer_cut;

use super::{assert_frees, carried_out, shuffled};
use crate::naive;
use crate::random::{scenes, users, write};
use crate::slim::{cut, parts, slim};
use crate::world::{Outcome, World, all, sort};

/// A request for some parts of all images.
fn requests() -> impl Strategy<Value = ImageParts<PruneFilters>> {
    let some = prop_oneof![
        Just(vec![Part::Snapshots]),
        Just(vec![Part::Layers]),
        Just(vec![Part::Snapshots, Part::Layers]),
        Just(vec![Part::Platforms]),
        Just(Part::ALL.to_vec()),
    ];
    some.prop_map(|some| parts(&some))
}

/// Says of all blobs that they were pulled, so that layers may go.
pub(super) fn pulled(mut world: World) -> World {
    let key = "containerd.io/distribution.source.docker.io";
    for name in ["A", "A2", "B", "C", "D", "A.config", "A2.config"] {
        let is_here = |world: &mut World| {
            let mut blobs = world.here().blobs.iter();
            blobs.any(|blob| blob.digest == crate::world::digest(name))
        };
        if is_here(world.within(World::NAMESPACE)) {
            world.blob(name, &[(key, "library/a,library/b,library/c,team/a")]);
        }
    }
    world
}

/// The manifests whose layers a record keeps by itself, compressed or unpacked: the record and all
/// objects, without anything else that holds.
fn startable(
    inventory: &Inventory,
    namespace: &NamespaceInventory,
    record: usize,
) -> BTreeSet<String> {
    let mut alone = namespace.clone();
    let image = alone.images.swap_remove(record);
    alone.images = vec![image];
    alone.leases.clear();
    alone.containers.clear();
    alone.sandboxes.clear();
    for snapshot in alone.snapshots.values_mut().flatten() {
        snapshot.gc.root = reclaim_model::RootMark::None;
        snapshot.gc.back_refs = Box::default();
    }
    for blob in &mut alone.blobs {
        blob.gc.root = reclaim_model::RootMark::None;
        blob.gc.back_refs = Box::default();
    }
    // An expired record holds nothing by newer rules.
    let kept = naive::kept(&alone, CollectorRules::V1);
    let has_blob = |digest: &reclaim_model::Digest| {
        kept.contains(&GcRef::Content(digest.clone()))
            && namespace.blobs.iter().any(|blob| blob.digest == *digest)
    };
    let has_chain = |chain: &reclaim_model::Digest, length: usize| {
        namespace.snapshots.iter().any(|(snapshotter, list)| {
            let mut at = Some(chain.to_string());
            let mut depth = 0;
            while let Some(key) = at {
                let id = SnapshotId::new(snapshotter.clone(), key.as_str());
                let found = list.iter().find(|it| *it.key == *key);
                let Some(found) = found.filter(|_| kept.contains(&GcRef::Snapshot(id))) else {
                    return false;
                };
                if found.kind != SnapshotKind::Committed || depth == length {
                    return false;
                }
                depth += 1;
                at = found.parent.as_deref().map(str::to_owned);
            }
            depth == length
        })
    };
    let documents = inventory.documents.iter();
    let startable = documents.filter(|(digest, document)| {
        let Document::Manifest(children) = document else {
            return false;
        };
        let (config, layers) = children.split_first().unwrap();
        let chain = match inventory.documents.get(&config.digest) {
            Some(Document::Config(config)) => config.chain_id.clone(),
            _ => None,
        };
        let is_packed = layers.iter().all(|layer| has_blob(&layer.digest));
        has_blob(digest)
            && has_blob(&config.digest)
            && (is_packed || chain.is_some_and(|chain| has_chain(&chain, layers.len())))
    });
    startable.map(|(digest, _)| digest.to_string()).collect()
}

/// Asserts that each record can be started from what it could be started from before.
pub(super) fn keeps_a_copy(
    before: &World,
    after: &World,
    cuts: &[Cut],
) -> Result<(), TestCaseError> {
    let inventory = before.inventory();
    let here = |world: &World| {
        let mut here = world.namespaces[World::NAMESPACE].clone();
        sort(&mut here);
        here
    };
    // What is garbage already goes whatever the plan is.
    let rules = before.rules;
    let (before, after) = (naive::collected(&here(before), rules), here(after));
    for (index, image) in after.images.iter().enumerate() {
        let was = before.images.iter().position(|it| it.name == image.name);
        let Some(was) = was.map(|was| startable(&inventory, &before, was)) else {
            continue;
        };
        let now = startable(&inventory, &after, index);
        let platforms = cuts.iter().filter_map(Cut::platform);
        let platforms: BTreeSet<String> = platforms.map(ToString::to_string).collect();
        let mut lost = was.difference(&now).filter(|it| !platforms.contains(*it));
        prop_assert_eq!(lost.next(), None, "{}: {:?}, {:?}", image.name, was, now);
        prop_assert!(
            was.is_empty() || !now.is_empty(),
            "{}: {:?}",
            image.name,
            was
        );
    }
    Ok(())
}

/// What is left when the plan has been carried out and containerd has collected.
pub(super) fn collected(world: &World, outcome: &Outcome) -> World {
    let mut world = cut(&carried_out(world, outcome), &outcome.plan.cuts);
    let rules = world.rules;
    let here = world.within(World::NAMESPACE).here();
    *here = naive::collected(here, rules);
    world
}

proptest! {
    #[test]
    fn frees_what_the_collector_would(scene in scenes(), request in requests()) {
        let world = pulled(scene.world());
        let outcome = world.decide(&slim(request));
        let inventory = world.inventory();
        let pruned = &inventory.namespaces[&outcome.plan.namespace];
        let mut left = cut(&world, &outcome.plan.cuts).inventory();
        let left = left.namespaces.remove(&outcome.plan.namespace).unwrap();
        assert_frees(&outcome.plan, &naive::difference(&inventory, pruned, &left));
    }

    #[test]
    fn no_image_loses_both_copies(scene in scenes(), request in requests()) {
        let world = pulled(scene.world());
        let outcome = world.decide(&slim(request));
        let cuts = &outcome.plan.cuts;
        keeps_a_copy(&world, &cut(&world, cuts), cuts)?;
    }

    /// Whatever went before, and in whatever order.
    #[test]
    fn no_sequence_loses_both_copies(
        scene in scenes(),
        steps in prop::collection::vec(prop::option::weighted(0.8, requests()), 1..5),
        user in users(),
    ) {
        let mut world = pulled(scene.world());
        for (number, step) in steps.into_iter().enumerate() {
            let outcome = match step {
                Some(request) => world.decide(&slim(request)),
                None => world.prune_by(all()),
            };
            let after = collected(&world, &outcome);
            keeps_a_copy(&world, &after, &outcome.plan.cuts)?;
            world = after;
            if number == 1 {
                write(&mut world, &user);
            }
        }
    }

    #[test]
    fn order_does_not_matter(scene in scenes(), request in requests(), turn in 0..9_usize) {
        let world = pulled(scene.world());
        let request = slim(request);
        let plan = world.decide(&request).plan;
        let other = shuffled(&world, turn).decide(&request).plan;
        prop_assert_eq!(format!("{plan:?}"), format!("{other:?}"));
    }

    /// What nothing uses loses its snapshots, and only that.
    #[test]
    fn unpacks_only_what_a_prune_would_remove(scene in scenes()) {
        let world = pulled(scene.world());
        let pruned = world.prune_by(all());
        let outcome = world.decide(&slim(parts(&[Part::Snapshots])));
        for slimmed in &outcome.plan.slimmed {
            prop_assert!(pruned.removed().contains(&&*slimmed.name), "{}", slimmed.name);
        }
    }

    #[test]
    fn a_second_run_finds_nothing_more(scene in scenes(), request in requests()) {
        let mut world = pulled(scene.world());
        // What goes without a plan may make way for one.
        let rules = world.rules;
        let here = world.within(World::NAMESPACE).here();
        *here = naive::collected(here, rules);
        let request = slim(request);
        let left = collected(&world, &world.decide(&request));
        let again = left.decide(&request);
        prop_assert_eq!(&again.plan.cuts, &[]);
    }

    /// The second look plans again with the labels restored.
    #[test]
    fn an_unchanged_store_needs_no_label_back(scene in scenes(), request in requests()) {
        let world = pulled(scene.world());
        let request = slim(request);
        let cuts = world.decide(&request).plan.cuts;
        let inventory = cut(&world, &cuts).inventory();
        prop_assert_eq!(no_longer_cut(inventory, &world.registered, &request, &cuts), []);
    }
}
