//! Edges: what one object keeps of others.

use std::collections::BTreeSet;

use reclaim_model::{CollectorRules, EXPIRE, GcLabels, Snapshot, SnapshotId, SnapshotKind};

use super::{BLOBS, NONE, RULES, SNAPSHOTS, assert_freed, world};
use crate::world::{
    ContainerExt, LeaseExt, Part, RecordExt, World, chain, content, digest, id, library,
};

/// A blob that is kept for its own sake, with one more label.
fn anchor(world: &mut World, key: &str, value: &str) {
    world.blob("anchor", &[("containerd.io/gc.root", ""), (key, value)]);
}

#[test]
fn content_is_referred_to_in_every_spelling() {
    for rules in RULES {
        for (suffix, is_followed) in [
            ("", true),
            (".l.0", true),
            ("/x", true),
            (".referrer.sha256.abc", true),
            ("X", false),
            ("-x", false),
        ] {
            let mut world = world(rules);
            let key = format!("containerd.io/gc.ref.content{suffix}");
            anchor(&mut world, &key, &id("base"));
            if is_followed {
                assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);
            } else {
                assert_freed(&world, &BLOBS, &SNAPSHOTS);
            }
        }
    }
}

#[test]
fn a_snapshot_is_referred_to_with_its_snapshotter() {
    for rules in RULES {
        for (suffix, is_followed) in [
            (".overlayfs", true),
            (".overlayfs/x", true),
            (".overlayfs.x", false),
            (".native", false),
            ("", false),
        ] {
            let mut world = world(rules);
            let key = format!("containerd.io/gc.ref.snapshot{suffix}");
            anchor(&mut world, &key, &chain("base"));
            if is_followed {
                assert_freed(&world, &BLOBS, &["base+A.layer"]);
            } else {
                assert_freed(&world, &BLOBS, &SNAPSHOTS);
            }
        }
    }
}

#[test]
fn what_is_unpacked_by_two_snapshotters_goes_from_both() {
    for rules in RULES {
        let mut world = world(rules);
        let first = world.here().snapshots["overlayfs"].clone();
        world.here().snapshots.insert("zfs".into(), first);
        let config = digest("A.config");
        let blobs = &mut world.here().blobs;
        let config = blobs.iter_mut().find(|it| it.digest == config).unwrap();
        config.gc = GcLabels::parse([
            (
                "containerd.io/gc.ref.snapshot.overlayfs",
                &*chain("base+A.layer"),
            ),
            ("containerd.io/gc.ref.snapshot.zfs", &*chain("base+A.layer")),
        ]);
        let outcome = world.prune_all();
        let freed = outcome.plan.freed.snapshots.iter();
        let freed: BTreeSet<String> = freed.map(|it| it.id.to_string()).collect();
        let both = ["overlayfs", "zfs"].into_iter();
        let expected = both.flat_map(|snapshotter| {
            ["base", "base+A.layer"].map(|it| format!("{snapshotter}/{}", chain(it)))
        });
        assert_eq!(freed, expected.collect());
        // A container that is based on the second uses the image, too.
        let here = world.here();
        let list = here.snapshots.get_mut("zfs").unwrap();
        list.push(Snapshot {
            key: "rootfs".into(),
            parent: Some(chain("base+A.layer").into()),
            kind: SnapshotKind::Active,
            gc: GcLabels::default(),
        });
        let container = world.container("web", "elsewhere:1");
        container.snapshot = Some(SnapshotId::new("zfs", "rootfs"));
        let outcome = world.prune_all();
        assert_eq!(outcome.holders(&library("a:1")), ["container web"]);
    }
}

#[test]
fn references_lead_on() {
    for rules in RULES {
        let mut world = world(rules);
        anchor(&mut world, "containerd.io/gc.ref.content", &id("A.config"));
        // From the config to the chain, and down to its base.
        assert_freed(&world, &["A", "A.layer", "base"], &NONE);
    }
}

#[test]
fn a_snapshots_labels_are_references_too() {
    for rules in RULES {
        let mut world = world(rules);
        let labels = [
            ("containerd.io/gc.root", ""),
            ("containerd.io/gc.ref.content", &id("base")),
        ];
        let volume = world.snapshot("volume", None, SnapshotKind::Committed);
        volume.gc = GcLabels::parse(labels);
        assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);
    }
}

#[test]
fn an_image_records_labels_are_references_too() {
    for rules in RULES {
        let mut world = world(rules);
        let record = world.record(&library("empty:1"), "gone");
        record.label("containerd.io/gc.ref.content", &id("base"));
        world.container("web", "empty:1");
        assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);

        // What only the record that goes refers to goes with it.
        let mut world = super::world(rules);
        world.blob("extra", &[]);
        let record = &mut world.here().images[0];
        record.label("containerd.io/gc.ref.content", &id("extra"));
        assert_freed(
            &world,
            &["A", "A.config", "A.layer", "base", "extra"],
            &SNAPSHOTS,
        );
    }
}

/// An image that has expired and shares the layer `base`.
fn expired(world: &mut World) {
    let part = Part {
        layers: &["base"],
        ..Part::default()
    };
    world.manifest("E", part);
    let record = world.record(&library("e:1"), "E");
    record.label(EXPIRE, "2026-01-01T00:00:00Z");
    world.container("web", "e:1");
}

#[test]
fn an_image_may_be_referred_to_from_2_0_on() {
    for rules in RULES {
        for suffix in ["", ".x", "/x"] {
            let mut world = world(rules);
            expired(&mut world);
            let key = format!("containerd.io/gc.ref.image{suffix}");
            anchor(&mut world, &key, &library("e:1"));
            // Before 2.0 the image is kept since it cannot expire.
            assert_freed(&world, &["A", "A.config", "A.layer"], &["base+A.layer"]);
        }
    }
    let mut world = world(CollectorRules::V2_0);
    expired(&mut world);
    anchor(&mut world, "containerd.io/gc.ref.imageX", &library("e:1"));
    assert_freed(&world, &BLOBS, &SNAPSHOTS);
}

#[test]
fn a_reference_to_the_image_that_goes_is_dead() {
    for rules in RULES {
        let mut world = world(rules);
        anchor(&mut world, "containerd.io/gc.ref.image", &library("a:1"));
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn an_expired_image_that_is_referred_to_is_freed_by_us() {
    for rules in [CollectorRules::V2_0, CollectorRules::V2_2] {
        let mut world = world(rules);
        world.here().images[0].label(EXPIRE, "2026-01-01T00:00:00Z");
        anchor(&mut world, "containerd.io/gc.ref.image", &library("a:1"));
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn a_blob_may_attach_itself_from_2_2_on() {
    type Parent<'a> = &'a dyn Fn(&mut World) -> String;
    let kinds: [(&str, Parent<'_>); 4] = [
        ("content", &|_| id("anchor")),
        ("image/x", &|_| library("b:1")),
        ("container.x", &|_| "web".to_owned()),
        ("snapshot.overlayfs", &|world| {
            let volume = world.snapshot("volume", None, SnapshotKind::Committed);
            volume.gc = GcLabels::parse([("containerd.io/gc.root", "")]);
            "volume".to_owned()
        }),
    ];
    for rules in RULES {
        for (kind, parent) in kinds {
            let mut world = world(rules);
            world.blob("anchor", &[("containerd.io/gc.root", "")]);
            world.record(&library("b:1"), "gone");
            world.container("web", "b:1");
            let parent = parent(&mut world);
            let key = format!("containerd.io/gc.bref.{kind}");
            world.blob("base", &[(&key, &parent)]);
            if rules >= CollectorRules::V2_2 {
                assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);
            } else {
                assert_freed(&world, &BLOBS, &SNAPSHOTS);
            }
        }
    }
}

#[test]
fn what_is_attached_to_the_image_goes_with_it() {
    let rules = CollectorRules::V2_2;
    for (kind, parent) in [("image", library("a:1")), ("content", id("A.layer"))] {
        let mut world = world(rules);
        world.blob(
            "signature",
            &[(&format!("containerd.io/gc.bref.{kind}"), &parent)],
        );
        let blobs = ["A", "A.config", "A.layer", "base", "signature"];
        assert_freed(&world, &blobs, &SNAPSHOTS);
    }
}

#[test]
fn a_flat_lease_keeps_nothing_that_is_attached() {
    let mut world = world(CollectorRules::V2_2);
    world.blob("base", &[("containerd.io/gc.bref.content", &id("loose"))]);
    world.blob("loose", &[]);
    world.lease("build", &[content("loose")]).flat();
    assert_freed(&world, &BLOBS, &SNAPSHOTS);

    world.here().leases[0].is_flat = false;
    assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);
}

#[test]
fn an_attachment_holds_across_something_absent() {
    // The collector follows back references by name, whether or not there is such a thing.
    let absent_blob = || {
        let mut world = world(CollectorRules::V2_2);
        anchor(&mut world, "containerd.io/gc.ref.content", &id("absent"));
        world.blob("base", &[("containerd.io/gc.bref.content", &id("absent"))]);
        world
    };
    assert_freed(&absent_blob(), &["A", "A.config", "A.layer"], &SNAPSHOTS);

    // Nor need its key be one that any blob could have.
    let mut world = world(CollectorRules::V2_2);
    anchor(&mut world, "containerd.io/gc.ref.content", "nothing");
    world.blob("base", &[("containerd.io/gc.bref.content", "nothing")]);
    assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);

    // The image that goes is such a thing as well.
    let mut world = super::world(CollectorRules::V2_2);
    anchor(&mut world, "containerd.io/gc.ref.image", &library("a:1"));
    world.blob("base", &[("containerd.io/gc.bref.image", &library("a:1"))]);
    assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);
}

#[test]
fn back_references_hold_across_a_parent_that_is_gone() {
    let mut world = world(CollectorRules::V2_2);
    let volume = world.snapshot("volume", Some("gone"), SnapshotKind::Committed);
    volume.gc = GcLabels::parse([("containerd.io/gc.root", "")]);
    world.blob(
        "base",
        &[("containerd.io/gc.bref.snapshot.overlayfs", "gone")],
    );
    assert_freed(&world, &["A", "A.config", "A.layer"], &SNAPSHOTS);
}

#[test]
fn cycles_end() {
    for rules in RULES {
        let mut world = world(rules);
        let to = |name: &str| id(name);
        world.blob("A.layer", &[("containerd.io/gc.ref.content", &to("A"))]);
        world.blob("base", &[("containerd.io/gc.ref.content", &to("base"))]);
        world.blob("A", &[("containerd.io/gc.bref.content", &to("A.layer"))]);
        world.here().images[0].label("containerd.io/gc.ref.image", &library("a:1"));
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn a_snapshot_that_is_its_own_ancestor_ends() {
    for rules in RULES {
        let mut world = world(rules);
        world.active("one", "other");
        world.active("other", "one");
        world.container("web", "").on("one");
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn dead_and_hostile_labels_do_no_harm() {
    for rules in RULES {
        let mut world = world(rules);
        for (key, value) in [
            ("containerd.io/gc.ref.content.m.0", id("absent").as_str()),
            ("containerd.io/gc.ref.content", "sha256:short"),
            ("containerd.io/gc.ref.content.", ""),
            ("containerd.io/gc.ref.snapshot.", "key"),
            ("containerd.io/gc.ref.snapshot./", "/"),
            ("containerd.io/gc.ref.image", "\u{0}"),
            ("containerd.io/gc.bref.container", ""),
            ("containerd.io/gc.bref.content", "\u{202e}"),
            ("containerd.io/gc.", "x"),
        ] {
            world.blob("A", &[(key, value)]);
            world.here().images[0].label(key, value);
        }
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

/// Content that lives only by something absent is garbage, however much is absent.
#[test]
fn several_absent_parents_hold_nothing() {
    for rules in [CollectorRules::V2_2, CollectorRules::V2_3] {
        let mut world = world(rules);
        world
            .image(&library("z:1"), "Z")
            .label("io.cri-containerd.pinned", "pinned");
        let children = ["X", "Y"];
        for name in children {
            let parent = id(&format!("{name}.absent"));
            world.blob(name, &[("containerd.io/gc.bref.content", &parent)]);
        }
        let outcome = world.prune_all();
        let pending = &outcome.plan.not_counted.pending.blobs;
        let pending: BTreeSet<String> = pending.iter().map(|it| it.digest.to_string()).collect();
        assert_eq!(pending, children.map(id).into());
    }
}
