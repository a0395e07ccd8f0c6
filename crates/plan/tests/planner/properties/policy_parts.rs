//! What holds when a policy frees parts of images, in every world.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;
use reclaim_model::{KeepReason, LastUse, PolicyPart, RuleImages};
use reclaim_plan::{check, eviction_order, no_longer_cut};

use super::slim::{collected, keeps_a_copy, pulled};
use super::{assert_frees, shuffled};
use crate::naive;
use crate::random::scenes;
use crate::rule::{by_policy, goal, known, lenient, limited};
use crate::slim::cut;
use crate::world::{Outcome, World, ago};

/// A policy at a moment, apart from the times of use.
#[derive(Debug, Clone)]
struct Settings {
    part: PolicyPart,
    hours: Vec<i64>,
    min_age: u32,
    keep_newest: usize,
    amount: Option<u64>,
    max_images: Option<usize>,
}

fn settings() -> impl Strategy<Value = Settings> {
    (
        prop::sample::select(PolicyPart::ALL.to_vec()),
        prop::collection::vec(0_i64..9, 8),
        0_u32..4,
        0_usize..2,
        prop::option::weighted(0.7, 1_u64..60_000_000),
        prop::option::weighted(0.2, 0_usize..4),
    )
        .prop_map(
            |(part, hours, min_age, keep_newest, amount, max_images)| Settings {
                part,
                hours,
                min_age,
                keep_newest,
                amount,
                max_images,
            },
        )
}

impl Settings {
    fn images(&self, world: &World) -> RuleImages {
        let inventory = world.inventory();
        let pruned = &inventory.namespaces[&World::NAMESPACE.parse().unwrap()];
        let uses = pruned.images.iter().zip(self.hours.iter().cycle());
        let uses = uses.map(|(image, hours)| {
            let moment = ago(SignedDuration::from_hours(*hours));
            let known = LastUse {
                first_seen: moment,
                last_used: moment,
                unused_since: Some(moment),
                spared_until: None,
            };
            (image.target.digest.clone(), known)
        });
        let mut images = lenient();
        images.uses = known(uses.collect());
        images.part = self.part;
        images.rule.min_age = std::time::Duration::from_secs(3600) * self.min_age;
        images.rule.keep_newest = self.keep_newest;
        images.goals = self.amount.map(|amount| vec![goal(amount)]);
        images.max_images = self.max_images;
        images
    }

    /// The plan as it is carried out.
    fn outcome(&self, world: &World) -> Outcome {
        let images = self.images(world);
        let mut outcome = world.decide(&by_policy(&images));
        outcome.plan = limited(world, &images).plan;
        outcome
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The bytes of a choice are those that the collector frees, whatever its images share.
    #[test]
    fn frees_what_the_collector_would(scene in scenes(), settings in settings()) {
        let world = pulled(scene.world());
        let outcome = settings.outcome(&world);
        let request = by_policy(&settings.images(&world));
        let inventory = world.inventory();
        check(&outcome.plan, &inventory, &world.registered, &request).unwrap();
        let mut left = super::carried_out(&cut(&world, &outcome.plan.cuts), &outcome).inventory();
        let pruned = &inventory.namespaces[&outcome.plan.namespace];
        let left = left.namespaces.remove(&outcome.plan.namespace).unwrap();
        assert_frees(&outcome.plan, &naive::difference(&inventory, pruned, &left));
    }

    /// The least recently used lose a part first, and none beyond the goal.
    #[test]
    fn the_choice_is_the_eviction_order_until_the_goal_is_met(
        scene in scenes(),
        mut settings in settings(),
    ) {
        let world = pulled(scene.world());
        settings.max_images = None;
        let amount = settings.amount.unwrap_or(u64::MAX);
        settings.amount = Some(amount);
        let images = settings.images(&world);
        let inventory = world.inventory();
        let mut all = images.clone();
        all.goals = None;
        let all = limited(&world, &all).plan;
        let candidates = eviction_order(&all, &inventory, &images);
        let is_sorted = candidates.is_sorted_by(|a, b| {
            (a.used, a.pulled, &a.name) <= (b.used, b.pulled, &b.name)
        });
        prop_assert!(is_sorted);
        let certain = all.at_least().total_bytes();
        prop_assert_eq!(candidates.iter().map(|it| it.frees[0]).sum::<u64>(), certain);
        let mut sum = 0;
        for candidate in &candidates {
            if sum >= amount {
                break;
            }
            sum += candidate.frees[0];
        }
        let chosen = limited(&world, &images);
        prop_assert_eq!(chosen.freed[0], sum);
        prop_assert_eq!(chosen.plan.at_least().total_bytes(), sum);
        // Each cut frees something.
        let left = naive::kept(&cut(&world, &chosen.plan.cuts).inventory()
            .namespaces[&chosen.plan.namespace], world.rules);
        for cut in &chosen.plan.cuts {
            prop_assert!(!left.contains(&cut.target.reference()), "{cut:?}");
        }
    }

    /// What a rule keeps as an image keeps its snapshots, too.
    #[test]
    fn an_image_that_a_rule_keeps_loses_no_snapshot(scene in scenes(), mut settings in settings()) {
        let world = pulled(scene.world());
        settings.amount = None;
        settings.max_images = None;
        settings.part = PolicyPart::Images;
        let images = settings.outcome(&world);
        let mut spared: BTreeSet<&str> = images.removed().into_iter().collect();
        // No rule keeps the image itself, and its snapshots are not those of the other one.
        let kept = images.plan.kept.iter();
        let kept = kept.filter(|kept| kept.reason == KeepReason::DependentStays);
        spared.extend(kept.map(|kept| &*kept.name));
        settings.part = PolicyPart::Snapshots;
        for slimmed in &settings.outcome(&world).plan.slimmed {
            prop_assert!(spared.contains(&*slimmed.name), "{}", slimmed.name);
        }
    }

    /// Whatever a policy frees in which order, each record can be started as before.
    #[test]
    fn no_sequence_of_steps_loses_both_copies(
        scene in scenes(),
        steps in prop::collection::vec(settings(), 1..5),
    ) {
        let mut world = pulled(scene.world());
        for step in steps {
            let outcome = step.outcome(&world);
            let after = collected(&world, &outcome);
            keeps_a_copy(&world, &after, &outcome.plan.cuts)?;
            world = after;
        }
    }

    #[test]
    fn order_does_not_matter(scene in scenes(), settings in settings(), turn in 0..9_usize) {
        let world = pulled(scene.world());
        let images = settings.images(&world);
        let plan = limited(&world, &images).plan;
        let other = limited(&shuffled(&world, turn), &images).plan;
        prop_assert_eq!(format!("{plan:?}"), format!("{other:?}"));
    }

    /// The second look needs none of the labels of a choice back while nothing changes.
    #[test]
    fn an_unchanged_store_needs_no_label_back(scene in scenes(), settings in settings()) {
        let world = pulled(scene.world());
        let request = by_policy(&settings.images(&world));
        let cuts = settings.outcome(&world).plan.cuts;
        let inventory = cut(&world, &cuts).inventory();
        prop_assert_eq!(no_longer_cut(inventory, &world.registered, &request, &cuts), []);
    }
}
