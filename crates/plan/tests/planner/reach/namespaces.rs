//! Content is shared between namespaces, snapshots are not.

use reclaim_model::EXPIRE;

use super::{BLOBS, NONE, RULES, SNAPSHOTS, assert_freed, world};
use crate::world::{LeaseExt, Part, RecordExt, World, content, library};

/// Adds the same image to another namespace, without a record.
fn shared(world: &mut World) -> &mut World {
    let part = Part {
        layers: &["base", "A.layer"],
        ..Part::default()
    };
    world.within("other").manifest("A", part)
}

#[test]
fn a_blob_leaves_the_disk_when_no_namespace_keeps_it() {
    for rules in RULES {
        let mut world = world(rules);
        shared(&mut world).record("copy:1", "A");
        assert_freed(&world, &NONE, &SNAPSHOTS);
    }
}

#[test]
fn what_is_garbage_in_the_other_namespace_goes_along() {
    for rules in RULES {
        let mut world = world(rules);
        shared(&mut world);
        assert_freed(&world, &BLOBS, &SNAPSHOTS);

        shared(&mut world).lease("late", &[content("A")]).expired();
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn a_part_kept_elsewhere_is_that_part_only() {
    for rules in RULES {
        let mut world = world(rules);
        shared(&mut world).lease("pull", &[content("A.layer")]);
        assert_freed(&world, &["A", "A.config", "base"], &SNAPSHOTS);

        world
            .within("third")
            .blob("base", &[("containerd.io/gc.root", "")]);
        assert_freed(&world, &["A", "A.config"], &SNAPSHOTS);
    }
}

#[test]
fn an_image_that_expired_elsewhere_keeps_nothing_from_2_0_on() {
    for rules in RULES {
        let mut world = world(rules);
        let record = shared(&mut world).record("copy:1", "A");
        record.label(EXPIRE, "2026-01-01T00:00:00Z");
        if rules == RULES[0] {
            assert_freed(&world, &NONE, &SNAPSHOTS);
        } else {
            assert_freed(&world, &BLOBS, &SNAPSHOTS);
        }
    }
}

#[test]
fn users_of_another_namespace_use_nothing_here() {
    for rules in RULES {
        let mut world = world(rules);
        world.within("other").container("web", &library("a:1"));
        world.lease("pull", &[content("A")]);
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn a_label_that_only_one_namespace_has_counts_there_only() {
    for rules in RULES {
        let mut world = world(rules);
        world.within("other").blob("A.config", &[]);
        world.record("copy:1", "A.config");
        assert_freed(&world, &["A", "A.layer", "base"], &SNAPSHOTS);
    }
}
