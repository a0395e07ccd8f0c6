//! What only leases hold, and what stands behind a lease.

use jiff::SignedDuration;
use reclaim_model::{
    ContainerState, EXPIRE, HolderRole, Ingest, KeepReason, LeaseHolding, LeaseResource,
    SnapshotKind,
};

use reclaim_plan::decide;

use crate::disk_usage::{pruned, sizes};
use crate::world::{
    LeaseExt, World, ago, all, bytes, chain, content, digest, library, request, snapshot,
};

const HEX: &str = "4f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab3586";

fn leases(world: &World) -> Vec<LeaseHolding> {
    world.prune_all().plan.not_counted.leased.leases
}

fn ids(leases: &[LeaseHolding]) -> Vec<&str> {
    leases.iter().map(|it| it.id.as_str()).collect()
}

/// The field case: the images are gone, and a pull that died holds all of them.
#[test]
fn a_lease_on_what_no_image_needs_is_named_with_its_bytes() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    let until = ago(SignedDuration::from_hours(-23)).to_string();
    let lease = world.lease("pull", &[content("A")]);
    lease.created = Some(ago(SignedDuration::from_hours(1)));
    lease.label(EXPIRE, &until);
    world.here().images.clear();
    let outcome = world.prune_all();
    assert_eq!(outcome.plan.freed.amount().total_bytes(), 0);
    let leased = &outcome.plan.not_counted.leased;
    let [only] = &leased.leases[..] else {
        panic!("{leased:?}")
    };
    assert_eq!(only.id, "pull");
    assert_eq!(only.role, Some(HolderRole::UnfinishedPull));
    assert_eq!(
        (only.since, only.until),
        (
            Some(ago(SignedDuration::from_hours(1))),
            Some(ago(SignedDuration::from_hours(-23)))
        )
    );
    let blobs = ["A", "A.config", "A.layer", "base"];
    let sum: u64 = blobs.iter().map(|it| bytes(it)).sum();
    assert_eq!(only.things.amount().content_bytes, sum);
    assert_eq!(leased.things, only.things);
}

#[test]
fn a_lease_on_a_snapshot_is_named_with_it() {
    let mut world = World::new();
    world.snapshot("layer", None, SnapshotKind::Committed);
    world.lease("unpack", &[snapshot("layer")]);
    let inventory = world.inventory();
    let decision = decide(&inventory, &world.registered, &request(all()));
    let measured = sizes(&inventory).remove(&pruned()).unwrap();
    let leased = decision.into_plan(&measured).not_counted.leased;
    assert_eq!(ids(&leased.leases), ["unpack"]);
    for things in [&leased.things, &leased.leases[0].things] {
        let keys: Vec<&str> = things.snapshots.iter().map(|it| &*it.id.key).collect();
        assert_eq!(keys, ["layer"]);
    }
}

#[test]
fn what_images_containers_and_other_namespaces_need_is_not_only_leased() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.image(&library("b:1"), "B");
    world.container("web", "a:1");
    world.lease("pull", &[content("A")]);
    world.lease("build", &[content("B")]);
    world.here().images.retain(|it| it.name != library("b:1"));
    // What b:1 shares with a:1, which stays, is needed by that.
    let found = leases(&world);
    assert_eq!(ids(&found), ["build"]);
    let digests: Vec<_> = found[0].things.blobs.iter().map(|it| &it.digest).collect();
    assert!(!digests.contains(&&digest("base")), "{digests:?}");
    assert!(digests.contains(&&digest("B.layer")), "{digests:?}");

    world.within("other").image(&library("copy:1"), "B");
    world.within("default");
    let found = leases(&world);
    assert!(
        found.iter().all(|it| it.things.blobs.is_empty()),
        "{found:?}"
    );
}

#[test]
fn leases_that_hold_the_same_are_each_named_and_counted_once_together() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.lease("one", &[content("A")]);
    world.lease("two", &[content("A")]);
    world.here().images.clear();
    let leased = world.prune_all().plan.not_counted.leased;
    assert_eq!(ids(&leased.leases), ["one", "two"]);
    for holding in &leased.leases {
        assert_eq!(holding.things, leased.things);
    }
}

#[test]
fn a_containers_lease_and_our_own_are_needed_and_one_that_expired_holds_nothing() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    let init = format!("{HEX}-init");
    let parent = chain("base+A.layer");
    world.snapshot(&init, Some(&parent), SnapshotKind::Committed);
    world.active(HEX, &init);
    world.lease(HEX, &[snapshot(&init), snapshot(HEX)]);
    world
        .lease("ours", &[content("A")])
        .label("reclaim/run", "r1");
    let past = ago(SignedDuration::from_hours(1)).to_string();
    world.lease("past", &[content("A")]).label(EXPIRE, &past);
    world.here().images.clear();
    assert_eq!(leases(&world), []);
}

/// Which lease is what, by every piece of evidence.
#[test]
fn a_role_is_what_the_evidence_says() {
    let init = format!("{HEX}-init");
    let written = LeaseResource::Ingest("layer-1".to_owned());
    let dead = LeaseResource::Ingest("layer-2".to_owned());
    let target = || content("A");
    let none: &[(&str, &str)] = &[];
    let later = ago(SignedDuration::from_hours(-1)).to_string();
    let expires: &[(&str, &str)] = &[(EXPIRE, &later)];
    for (id, resources, labels, role) in [
        (
            "pull",
            vec![target(), written.clone()],
            expires,
            Some(HolderRole::Pull),
        ),
        (
            "pull",
            vec![target(), dead],
            expires,
            Some(HolderRole::UnfinishedPull),
        ),
        (
            "pull",
            vec![target()],
            expires,
            Some(HolderRole::UnfinishedPull),
        ),
        ("for-good", vec![target(), written], none, None),
        (
            "cache",
            vec![target()],
            &[("buildkit/x", "")],
            Some(HolderRole::BuildCache),
        ),
        (
            HEX,
            vec![target(), snapshot(&init)],
            none,
            Some(HolderRole::StoppedContainer),
        ),
        (HEX, vec![target(), snapshot(HEX)], none, None),
        ("ran", vec![target()], none, Some(HolderRole::Container)),
        (
            "stopped",
            vec![target()],
            none,
            Some(HolderRole::StoppedContainer),
        ),
    ] {
        let mut world = World::new();
        world.image(&library("a:1"), "A");
        world.here().ingests = vec![Ingest {
            reference: "layer-1".to_owned(),
            bytes: 1,
        }];
        // Containers of another image: only their IDs matter.
        world.image(&library("b:1"), "B");
        world.container("ran", "b:1");
        world.container("stopped", "b:1").state = ContainerState::Stopped;
        let lease = world.lease(id, &resources);
        for (key, value) in labels {
            lease.label(key, value);
        }
        let outcome = world.prune_all();
        assert_eq!(outcome.reason(&library("a:1")), KeepReason::InUse, "{id}");
        let kept = outcome.plan.kept.iter();
        let kept = kept.filter(|it| it.name == library("a:1"));
        let roles: Vec<_> = kept.flat_map(|it| &it.holders).map(|it| it.role).collect();
        assert_eq!(roles, [role], "{id} {resources:?}");
    }
}
