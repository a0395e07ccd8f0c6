//! Roots: what the collector keeps for its own sake.

use reclaim_model::{
    CollectorRules, EXPIRE, GcLabels, KeepReason, LeaseResource, RUN_LABEL, SnapshotKind,
};

use super::{BLOBS, NONE, RULES, SNAPSHOTS, assert_freed, world};
use crate::world::{
    ContainerExt, LeaseExt, Part, RecordExt, World, chain, content, id, library, snapshot,
};

#[test]
fn all_of_an_image_goes_with_its_last_record() {
    for rules in RULES {
        assert_freed(&world(rules), &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn another_record_of_the_target_keeps_all_of_it() {
    for rules in RULES {
        let mut world = world(rules);
        world.record(&library("a:2"), "A");
        world.container("web", "a:2");
        assert_freed(&world, &NONE, &NONE);
    }
}

#[test]
fn a_leased_layer_stays_alone() {
    for rules in RULES {
        let mut world = world(rules);
        world.lease("pull", &[content("base")]);
        assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);
    }
}

#[test]
fn an_expired_lease_keeps_nothing() {
    for rules in RULES {
        let mut world = world(rules);
        world.lease("late", &[content("base")]).expired();
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn a_lease_keeps_what_its_blob_refers_to_unless_it_is_flat() {
    let key = "containerd.io/gc.ref.content.layer";
    for rules in RULES {
        let mut world = world(rules);
        world.blob("list", &[(key, &id("A.layer"))]);
        world.lease("build", &[content("list")]);
        assert_freed(&world, &["A", "A.config", "base"], &SNAPSHOTS);

        world.here().leases[0].flat();
        assert_freed(&world, &BLOBS, &SNAPSHOTS);

        // Held both ways, it is held the longer way, whichever comes first.
        for id in ["a-first", "z-last"] {
            let mut world = world.clone();
            world.lease(id, &[content("list")]);
            assert_freed(&world, &["A", "A.config", "base"], &SNAPSHOTS);
        }
    }
}

#[test]
fn a_leased_snapshot_keeps_its_parents_even_flat() {
    for rules in RULES {
        for is_flat in [false, true] {
            let mut world = world(rules);
            let parent = chain("base");
            world.snapshot("cache", Some(&parent), SnapshotKind::Committed);
            let lease = world.lease("build", &[snapshot("cache")]);
            if is_flat {
                lease.flat();
            }
            assert_freed(&world, &BLOBS, &["base+A.layer"]);
        }
    }
}

#[test]
fn a_flat_lease_does_not_follow_a_snapshots_labels() {
    let key = "containerd.io/gc.ref.content";
    for rules in RULES {
        let mut world = world(rules);
        let committed = world.snapshot("cache", None, SnapshotKind::Committed);
        committed.gc = GcLabels::parse([(key, &*id("base"))]);
        world.lease("build", &[snapshot("cache")]);
        assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);

        world.here().leases[0].flat();
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn a_leased_image_is_kept_from_2_0_on() {
    // The lease is on an image that has expired, so that nothing else keeps it.
    for rules in [CollectorRules::V2_0, CollectorRules::V2_2] {
        let mut world = world(rules);
        world.manifest("B", Part::default());
        let record = world.record(&library("b:1"), "B");
        record.label(EXPIRE, "2026-01-01T00:00:00Z");
        let image = LeaseResource::Image(library("b:1"));
        world.lease("export", &[image]);
        assert_freed(&world, &["A", "A.config", "A.layer"], &["base+A.layer"]);

        // Flat, it keeps the target and nothing below.
        world.here().leases[0].flat();
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn content_labelled_as_root_is_kept() {
    for rules in RULES {
        let mut world = world(rules);
        world.blob("A.config", &[("containerd.io/gc.root", "2026-01-01")]);
        // And with it the chain that it refers to.
        assert_freed(&world, &["A", "A.layer", "base"], &NONE);
    }
}

#[test]
fn a_snapshot_labelled_as_root_is_kept() {
    for rules in RULES {
        let mut world = world(rules);
        let base = world.snapshot(&chain("base"), None, SnapshotKind::Committed);
        base.gc = GcLabels::parse([("containerd.io/gc.root", "")]);
        assert_freed(&world, &BLOBS, &["base+A.layer"]);
    }
}

#[test]
fn a_label_that_only_begins_like_a_root_counts_from_2_2_on() {
    for rules in RULES {
        let mut world = world(rules);
        world.blob("base", &[("containerd.io/gc.root.mine", "")]);
        match rules {
            CollectorRules::V1 | CollectorRules::V2_0 => {
                assert_freed(&world, &BLOBS, &SNAPSHOTS);
            }
            CollectorRules::V2_2 | CollectorRules::V2_3 => {
                assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);
            }
        }
    }
}

#[test]
fn a_container_keeps_its_snapshot_and_what_its_labels_refer_to() {
    let key = "containerd.io/gc.ref.content.spec";
    for rules in RULES {
        let mut world = world(rules);
        world.snapshot("rootfs", Some(&chain("base")), SnapshotKind::Committed);
        let base = id("base");
        let container = world.container("web", "elsewhere:1");
        container.on("rootfs").label(key, &base);
        // On the chain of no image that is known; A is all there and has another.
        assert_freed(&world, &["A", "A.config", "A.layer"], &["base+A.layer"]);
    }
}

#[test]
fn a_sandbox_keeps_what_its_labels_refer_to_from_2_0_on() {
    for rules in RULES {
        let mut world = world(rules);
        let base = id("base");
        world.sandbox("pod", "containerd.io/gc.ref.content", &base);
        if rules >= CollectorRules::V2_0 {
            assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);
        } else {
            assert_freed(&world, &BLOBS, &SNAPSHOTS);
        }
    }
}

#[test]
fn an_expired_image_keeps_nothing_from_2_0_on() {
    for (expiry, is_over) in [
        ("2026-01-10T11:59:59Z", true),
        ("2026-01-10T12:00:00Z", false),
        ("in an hour", false),
    ] {
        for rules in RULES {
            let mut world = world(rules);
            world.manifest("B", Part::default());
            world.record(&library("b:1"), "B").label(EXPIRE, expiry);
            world.container("web", "b:1");
            if is_over && rules >= CollectorRules::V2_0 {
                assert_freed(&world, &BLOBS, &SNAPSHOTS);
            } else {
                assert_freed(&world, &["A", "A.config", "A.layer"], &["base+A.layer"]);
            }
        }
    }
}

#[test]
fn removing_an_expired_image_frees_nothing() {
    for rules in [CollectorRules::V2_0, CollectorRules::V2_2] {
        let mut world = world(rules);
        let record = &mut world.here().images[0];
        record.label(EXPIRE, "2026-01-01T00:00:00Z");
        // It would have gone without us.
        assert_freed(&world, &NONE, &NONE);
    }
}

#[test]
fn what_is_garbage_already_is_not_ours_to_count() {
    for rules in RULES {
        let mut world = world(rules);
        world.manifest(
            "G",
            Part {
                layers: &["base", "G.layer"],
                ..Part::default()
            },
        );
        world.active("forgotten", &chain("base+G.layer"));
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn a_lease_of_our_own_holds_and_uses_nothing() {
    for rules in RULES {
        let mut world = world(rules);
        world.lease("hold", &[content("A")]).label(RUN_LABEL, "1");
        assert_freed(&world, &NONE, &NONE);

        world.here().leases[0].labels.clear();
        let outcome = world.prune_all();
        assert_eq!(outcome.reason(&library("a:1")), KeepReason::InUse);
    }
}

#[test]
fn nothing_is_freed_in_a_namespace_without_candidates() {
    let mut world = World::new();
    world.manifest("G", Part::default());
    let outcome = world.prune_all();
    assert!(outcome.blobs().is_empty() && outcome.snapshots().is_empty());
}
