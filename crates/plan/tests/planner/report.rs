//! What a prune reports: Docker's rows and the bytes (R rows).

use reclaim_model::Amount;

use crate::world::{Part, World, bytes, dangling, id, library};

fn sum(names: &[&str]) -> u64 {
    names.iter().map(|name| bytes(name)).sum()
}

/// An image `<name>:1` of these layers.
fn add(world: &mut World, name: &str, layers: &[&str]) {
    let part = Part {
        layers,
        ..Part::default()
    };
    world.manifest(name, part);
    world.record(&library(&format!("{name}:1")), name);
}

#[test]
fn counts_what_two_images_share_once_r2() {
    let mut world = World::new();
    add(&mut world, "a", &["base", "a.layer"]);
    add(&mut world, "b", &["base", "b.layer"]);
    let outcome = world.prune_all();
    let blobs = [
        "a", "a.config", "a.layer", "b", "b.config", "b.layer", "base",
    ];
    let snapshots = ["base", "base+a.layer", "base+b.layer"];
    assert_eq!(outcome.blobs(), blobs);
    assert_eq!(outcome.snapshots(), snapshots);
    let expected = Amount {
        content_bytes: sum(&blobs),
        snapshot_bytes: sum(&snapshots),
        unmeasured: 0,
        blobs: 7,
        snapshots: 3,
    };
    assert_eq!(outcome.amount(), expected);
}

#[test]
fn does_not_count_what_a_kept_image_shares_r3() {
    let mut world = World::new();
    add(&mut world, "a", &["base", "a.layer"]);
    add(&mut world, "b", &["base", "b.layer"]);
    world.container("web", "a:1");
    let outcome = world.prune_all();
    assert_eq!(outcome.blobs(), ["b", "b.config", "b.layer"]);
    assert_eq!(outcome.snapshots(), ["base+b.layer"]);
    assert_eq!(
        outcome.amount().content_bytes,
        sum(&["b", "b.config", "b.layer"])
    );
}

/// An index of which two platforms and an attestation are there and two platforms are not.
fn multi(world: &mut World) {
    for name in ["m1", "m2", "attestation"] {
        let own = format!("{name}.layer");
        let part = Part {
            layers: &["base", &own],
            ..Part::default()
        };
        world.manifest(name, part);
    }
    world.index("index", &["m1", "absent1", "m2", "absent2", "attestation"]);
}

#[test]
fn lists_manifests_in_walk_order_r5_r6() {
    let mut world = World::new();
    multi(&mut world);
    world.record(&library("multi:1"), "index");
    let expected = [
        "untagged: multi:1",
        "deleted: index",
        "deleted: m1",
        "deleted: m2",
        "deleted: attestation",
    ];
    assert_eq!(world.prune_all().rows(), expected);
}

#[test]
fn lists_each_manifest_once_under_the_last_name_r7() {
    let mut world = World::new();
    world.image(&library("x:1"), "A");
    world.record(&library("x:2"), "A");
    let expected = ["untagged: x:1", "untagged: x:2", "deleted: A"];
    assert_eq!(world.prune_all().rows(), expected);
}

#[test]
fn a_record_of_missing_content_is_untagged_and_frees_nothing_r9() {
    let mut world = World::new();
    world.record(&library("gone:1"), "A");
    let outcome = world.prune_all();
    assert_eq!(outcome.rows(), ["untagged: gone:1"]);
    assert_eq!(outcome.amount(), Amount::default());
}

#[test]
fn a_name_that_others_share_frees_nothing_s15() {
    let mut world = World::new();
    world.image(&dangling("A"), "A");
    world.record(&library("x:1"), "A");
    let outcome = world.prune();
    let digest = id("A");
    assert_eq!(outcome.rows(), [format!("untagged: {digest}")]);
    assert_eq!(outcome.amount(), Amount::default());
}

#[test]
fn bytes_that_another_namespace_keeps_are_not_freed_r11() {
    let mut world = World::new();
    add(&mut world, "a", &["base", "a.layer"]);
    world.within("other");
    add(&mut world, "b", &["base", "b.layer"]);
    let outcome = world.prune_all();
    assert_eq!(outcome.blobs(), ["a", "a.config", "a.layer"]);
    // Snapshots are each namespace's own.
    assert_eq!(outcome.snapshots(), ["base", "base+a.layer"]);
    let rows = outcome.rows();
    assert!(!rows.contains(&"deleted: base".to_owned()), "{rows:?}");
}

/// As of an image that `BuildKit` made, whose history is in another namespace.
#[test]
fn a_manifest_that_another_namespace_keeps_is_deleted_from_this_one() {
    let mut world = World::new();
    add(&mut world, "a", &["base"]);
    world.within("other");
    add(&mut world, "a", &["base"]);
    let outcome = world.prune_all();
    assert_eq!(outcome.amount().content_bytes, 0);
    assert!(
        outcome.rows().contains(&"deleted: a".to_owned()),
        "{:?}",
        outcome.rows()
    );
}

#[test]
fn shows_names_as_docker_does_r12() {
    for (record, shown) in [
        ("docker.io/library/alpine:latest", "alpine:latest"),
        ("docker.io/foo/bar:1", "foo/bar:1"),
        ("quay.io/x:1", "quay.io/x:1"),
        ("docker.io/library/sha256:defcab", "sha256:defcab"),
        ("Weird Name", "Weird Name"),
        ("alpine", "alpine"),
        (&dangling("A"), &id("A")),
    ] {
        let mut world = World::new();
        world.record(record, "A");
        assert_eq!(world.prune_all().rows(), [format!("untagged: {shown}")]);
    }
}

#[test]
fn nothing_to_do_is_an_empty_report_s35() {
    let outcome = World::new().prune_all();
    assert!(outcome.rows().is_empty());
    assert!(outcome.plan.kept.is_empty() && outcome.plan.warnings.is_empty());
    assert_eq!(outcome.amount(), Amount::default());
}
