//! What holds for every world.

mod hostile;
mod named;
mod oracle;
mod origins;
mod policy_parts;
mod slim;

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;
use reclaim_model::{Digest, LabelFilter, Plan, PruneFilters, RemoveReason, SnapshotId};

use crate::naive;
use crate::random::{scenes, users, write};
use crate::world::{Outcome, World, ago, all};

/// Filters of every kind.
fn filters() -> impl Strategy<Value = PruneFilters> {
    let dangling = prop_oneof![1 => Just(None), 4 => Just(Some(false))];
    let until = prop::option::weighted(0.3, 0..20_u8);
    (dangling, until).prop_map(|(dangling, until)| PruneFilters {
        dangling,
        until: until.map(days_ago),
        labels: Vec::new(),
    })
}

fn days_ago(days: u8) -> jiff::Timestamp {
    ago(SignedDuration::from_hours(24 * i64::from(days)))
}

/// Records that go although nothing says that their content is in use.
fn unused(outcome: &Outcome) -> BTreeSet<String> {
    let steps = outcome.plan.steps.iter();
    let unused = steps.filter(|step| step.reason != RemoveReason::Duplicate);
    unused.map(|step| step.image.name.clone()).collect()
}

/// Targets of which no record is left.
fn lost(outcome: &Outcome) -> BTreeSet<&Digest> {
    let kept: BTreeSet<_> = outcome.plan.kept.iter().map(|kept| &kept.target).collect();
    let steps = outcome.plan.steps.iter();
    let targets = steps.map(|step| &step.image.target.digest);
    targets.filter(|target| !kept.contains(target)).collect()
}

/// Asserts that `after` takes nothing that `before` did not. Of several records of a target in
/// use another one may be kept: that is no loss.
fn takes_no_more(before: &Outcome, after: &Outcome) -> Result<(), TestCaseError> {
    prop_assert!(unused(after).is_subset(&unused(before)));
    prop_assert!(lost(after).is_subset(&lost(before)));
    Ok(())
}

/// The same world, listed in another order.
fn shuffled(world: &World, turn: usize) -> World {
    fn turned<T>(list: &mut [T], turn: usize) {
        list.reverse();
        list.rotate_left(turn.checked_rem(list.len()).unwrap_or(0));
    }
    let mut world = world.clone();
    turned(&mut world.registered, turn);
    for namespace in world.namespaces.values_mut() {
        turned(&mut namespace.images, turn);
        turned(&mut namespace.blobs, turn);
        turned(&mut namespace.containers, turn);
        turned(&mut namespace.leases, turn);
        for list in namespace.snapshots.values_mut() {
            turned(list, turn);
        }
    }
    world
}

/// What is left when the plan has been carried out, before the collector has come by.
fn carried_out(world: &World, outcome: &Outcome) -> World {
    let removed = outcome.removed();
    let mut world = world.clone();
    let pruned = world.within(World::NAMESPACE).here();
    pruned
        .images
        .retain(|image| !removed.contains(&&*image.name));
    world
}

/// The plan says of each blob and snapshot once, and in order, that it will be freed.
fn assert_frees(plan: &Plan, (blobs, snapshots): &(BTreeSet<Digest>, BTreeSet<SnapshotId>)) {
    let planned: Vec<&Digest> = plan.freed.blobs.iter().map(|it| &it.digest).collect();
    assert_eq!(planned, Vec::from_iter(blobs));
    let planned: Vec<&SnapshotId> = plan.freed.snapshots.iter().map(|it| &it.id).collect();
    assert_eq!(planned, Vec::from_iter(snapshots));
}

proptest! {
    #[test]
    fn frees_what_the_collector_would(scene in scenes(), filters in filters()) {
        let world = scene.world();
        let outcome = world.prune_by(filters);
        let inventory = world.inventory();
        let pruned = &inventory.namespaces[&outcome.plan.namespace];
        assert_frees(&outcome.plan, &naive::freed(&inventory, pruned, &outcome.removed()));
    }

    #[test]
    fn order_does_not_matter(scene in scenes(), filters in filters(), turn in 0..9_usize) {
        let world = scene.world();
        let plan = world.prune_by(filters.clone()).plan;
        let other = shuffled(&world, turn).prune_by(filters).plan;
        prop_assert_eq!(format!("{plan:?}"), format!("{other:?}"));
    }

    #[test]
    fn removes_nothing_that_is_used(scene in scenes(), filters in filters()) {
        let world = scene.world();
        oracle::check(&world, &world.prune_by(filters))?;
    }

    #[test]
    fn a_user_more_takes_nothing_more(scene in scenes(), user in users(), filters in filters()) {
        let mut world = scene.world();
        let before = world.prune_by(filters.clone());
        write(&mut world, &user);
        takes_no_more(&before, &world.prune_by(filters))?;
    }

    #[test]
    fn a_filter_more_takes_nothing_more(scene in scenes(), age in 0..20_u8, more in 0..20_u8) {
        let world = scene.world();
        let by_age = |days| PruneFilters { until: Some(days_ago(days)), ..all() };
        let every = world.prune_by(all());
        let before = world.prune_by(by_age(age));
        takes_no_more(&every, &before)?;
        takes_no_more(&before, &world.prune_by(by_age(age + more)))?;
        let labels = vec![LabelFilter::parse(false, "absent").unwrap()];
        takes_no_more(&every, &world.prune_by(PruneFilters { labels, ..all() }))?;
        takes_no_more(&every, &world.prune())?;
    }

    #[test]
    fn a_second_prune_finds_nothing_more(scene in scenes(), filters in filters()) {
        let world = scene.world();
        let left = carried_out(&world, &world.prune_by(filters.clone()));
        let again = left.prune_by(filters.clone());
        prop_assert_eq!(again.removed(), Vec::<&str>::new());
        prop_assert_eq!(again.blobs(), Vec::<&str>::new());
        prop_assert_eq!(again.snapshots(), Vec::<&str>::new());
    }

    #[test]
    fn what_a_prune_leaves_is_in_use_after_the_collection_too(
        scene in scenes(),
        user in users(),
    ) {
        let mut world = scene.world();
        write(&mut world, &user);
        let mut left = carried_out(&world, &world.prune_all());
        let rules = left.rules;
        for namespace in left.namespaces.values_mut() {
            *namespace = naive::collected(namespace, rules);
        }
        oracle::check(&left, &left.prune_all())?;
    }
}
