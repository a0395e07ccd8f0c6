//! `check` on plans that the planner would never make.

use jiff::SignedDuration;
use reclaim_model::{CollectorRules, EXPIRE, FreedSnapshot, Plan, RemoveReason, SnapshotId, Step};
use reclaim_plan::{InvalidPlan, check};

use crate::world::{
    ContainerExt, OVERLAY, RecordExt, World, ago, all, chain, digest, library, request,
};

fn names(image: &str, container: &str) -> InvalidPlan {
    InvalidPlan::NamedByContainer {
        image: image.to_owned(),
        container: container.to_owned(),
    }
}

/// The plan with the record `name` moved from kept to removed.
fn removing(world: &World, name: &str) -> Plan {
    let mut plan = world.prune_all().plan;
    plan.kept.retain(|kept| kept.name != name);
    let images = &world.inventory().namespaces[&plan.namespace].images;
    let image = images.iter().find(|image| image.name == name).unwrap();
    plan.steps.push(Step {
        image: image.clone(),
        reason: RemoveReason::Unused,
        lifted: None,
    });
    plan.steps.sort_by(|a, b| a.image.name.cmp(&b.image.name));
    plan
}

fn finding(world: &World, plan: &Plan) -> Result<(), InvalidPlan> {
    check(plan, &world.inventory(), &world.registered, &request(all()))
}

#[test]
fn finds_the_record_that_a_container_names() {
    for typed in [
        "docker.io/library/a:latest",
        "a",
        "a:latest",
        "index.docker.io/library/a",
    ] {
        let name = library("a:latest");
        let mut world = World::new();
        world.image(&name, "A");
        world.container("web", typed);
        let plan = removing(&world, &name);
        assert_eq!(finding(&world, &plan), Err(names(&name, "web")), "{typed}");

        world.registered = std::mem::take(&mut world.here().containers);
        assert_eq!(finding(&world, &plan), Err(names(&name, "web")), "{typed}");
    }
}

#[test]
fn finds_a_container_whose_image_has_no_record_left() {
    let name = library("a:1");
    let mut world = World::new();
    world.image(&name, "A");
    world.container("web", "").of("A");
    let expected = InvalidPlan::LosesImageOfContainer {
        digest: digest("A"),
        container: "web".to_owned(),
    };
    assert_eq!(finding(&world, &removing(&world, &name)), Err(expected));
}

#[test]
fn finds_a_snapshot_under_a_container() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.active("web", &chain("base+A.layer"));
    world.container("web", "a:1").on("web");
    let mut plan = world.prune_all().plan;
    let snapshot = SnapshotId::new(OVERLAY, chain("base"));
    plan.freed.snapshots.push(FreedSnapshot {
        id: snapshot.clone(),
        bytes: Some(12),
    });
    let expected = InvalidPlan::FreesUnderContainer {
        snapshot,
        container: "web".to_owned(),
    };
    assert_eq!(finding(&world, &plan), Err(expected));
}

#[test]
fn finds_images_that_are_not_in_the_plan_once() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.image(&library("b:1"), "B");
    world.container("web", "b:1");
    let good = world.prune_all().plan;
    let finds = |change: &dyn Fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        finding(&world, &plan)
    };
    assert_eq!(finds(&|_| ()), Ok(()));
    let not_once = |name: &str| Err(InvalidPlan::NotPlannedOnce(library(name)));
    assert_eq!(finds(&|plan| plan.steps.clear()), not_once("a:1"));
    assert_eq!(finds(&|plan| plan.kept.clear()), not_once("b:1"));
    let twice = |plan: &mut Plan| plan.steps.push(plan.steps[0].clone());
    assert_eq!(finds(&twice), not_once("a:1"));
    let unknown = |plan: &mut Plan| plan.kept[0].name = library("c:1");
    assert_eq!(finds(&unknown), not_once("b:1"));
}

#[test]
fn refuses_to_empty_a_namespace_that_has_containers() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    let inventory = world.inventory();
    let plan = world.prune_all().plan;
    let unless_allowed = request(all()).may_empty_namespace(false);
    // A namespace without containers may well be emptied.
    assert_eq!(check(&plan, &inventory, &[], &unless_allowed), Ok(()));

    world.container("web", "elsewhere:1");
    let inventory = world.inventory();
    let plan = world.prune_all().plan;
    let expected = InvalidPlan::EmptiesNamespace {
        namespace: plan.namespace.clone(),
        containers: 1,
    };
    assert_eq!(
        check(&plan, &inventory, &[], &unless_allowed),
        Err(expected)
    );
    assert_eq!(check(&plan, &inventory, &[], &request(all())), Ok(()));
}

#[test]
fn a_namespace_that_is_not_there_has_an_empty_plan() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    let plan = world.prune_all().plan;
    world.namespaces.clear();
    let expected = Err(InvalidPlan::NotPlannedOnce(library("a:1")));
    assert_eq!(finding(&world, &plan), expected);
    let plan = world.prune_all().plan;
    assert_eq!(finding(&world, &plan), Ok(()));
}

#[test]
fn finds_the_image_that_would_lose_what_it_depends_on() {
    let (first, second) = (library("first:1"), library("second:1"));
    let mut world = World::new().with_rules(CollectorRules::V2_2);
    world.image(&first, "A");
    let past = ago(SignedDuration::from_hours(1)).to_string();
    let image = world.image(&second, "B").label(EXPIRE, &past);
    image.label("containerd.io/gc.bref.image/x", &first);
    image.label("io.cri-containerd.pinned", "pinned");
    let plan = removing(&world, &first);
    let expected = InvalidPlan::LosesDependent {
        image: second,
        leading: vec![first],
    };
    assert_eq!(finding(&world, &plan), Err(expected));
    let world = world.with_rules(CollectorRules::V2_0);
    assert_eq!(finding(&world, &plan), Ok(()));
}
