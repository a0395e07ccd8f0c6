//! Images that expire and depend on another: what keeps them, and what they keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;
use reclaim_model::{
    CollectorRules, ConflictCause, EXPIRE, GcRef, KeepReason, LeaseResource, NamedImages,
    NotRemoved, Outlook, Plan, Protection, PruneFilters, RemoveReason, ResolvedRequest, Step,
};
use reclaim_plan::{Question, decide_again, keep_steps_for_dependents, why};

use crate::naive;
use crate::random::{given, scenes};
use crate::world::{ContainerExt, Outcome, RecordExt, World, ago, all, library, request, sort};

const BREF: &str = "containerd.io/gc.bref.image";

fn past() -> String {
    ago(SignedDuration::from_hours(1)).to_string()
}

/// What the transfer service of 2.3 stores of an archive with an index and two names.
fn imported() -> World {
    let mut world = World::new().with_rules(CollectorRules::V2_3);
    world.image(&library("other:1"), "C");
    world.image(&library("one:1"), "A");
    depend(&mut world, "index:1");
    world.image(&library("two:1"), "B");
    depend(&mut world, "index:1");
    world.index("I", &["A", "B"]);
    world.record(&library("index:1"), "I");
    world
}

/// Makes the last record depend on another.
fn depend(world: &mut World, on: &str) {
    let image = world.here().images.last_mut().unwrap();
    image.label(BREF, &library(on)).label(EXPIRE, &past());
}

fn with_label(world: &mut World, name: &str, key: &str, value: &str) {
    let images = &mut world.here().images;
    let image = images.iter_mut().find(|it| it.name == library(name));
    image.unwrap().label(key, value);
}

fn pin(world: &mut World, name: &str) {
    with_label(world, name, "io.cri-containerd.pinned", "pinned");
}

fn remove(names: &[&str], force: bool) -> ResolvedRequest {
    ResolvedRequest::new(
        World::NAMESPACE.parse().unwrap(),
        NamedImages {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            force,
            prune_parents: false,
        },
    )
}

fn removed(outcome: &Outcome) -> Vec<String> {
    let removed = outcome.removed().into_iter();
    let short = |name: &str| name.trim_start_matches("docker.io/library/").to_owned();
    removed.map(short).collect()
}

#[test]
fn a_prune_removes_them_with_the_image_that_they_depend_on() {
    let outcome = imported().prune_all();
    let all = ["index:1", "one:1", "other:1", "two:1"];
    assert_eq!(removed(&outcome), all);
    assert_eq!(outcome.plan.warnings, Vec::<String>::new());
}

/// A reason to keep `one:1`, and what writes it into the world.
type Keep = (&'static str, fn(&mut World));

/// Whatever keeps one keeps the image that it depends on, and so the other one, too.
#[test]
fn one_that_stays_keeps_what_it_depends_on() {
    let keeps: [Keep; 4] = [
        ("pinned", |world| pin(world, "one:1")),
        ("in_use", |world| {
            world.container("web", "one:1");
        }),
        ("protected", |world| {
            let mut rules = Protection::default();
            rules
                .references
                .push("docker.io/library/one:1".parse().unwrap());
            world.here().protection.rules = Arc::new(rules);
        }),
        ("in_use", |world| {
            let image = LeaseResource::Image(library("one:1"));
            world.lease("l", &[image]);
        }),
    ];
    for (reason, keep) in keeps {
        let mut world = imported();
        keep(&mut world);
        let outcome = world.prune_all();
        assert_eq!(outcome.reason(&library("one:1")).key(), reason);
        let index = library("index:1");
        if outcome.reason(&index) != KeepReason::InUse {
            assert_eq!(outcome.reason(&index), KeepReason::DependentStays);
            let holder = format!("image {}", library("one:1"));
            assert_eq!(outcome.holders(&index), [holder]);
        }
        assert_eq!(removed(&outcome), ["other:1", "two:1"], "{reason}");
    }
}

#[test]
fn one_that_no_filter_selects_keeps_what_it_depends_on() {
    let mut world = imported();
    let images = &mut world.here().images;
    let one = images.iter_mut().find(|it| it.name == library("one:1"));
    one.unwrap().created(ago(SignedDuration::from_hours(1)));
    let until = Some(ago(SignedDuration::from_hours(2)));
    let outcome = world.prune_by(PruneFilters { until, ..all() });
    assert_eq!(outcome.reason(&library("one:1")), KeepReason::TooRecent);
    assert_eq!(
        outcome.reason(&library("index:1")),
        KeepReason::DependentStays
    );
    assert_eq!(removed(&outcome), ["other:1", "two:1"]);
}

/// The only dangling record is the one that all others depend on, and these have names.
#[test]
fn a_prune_of_dangling_images_leaves_what_names_depend_on() {
    let mut world = World::new().with_rules(CollectorRules::V2_3);
    world.image(&crate::world::dangling("A"), "A");
    world.image(&library("one:1"), "B");
    let image = world.here().images.last_mut().unwrap();
    image
        .label(BREF, &crate::world::dangling("A"))
        .label(EXPIRE, &past());
    let outcome = world.prune();
    assert_eq!(outcome.removed(), Vec::<&str>::new());
    assert_eq!(
        outcome.reason(&crate::world::dangling("A")),
        KeepReason::DependentStays
    );
}

#[test]
fn chains_and_cycles_are_followed() {
    let mut world = World::new().with_rules(CollectorRules::V2_2);
    world.image(&library("first:1"), "A");
    for (name, target, on) in [
        ("second:1", "B", "first:1"),
        ("third:1", "C", "second:1"),
        ("fourth:1", "D", "third:1"),
    ] {
        world.image(&library(name), target);
        depend(&mut world, on);
    }
    // Third and fourth depend on each other, too.
    with_label(
        &mut world,
        "third:1",
        &format!("{BREF}/x"),
        &library("fourth:1"),
    );
    pin(&mut world, "third:1");
    let outcome = world.prune_all();
    // The fourth leads to the third.
    assert_eq!(removed(&outcome), Vec::<String>::new());
    assert_eq!(
        outcome.reason(&library("fourth:1")),
        KeepReason::DependentStays
    );
    assert_eq!(
        outcome.reason(&library("second:1")),
        KeepReason::DependentStays
    );
    assert_eq!(
        outcome.reason(&library("first:1")),
        KeepReason::DependentStays
    );
}

/// By older rules the label has no effect: the record is garbage, and its pin does not change that.
#[test]
fn before_2_2_a_back_reference_keeps_nothing() {
    let mut world = imported().with_rules(CollectorRules::V2_0);
    pin(&mut world, "one:1");
    let outcome = world.prune_all();
    assert_eq!(removed(&outcome), ["index:1", "other:1", "two:1"]);
    let warning = format!(
        "image `{}` has expired, and nothing that it depends on is there; containerd's next \
         collection removes it",
        library("one:1")
    );
    assert_eq!(outcome.plan.warnings, [warning]);
    // Before 2.0 records do not expire.
    let mut world = imported().with_rules(CollectorRules::V1);
    pin(&mut world, "one:1");
    let outcome = world.prune_all();
    assert_eq!(removed(&outcome), ["index:1", "other:1", "two:1"]);
    assert_eq!(outcome.plan.warnings, Vec::<String>::new());
}

/// A reference of the other image does the same as a back reference, from 2.0 on.
#[test]
fn a_plain_reference_counts_like_a_back_reference() {
    let mut world = World::new();
    world.image(&library("first:1"), "A");
    let second = library("second:1");
    with_label(
        &mut world,
        "first:1",
        "containerd.io/gc.ref.image.x",
        &second,
    );
    world.image(&second, "B").label(EXPIRE, &past());
    pin(&mut world, "second:1");
    let outcome = world.prune_all();
    assert_eq!(
        outcome.reason(&library("first:1")),
        KeepReason::DependentStays
    );
    let outcome = world.decide(&remove(&["first:1"], false));
    let error = outcome.plan.named[0].outcome().unwrap_err();
    let NotRemoved::Conflict(conflict) = error else {
        panic!("{error:?}");
    };
    assert_eq!(conflict.image, "second:1");
    assert_eq!(conflict.cause, ConflictCause::Pinned);
}

#[test]
fn one_that_does_not_expire_keeps_nothing_and_one_that_expires_later_does() {
    let mut world = World::new().with_rules(CollectorRules::V2_3);
    world.image(&library("first:1"), "A");
    let second = library("second:1");
    world.image(&second, "B").label(BREF, &library("first:1"));
    pin(&mut world, "second:1");
    assert_eq!(removed(&world.prune_all()), ["first:1"]);
    let by_name = || remove(&["first:1"], false);
    assert_eq!(removed(&world.decide(&by_name())), ["first:1"]);

    let later = ago(SignedDuration::from_hours(-1)).to_string();
    with_label(&mut world, "second:1", EXPIRE, &later);
    assert_eq!(removed(&world.prune_all()), Vec::<String>::new());
    assert_eq!(removed(&world.decide(&by_name())), Vec::<String>::new());
    // Without the pin it stays by itself for now.
    let second = world.here().images.last_mut().unwrap();
    second.labels.remove("io.cri-containerd.pinned");
    assert_eq!(removed(&world.decide(&by_name())), ["first:1"]);
}

#[test]
fn a_removal_by_name_takes_them_along() {
    let outcome = imported().decide(&remove(&["index:1"], false));
    assert_eq!(removed(&outcome), ["index:1", "one:1", "two:1"]);
    assert_eq!(outcome.removal(&library("one:1")), RemoveReason::Dependent);
    let removal = outcome.plan.named[0].outcome().unwrap();
    assert_eq!(removal.untagged, ["index:1", "one:1", "two:1"]);
    assert_eq!(removal.deleted.len(), 3);
    // Named afterwards, they are gone already.
    let outcome = imported().decide(&remove(&["index:1", "one:1"], false));
    assert_eq!(removed(&outcome), ["index:1", "one:1", "two:1"]);
    assert!(outcome.plan.named[1].outcome().unwrap().records.is_empty());
    // By themselves they take nothing along.
    let outcome = imported().decide(&remove(&["one:1"], false));
    assert_eq!(removed(&outcome), ["one:1"]);
}

/// As for an archive of one image with two names.
#[test]
fn names_of_the_same_target_go_with_the_first_one() {
    let mut world = World::new().with_rules(CollectorRules::V2_3);
    world.image(&library("app:1"), "A");
    world.image(&library("app:2"), "A");
    depend(&mut world, "app:1");
    let outcome = world.decide(&remove(&["app:1"], false));
    assert_eq!(removed(&outcome), ["app:1", "app:2"]);
    let removal = outcome.plan.named[0].outcome().unwrap();
    assert_eq!(removal.untagged, ["app:1", "app:2"]);
    assert_eq!(removal.deleted.len(), 1, "the image is gone");
    let outcome = world.decide(&remove(&["app:1", "app:2"], false));
    assert!(outcome.plan.named.iter().all(|it| it.outcome().is_ok()));
    // With another name that stays, it is only untagged.
    world.image(&library("app:3"), "A");
    let outcome = world.decide(&remove(&["app:1"], false));
    assert_eq!(removed(&outcome), ["app:1", "app:2"]);
    assert_eq!(outcome.plan.named[0].outcome().unwrap().deleted, []);
}

#[test]
fn a_removal_by_name_is_refused_for_one_that_must_stay() {
    let mut world = imported();
    world.container("web", "").of("B");
    world
        .here()
        .images
        .retain(|it| it.name != library("index:1"));
    // Not an index of B, so that only the name leads to it.
    world.image(&library("index:1"), "D");
    let outcome = world.decide(&remove(&["index:1"], true));
    assert_eq!(removed(&outcome), Vec::<String>::new());
    let error = outcome.plan.named[0].outcome().unwrap_err();
    let NotRemoved::Conflict(conflict) = error else {
        panic!("{error:?}");
    };
    assert_eq!(conflict.image, "two:1");
    assert!(!conflict.can_be_forced);
    assert_eq!(
        outcome.reason(&library("index:1")),
        KeepReason::DependentStays
    );
    assert_eq!(outcome.reason(&library("two:1")), KeepReason::InUse);
}

/// Something else leads to it, too.
#[test]
fn one_that_depends_on_two_images_stays_with_either() {
    let mut world = World::new().with_rules(CollectorRules::V2_3);
    world.image(&library("first:1"), "A");
    world.image(&library("second:1"), "B");
    world.image(&library("third:1"), "C");
    depend(&mut world, "first:1");
    with_label(
        &mut world,
        "third:1",
        &format!("{BREF}.1"),
        &library("second:1"),
    );
    let outcome = world.decide(&remove(&["first:1"], false));
    assert_eq!(removed(&outcome), ["first:1"]);
    let outcome = world.decide(&remove(&["first:1", "second:1"], false));
    assert_eq!(removed(&outcome), ["first:1", "second:1", "third:1"]);
}

#[test]
fn a_second_look_restores_the_image_that_a_name_depends_on() {
    let index = library("index:1");
    let names = [index.clone(), library("one:1"), library("two:1")];
    let back = |world: &World, request: &ResolvedRequest, removed: &[String]| {
        let inventory = world.inventory();
        let removed: BTreeSet<&str> = removed.iter().map(String::as_str).collect();
        let decision = decide_again(&inventory, &[], request, &removed);
        let kept = decision.kept().iter();
        let kept = kept.filter(|it| removed.contains(it.name.as_str()));
        kept.map(|it| (it.name.clone(), it.reason)).collect()
    };
    let expected = BTreeMap::from([
        (index.clone(), KeepReason::DependentStays),
        (library("one:1"), KeepReason::InUse),
    ]);
    for request in [request(all()), remove(&["index:1"], false)] {
        let world = imported();
        let none: BTreeMap<String, KeepReason> = back(&world, &request, &names);
        assert_eq!(none, BTreeMap::new());
        let mut world = imported();
        world.here().snapshots.clear();
        world.container("web", "one:1");
        let restored: BTreeMap<_, _> = back(&world, &request, &names);
        assert_eq!(restored.len(), 2, "{restored:?}");
        assert!(restored.contains_key(&index));
        assert_eq!(restored[&library("one:1")], expected[&library("one:1")]);
        // One that was not removed keeps the image, too.
        let world = imported();
        let restored: BTreeMap<_, _> = back(&world, &request, &names[..2]);
        assert_eq!(
            restored,
            [(index.clone(), KeepReason::DependentStays)].into()
        );
    }
}

/// A limit takes steps out of a plan.
#[test]
fn a_step_is_kept_if_the_one_of_a_dependent_image_is_taken_out() {
    let world = imported();
    let whole = world.prune_all().plan;
    let left = |names: &[&str]| {
        let mut plan = whole.clone();
        plan.steps
            .retain(|step| names.iter().any(|name| step.image.name == library(name)));
        keep_steps_for_dependents(&mut plan, &world.inventory());
        let steps = plan.steps.into_iter().map(|step| step.image.name);
        steps.collect::<Vec<_>>()
    };
    let all = ["index:1", "one:1", "other:1", "two:1"];
    assert_eq!(left(&all), all.map(library));
    assert_eq!(
        left(&["index:1", "one:1", "other:1"]),
        ["one:1", "other:1"].map(library)
    );
    assert_eq!(left(&["one:1", "two:1"]), ["one:1", "two:1"].map(library));
    assert_eq!(left(&["index:1", "other:1"]), ["other:1"].map(library));
}

#[test]
fn why_names_both_sides() {
    let answer = |world: &World, name: &str| {
        let (inventory, registered) = (world.inventory(), BTreeMap::new());
        let question = Question {
            inventory: &inventory,
            registered: &registered,
            namespace: &World::NAMESPACE.parse().unwrap(),
            text: name,
        };
        why(&question).unwrap().remove(0)
    };
    let world = imported();
    let one = answer(&world, "one:1");
    assert_eq!(one.outlook, Outlook::Depends);
    assert_eq!(one.depends_on, [library("index:1")]);
    assert_eq!(one.dependents, Vec::<String>::new());
    let index = answer(&world, "index:1");
    assert_eq!(index.outlook, Outlook::Unused);
    assert_eq!(index.dependents, [library("one:1"), library("two:1")]);
    assert_eq!(index.depends_on, Vec::<String>::new());
    // Without the image it is garbage.
    let mut world = imported();
    world
        .here()
        .images
        .retain(|it| it.name != library("index:1"));
    assert_eq!(answer(&world, "one:1").outlook, Outlook::NextCollection);
    // So it is for a server that does not know back references.
    let world = imported().with_rules(CollectorRules::V2_0);
    let one = answer(&world, "one:1");
    assert_eq!(one.outlook, Outlook::NextCollection);
    assert_eq!(one.depends_on, Vec::<String>::new());
}

/// Names of the records that the collector would keep after these steps.
///
/// A record whose name is replaced stays, with its labels, under the name of a dangling image.
fn held(world: &World, steps: &[Step]) -> BTreeSet<String> {
    let inventory = world.inventory();
    let mut left = inventory.namespaces[&World::NAMESPACE.parse().unwrap()].clone();
    for step in steps {
        let name = &step.image.name;
        let at = left.images.iter().position(|it| it.name == *name).unwrap();
        let mut record = left.images.remove(at);
        record.name = format!("moby-dangling@{}", record.target.digest);
        if step.reason == RemoveReason::Replaced
            && left.images.iter().all(|it| it.name != record.name)
        {
            left.images.push(record);
        }
    }
    sort(&mut left);
    let there: BTreeSet<String> = left.images.iter().map(|it| it.name.clone()).collect();
    let kept = naive::kept(&left, inventory.rules).into_iter();
    let kept = kept.filter_map(|it| match it {
        GcRef::Image(name) if there.contains(&*name) => Some(String::from(name)),
        GcRef::Image(_)
        | GcRef::Content(_)
        | GcRef::NoContent(_)
        | GcRef::Snapshot(_)
        | GcRef::Container(_) => None,
    });
    kept.collect()
}

/// What a plan keeps is there after the collection, unless it was garbage before.
pub(crate) fn loses_nothing(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    if world.rules < CollectorRules::V2_0 {
        return Ok(());
    }
    let before = held(world, &[]);
    let after = held(world, &plan.steps);
    for kept in &plan.kept {
        let name = &kept.name;
        prop_assert!(
            !before.contains(name) || after.contains(name),
            "{name} goes"
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_prune_takes_no_image_that_stays(scene in scenes(), is_all in any::<bool>()) {
        let world = scene.world();
        let outcome = if is_all { world.prune_all() } else { world.prune() };
        loses_nothing(&world, &outcome.plan)?;
    }

    #[test]
    fn a_removal_by_name_takes_no_image_that_stays(
        scene in scenes(),
        names in prop::collection::vec(given(), 1..4),
        force in any::<bool>(),
    ) {
        let world = scene.world();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        loses_nothing(&world, &world.decide(&remove(&names, force)).plan)?;
    }

    #[test]
    fn what_a_prune_removed_need_not_come_back(scene in scenes(), is_all in any::<bool>()) {
        let world = scene.world();
        let outcome = if is_all { world.prune_all() } else { world.prune() };
        let request = if is_all { request(all()) } else { request(PruneFilters::default()) };
        let removed: BTreeSet<&str> = outcome.removed().into_iter().collect();
        let again = decide_again(&world.inventory(), &world.registered, &request, &removed);
        let back = again.kept().iter().filter(|it| removed.contains(it.name.as_str()));
        prop_assert_eq!(back.map(|it| &it.name).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
