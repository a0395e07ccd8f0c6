//! Use by what stands on an image's chain.

use reclaim_model::{
    Child, Document, DocumentKind, GcLabels, LabelFilter, PruneFilters, SnapshotKind,
};

use super::assert_used;
use crate::world::{ContainerExt, LeaseExt, Part, World, all, chain, digest, library, snapshot};

const TOP: &str = "base+A.layer";

fn one_image() -> World {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world
}

#[test]
fn a_view_is_a_use() {
    let mut world = one_image();
    world.snapshot("view", Some(&chain(TOP)), SnapshotKind::View);
    world.lease("reader", &[snapshot("view")]);
    assert_used(&world.prune_all(), &library("a:1"), &["lease reader"]);
}

#[test]
fn an_active_snapshot_that_is_a_root_of_its_own_is_a_use() {
    let mut world = one_image();
    world.active("loose", &chain(TOP)).gc = GcLabels::parse([("containerd.io/gc.root", "now")]);
    let holders = ["snapshot overlayfs/loose"];
    assert_used(&world.prune_all(), &library("a:1"), &holders);
}

#[test]
fn a_committed_snapshot_that_is_a_root_is_no_use() {
    let mut world = one_image();
    let top = world.snapshot(&chain(TOP), None, SnapshotKind::Committed);
    top.gc = GcLabels::parse([("containerd.io/gc.root", "now")]);
    let outcome = world.prune_all();
    assert_eq!(outcome.removed(), [library("a:1")]);
    assert!(outcome.snapshots().is_empty());
}

#[test]
fn an_image_that_a_root_refers_to_does_not_keep_itself() {
    let mut world = one_image();
    // The chain's own top is active, as no unpacker leaves it.
    let top = world.snapshot(&chain(TOP), None, SnapshotKind::Committed);
    top.kind = SnapshotKind::Active;
    let name = library("a:1");
    let labels = [
        ("containerd.io/gc.root", ""),
        ("containerd.io/gc.ref.image", &*name),
    ];
    world.blob("anchor", &labels);
    assert_eq!(world.prune_all().removed(), [&*name]);
}

#[test]
fn an_active_snapshot_without_a_holder_proves_nothing() {
    let mut world = one_image();
    world.active("garbage", &chain(TOP));
    world.active("late", &chain(TOP));
    world.lease("late", &[snapshot("late")]).expired();
    assert_eq!(world.prune_all().removed(), [library("a:1")]);
}

#[test]
fn an_active_snapshot_reached_through_labels_is_a_use() {
    let mut world = one_image();
    world.active("volume", &chain(TOP));
    let key = "containerd.io/gc.ref.snapshot.overlayfs";
    world.container("web", "elsewhere:1").label(key, "volume");
    assert_used(&world.prune_all(), &library("a:1"), &["container web"]);

    let mut world = one_image();
    world.active("volume", &chain(TOP));
    world.sandbox("pod", key, "volume");
    assert_used(&world.prune_all(), &library("a:1"), &["sandbox pod"]);
}

#[test]
fn standing_on_an_image_is_no_use_of_its_base() {
    let mut world = World::new();
    let base = Part {
        layers: &["base"],
        ..Part::default()
    };
    world.manifest("B", base);
    world.record(&library("base:1"), "B");
    world.image(&library("a:1"), "A");
    world.active("web", &chain(TOP));
    world.container("web", "").on("web");
    let outcome = world.prune_all();
    assert_used(&outcome, &library("a:1"), &["container web"]);
    assert_eq!(outcome.removed(), [library("base:1")]);
}

#[test]
fn one_chain_of_two_images_uses_both() {
    let mut world = one_image();
    let same_layers = Part {
        layers: &["base", "A.layer"],
        labels: &[("rebuilt", "today")],
        ..Part::default()
    };
    world.manifest("A2", same_layers);
    world.record(&library("a:2"), "A2");
    world.active("web", &chain(TOP));
    world.container("web", "").on("web");
    let outcome = world.prune_all();
    assert_used(&outcome, &library("a:1"), &["container web"]);
    assert_used(&outcome, &library("a:2"), &["container web"]);
}

#[test]
fn every_platform_has_its_chain() {
    // An index may call its only real platform an attestation; it still runs.
    for platform in ["arm", "amd", "attestation"] {
        let mut world = World::new();
        for name in ["arm", "amd", "attestation"] {
            let part = Part {
                layers: &["base", name],
                ..Part::default()
            };
            world.manifest(&format!("{name}-manifest"), part);
        }
        world.index(
            "index",
            &["arm-manifest", "amd-manifest", "attestation-manifest"],
        );
        world.record(&library("multi:1"), "index");
        world.active("web", &chain(&format!("base+{platform}")));
        world.container("web", "").on("web");
        assert_used(&world.prune_all(), &library("multi:1"), &["container web"]);
    }
}

#[test]
fn a_manifest_listed_twice_is_a_platform_if_either_says_so() {
    for order in [[true, false], [false, true]] {
        let mut world = World::new();
        world.image(&library("seed:1"), "A");
        world.here().images.clear();
        world.index("index", &["A"]);
        let twice = order.map(|is_attestation| Child {
            digest: digest("A"),
            size: 3,
            kind: DocumentKind::Manifest,
            is_attestation,
            is_layer: false,
        });
        world
            .documents
            .insert(digest("index"), Document::Index(twice.to_vec()));
        world.record(&library("multi:1"), "index");
        let meant = LabelFilter::parse(false, "absent").unwrap();
        let outcome = world.prune_by(PruneFilters {
            labels: vec![meant],
            ..all()
        });
        assert_eq!(outcome.removed(), [library("multi:1")], "{order:?}");
    }
}
