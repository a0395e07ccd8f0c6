//! Use by leases: pulls, builds and exports that are under way.

use reclaim_model::{CollectorRules, EXPIRE, LeaseResource, SnapshotKind};

use super::assert_used;
use crate::world::{LeaseExt, Part, World, chain, content, id, library, now, snapshot};

/// An image as an index with one platform, and its base image.
fn world() -> World {
    let mut world = World::new();
    let base = Part {
        layers: &["base"],
        ..Part::default()
    };
    world.manifest("B", base);
    world.record(&library("base:1"), "B");
    world.image(&library("seed:1"), "A");
    world
        .here()
        .images
        .retain(|it| it.name != library("seed:1"));
    world.index("index", &["A"]);
    world.record(&library("a:1"), "index");
    world
}

#[test]
fn the_target_a_manifest_or_a_config_stands_for_the_image() {
    for part in ["index", "A", "A.config"] {
        for is_flat in [false, true] {
            let mut world = world();
            let lease = world.lease("pull", &[content(part)]);
            if is_flat {
                lease.flat();
            }
            let outcome = world.prune_all();
            let holder = if is_flat {
                "build cache pull"
            } else {
                "lease pull"
            };
            assert_used(&outcome, &library("a:1"), &[holder]);
            assert_eq!(outcome.removed(), [library("base:1")], "{part}");
        }
    }
}

#[test]
fn what_a_leased_blob_refers_to_is_used_unless_the_lease_is_flat() {
    let mut world = world();
    let key = "containerd.io/gc.ref.content.0";
    world.blob("list", &[(key, &id("index"))]);
    world.lease("hold", &[content("list")]);
    assert_used(&world.prune_all(), &library("a:1"), &["lease hold"]);

    world.here().leases[0].flat();
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("a:1"), library("base:1")]);
}

#[test]
fn a_layer_is_shared_and_stands_for_no_image() {
    let mut world = world();
    world.lease("pull", &[content("base"), content("A.layer")]);
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("a:1"), library("base:1")]);
    // But it stays on disk.
    let freed = outcome.blobs();
    assert!(
        !freed.contains(&"base") && !freed.contains(&"A.layer"),
        "{freed:?}"
    );
}

#[test]
fn an_expired_lease_uses_nothing() {
    let mut world = world();
    world.lease("late", &[content("index")]).expired();
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("a:1"), library("base:1")]);
    assert!(outcome.blobs().contains(&"index"));
}

#[test]
fn a_lease_holds_at_the_very_instant_of_its_expiry() {
    let mut world = world();
    let now = now().to_string();
    world.lease("pull", &[content("index")]).label(EXPIRE, &now);
    assert_used(
        &world.prune_all(),
        &library("a:1"),
        &["unfinished pull pull"],
    );
}

#[test]
fn an_expiry_that_cannot_be_parsed_never_comes() {
    let mut world = world();
    let lease = world.lease("odd", &[content("index")]);
    lease.label(EXPIRE, "2006-01-02 15:04:05");
    assert_used(&world.prune_all(), &library("a:1"), &["lease odd"]);
}

#[test]
fn the_top_of_a_chain_stands_for_the_image_and_what_is_below_does_not() {
    let mut world = world();
    world
        .lease("cache", &[snapshot(&chain("base+A.layer"))])
        .flat();
    let outcome = world.prune_all();
    assert_used(&outcome, &library("a:1"), &["build cache cache"]);
    assert_eq!(outcome.removed(), [library("base:1")]);
}

#[test]
fn a_build_cache_on_a_base_is_no_use_of_the_base() {
    let mut world = world();
    let committed = SnapshotKind::Committed;
    world.snapshot("ckwkjq5zcz4a", Some(&chain("base+A.layer")), committed);
    world.lease("cache", &[snapshot("ckwkjq5zcz4a")]).flat();
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("a:1"), library("base:1")]);
    // The layers below it are still needed.
    assert!(outcome.snapshots().is_empty());
}

#[test]
fn a_leased_record_is_used_at_any_version() {
    for rules in [
        CollectorRules::V1,
        CollectorRules::V2_0,
        CollectorRules::V2_2,
    ] {
        let mut world = world().with_rules(rules);
        world.lease("export", &[LeaseResource::Image(library("a:1"))]);
        assert_used(&world.prune_all(), &library("a:1"), &["lease export"]);
    }
}

#[test]
fn ingests_streams_and_things_that_are_gone_use_nothing() {
    let mut world = world();
    let stream = LeaseResource::Other {
        kind: "streams".to_owned(),
        id: "upload".to_owned(),
    };
    let ingest = LeaseResource::Ingest("layer-1".to_owned());
    let gone = [content("gone"), snapshot("gone")];
    let image = LeaseResource::Image("gone:1".to_owned());
    world.lease("pull", &[&gone[..], &[stream, ingest, image]].concat());
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("a:1"), library("base:1")]);
}

#[test]
fn who_refers_to_a_record_uses_it_and_what_holds_itself_does_not() {
    let name = library("a:1");
    let mut world = World::new();
    world.image(&name, "A");
    world.blob("anchor", &[("containerd.io/gc.ref.image", &name)]);
    assert_eq!(world.prune_all().removed(), [name.as_str()]);
    let mut rooted = world.clone();
    rooted.blob("anchor", &[("containerd.io/gc.root", "x")]);
    assert_eq!(rooted.prune_all().removed(), [name.as_str()]);
    world.lease("builder", &[content("anchor")]);
    assert_used(&world.prune_all(), &name, &["lease builder"]);
    // It is the record that it refers to, whatever is left of the image.
    world.lose("A");
    assert_used(&world.prune_all(), &name, &["lease builder"]);
}
