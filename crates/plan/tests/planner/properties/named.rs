//! What holds for every removal by name, on every world.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reclaim_model::{NamedImages, RemoveReason, ResolvedRequest};
use reclaim_plan::decide_again;

use super::{assert_frees, shuffled};
use crate::naive;
use crate::random::{given, scenes};
use crate::world::World;

fn requests() -> impl Strategy<Value = ResolvedRequest> {
    let names = prop::collection::vec(given(), 1..4);
    (names, any::<bool>(), any::<bool>()).prop_map(|(names, force, prune_parents)| {
        ResolvedRequest::new(
            World::NAMESPACE.parse().unwrap(),
            NamedImages {
                names,
                force,
                prune_parents,
            },
        )
    })
}

proptest! {
    #[test]
    fn frees_what_the_collector_would(scene in scenes(), request in requests()) {
        let world = scene.world();
        // This runs the linter, too: no container loses its image, or the snapshots below its own.
        let outcome = world.decide(&request);
        let inventory = world.inventory();
        let pruned = &inventory.namespaces[&outcome.plan.namespace];
        let steps = outcome.plan.steps.iter();
        let gone = steps.filter(|it| it.reason != RemoveReason::Replaced);
        let gone: Vec<&str> = gone.map(|it| it.image.name.as_str()).collect();
        assert_frees(&outcome.plan, &naive::freed(&inventory, pruned, &gone));
    }

    #[test]
    fn order_does_not_matter(scene in scenes(), request in requests(), turn in 0..9_usize) {
        let world = scene.world();
        let plan = world.decide(&request).plan;
        let other = shuffled(&world, turn).decide(&request).plan;
        prop_assert_eq!(format!("{plan:?}"), format!("{other:?}"));
    }

    #[test]
    fn tells_of_every_record_that_goes(scene in scenes(), request in requests()) {
        let outcome = scene.world().decide(&request);
        let named = outcome.plan.named.iter();
        let reported = named.filter_map(|it| it.outcome().ok());
        let reported: Vec<&str> = reported.flat_map(|it| &it.records).map(String::as_str).collect();
        let once: BTreeSet<&str> = reported.iter().copied().collect();
        prop_assert_eq!(once.len(), reported.len());
        prop_assert_eq!(once, outcome.removed().into_iter().collect());
    }

    /// The second look evaluates again; without a change nothing has to come back.
    #[test]
    fn what_went_need_not_come_back(scene in scenes(), request in requests()) {
        let mut world = scene.world();
        let outcome = world.decide(&request);
        for step in &outcome.plan.steps {
            let nameless = step.image.without_name();
            if step.reason == RemoveReason::Replaced {
                // What refers to that name would hold it, and all that the image is made of.
                prop_assume!(!world.is_referred_to(&nameless.name));
                world.within(World::NAMESPACE).here().images.push(nameless);
            }
        }
        let removed: BTreeSet<&str> = outcome.removed().into_iter().collect();
        let inventory = world.inventory();
        let again = decide_again(&inventory, &world.registered, &request, &removed);
        let back = again.kept().iter().filter(|it| removed.contains(it.name.as_str()));
        prop_assert_eq!(back.map(|it| &it.name).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
