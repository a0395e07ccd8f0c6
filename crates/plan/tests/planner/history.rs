//! What only build history holds.

use jiff::SignedDuration;
use reclaim_model::{
    BuildHistory, EXPIRE, FreeAmount, FreeTarget, GcLabelSet, RUN_LABEL, ResolvedRequest,
};
use reclaim_plan::no_longer_cut;

use crate::world::{
    LeaseExt, Outcome, Part, World, ago, all, chain, content, digest, library, request, snapshot,
};

/// An image without a record, of which a build's history holds the configuration, beside one
/// that is in use and shares its lowest layer.
fn world() -> World {
    let mut world = World::new();
    world.manifest("used", Part::default());
    world.record(&library("web:1"), "used");
    world.container("web", "web:1");
    let layers = ["base", "top"];
    world.manifest(
        "old",
        Part {
            layers: &layers,
            ..Part::default()
        },
    );
    world.lease("ref_history", &[content("old.config")]);
    world
}

fn unpinning() -> ResolvedRequest {
    request(all()).with_build_history(BuildHistory::Unpin)
}

/// No label is removed or reported as removed.
#[track_caller]
fn assert_stays(world: &World) {
    let plan = world.decide(&unpinning()).plan;
    assert_eq!(plan.cuts, [], "{:?}", plan.freed);
    assert!(plan.freed.snapshots.is_empty(), "{:?}", plan.freed);
    assert_eq!(world.prune_all().plan.not_counted.history.configs, 0);
}

fn pinned(outcome: &Outcome) -> (usize, Vec<&str>) {
    let history = &outcome.plan.not_counted.history;
    let keys = history.freed.snapshots.iter().map(|it| &*it.id.key);
    (history.configs, keys.collect())
}

#[test]
fn unpacked_layers_go_on_request_and_are_reported_otherwise() {
    let world = world();
    let kept = world.prune_all();
    assert_eq!(kept.plan.cuts, []);
    assert_eq!(kept.snapshots(), Vec::<&str>::new());
    assert_eq!(pinned(&kept), (1, vec![&*chain("base+top")]));

    let gone = world.decide(&unpinning());
    assert_eq!(gone.plan.cuts.len(), 1);
    assert_eq!(gone.plan.cuts[0].blob, digest("old.config"));
    assert_eq!(gone.snapshots(), ["base+top"], "the base is the used one's");
    assert_eq!(gone.plan.not_counted.history.configs, 0);
}

#[test]
fn a_target_leaves_history_alone() {
    let request = unpinning().with_target_free(FreeTarget::new(FreeAmount::Bytes(1)));
    let outcome = world().decide(&request);
    assert_eq!(outcome.plan.cuts, []);
    assert_eq!(pinned(&outcome).0, 1);
}

#[test]
fn any_other_holder_of_the_configuration_keeps_it() {
    let later = ago(SignedDuration::from_hours(-1)).to_string();
    let mut pulled = world();
    pulled
        .lease("pull", &[content("old.config")])
        .label(EXPIRE, &later);
    assert_stays(&pulled);

    let mut undoable = world();
    undoable
        .lease("reclaim.hold.x", &[content("old")])
        .label(RUN_LABEL, "x");
    assert_stays(&undoable);

    let mut tagged = world();
    tagged.record(&library("old:1"), "old");
    assert_stays(&tagged);

    let mut rooted = world();
    rooted.blob(
        "list",
        &[
            ("containerd.io/gc.root", "x"),
            (
                "containerd.io/gc.ref.content",
                &digest("old.config").to_string(),
            ),
        ],
    );
    assert_stays(&rooted);
}

#[test]
fn a_configuration_that_more_than_references_steers_is_left_alone() {
    let parent = digest("parent").to_string();
    for (key, value) in [
        ("containerd.io/gc.root", "x"),
        ("containerd.io/gc.bref.content", &*parent),
        ("containerd.io/gc.cond.snapshot.overlayfs", "usedat<72h|x"),
    ] {
        let mut steered = world();
        steered.blob("old.config", &[(key, value)]);
        let inventory = steered.inventory();
        let here = &inventory.namespaces.values().next().unwrap().blobs;
        let config = here.iter().find(|it| it.digest == digest("old.config"));
        let plain = GcLabelSet {
            refs: config.unwrap().gc.refs.clone(),
            ..GcLabelSet::default()
        };
        assert_ne!(*config.unwrap().gc, plain, "{key} steers");
        assert_stays(&steered);
    }
}

#[test]
fn what_else_is_held_stays() {
    let mut leased = world();
    leased.lease("keep", &[snapshot(&chain("base+top"))]);
    assert_stays(&leased);

    let mut running = world();
    running.active("rootfs", &chain("base+top"));
    running.lease("container", &[snapshot("rootfs")]);
    assert_stays(&running);
}

#[test]
fn a_flat_lease_or_none_pins_nothing() {
    let mut flat = world();
    flat.here().leases[0].flat();
    assert_stays(&flat);
    let mut garbage = world();
    garbage.here().leases.clear();
    assert_stays(&garbage);
}

#[test]
fn what_is_not_seen_to_be_a_configuration_stays() {
    let mut unread = world();
    unread.documents.remove(&digest("old.config"));
    assert_stays(&unread);
}

#[test]
fn a_label_comes_back_for_a_new_holder() {
    let mut world = world();
    let unpins = world.decide(&unpinning()).plan.cuts;
    // As it looks once the label is gone.
    for blob in &mut world.here().blobs {
        if blob.digest == digest("old.config") {
            blob.gc.refs = Box::default();
        }
    }
    assert_eq!(
        no_longer_cut(world.inventory(), &[], &unpinning(), &unpins),
        []
    );
    world.record(&library("old:2"), "old");
    let wanted = no_longer_cut(world.inventory(), &[], &unpinning(), &unpins);
    assert_eq!(wanted, unpins);
}
