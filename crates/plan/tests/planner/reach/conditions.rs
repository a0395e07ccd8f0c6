//! References on a condition: containerd 2.3 and newer.

use reclaim_model::{CollectorRules, GcLabels, SnapshotKind};

use super::{BLOBS, RULES, SNAPSHOTS, assert_freed, world};
use crate::world::{RecordExt, World, chain};

const CONDITION: &str = "containerd.io/gc.cond.snapshot.overlayfs";
const USED_AT: &str = "containerd.io/gc.cond.value-usedat";

/// A day before the observation.
const YESTERDAY: &str = "2026-01-09T12:00:00Z";

/// The image, and a blob that is kept and keeps the layer `base` on a condition.
fn cached(rules: CollectorRules, condition: &str, used_at: &str) -> World {
    let mut world = world(rules);
    let base = world.snapshot(&chain("base"), None, SnapshotKind::Committed);
    base.gc = GcLabels::parse([(USED_AT, used_at)]);
    let value = format!("{condition}|{}", chain("base"));
    world.blob(
        "cache",
        &[("containerd.io/gc.root", ""), (CONDITION, &value)],
    );
    world
}

#[test]
fn a_snapshot_is_kept_while_a_condition_is_met_from_2_3_on() {
    for rules in RULES {
        for (condition, is_met) in [
            ("usedat<72h", true),
            ("usedat>72h", false),
            ("usedat<24h", false),
            ("usedat>1h30m", true),
            ("usedat<=72h", false),
            ("unknown<72h,usedat<72h", true),
            ("unknown<72h", false),
        ] {
            let world = cached(rules, condition, YESTERDAY);
            if is_met && rules >= CollectorRules::V2_3 {
                assert_freed(&world, &BLOBS, &["base+A.layer"]);
            } else {
                assert_freed(&world, &BLOBS, &SNAPSHOTS);
            }
        }
    }
}

#[test]
fn a_condition_on_a_snapshot_of_unknown_use_is_not_met() {
    for used_at in ["", "yesterday"] {
        let world = cached(CollectorRules::V2_3, "usedat<72h", used_at);
        assert_freed(&world, &BLOBS, &SNAPSHOTS);
    }
}

#[test]
fn the_condition_of_an_image_goes_with_it() {
    let mut world = cached(CollectorRules::V2_3, "unknown", YESTERDAY);
    let value = format!("usedat<72h|{}", chain("base"));
    world.here().images[0].label(CONDITION, &value);
    assert_freed(&world, &BLOBS, &SNAPSHOTS);

    world.record("kept", "gone").label(CONDITION, &value);
    world.container("web", "kept");
    assert_freed(&world, &BLOBS, &["base+A.layer"]);
}

#[test]
fn the_condition_of_a_snapshot_is_none() {
    let mut world = cached(CollectorRules::V2_3, "unknown", YESTERDAY);
    let volume = world.snapshot("volume", None, SnapshotKind::Committed);
    let value = format!("usedat<72h|{}", chain("base"));
    volume.gc = GcLabels::parse([("containerd.io/gc.root", ""), (CONDITION, &value)]);
    assert_freed(&world, &BLOBS, &SNAPSHOTS);
}
