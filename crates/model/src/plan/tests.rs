//! Amounts and reasons of plans.

use std::collections::BTreeMap;

use super::*;
use crate::{GcLabels, HolderKind, LeaseHolding, Target};

#[test]
fn a_step_warns_only_if_it_lifts_a_protection() {
    let image = ImageRecord {
        name: "app:1".to_owned(),
        target: Target {
            media_type: String::new(),
            digest: digest("a"),
            size: 0,
            annotations: BTreeMap::new(),
        },
        labels: BTreeMap::new(),
        created_at: None,
        updated_at: None,
        gc: GcLabels::default(),
        expires: None,
    };
    let step = |lifted| Step {
        image: image.clone(),
        reason: RemoveReason::Unused,
        lifted,
    };
    assert_eq!(step(None).warning(), None);
    let rule = Holder::new(HolderKind::Rule, "protect.namespaces default");
    let warning = step(Some(rule.clone())).warning();
    assert_eq!(warning, Some(lift_warning("app:1", &rule)));
}

fn digest(digit: &str) -> Digest {
    format!("sha256:{}", digit.repeat(64)).parse().unwrap()
}

/// A blob of so many bytes, and a snapshot of so many.
fn freed(digit: &str, content: u64, snapshot: u64) -> Freed {
    let blob = FreedBlob {
        digest: digest(digit),
        bytes: content,
    };
    let snapshot = FreedSnapshot {
        id: SnapshotId::new("native", digit),
        bytes: Some(snapshot),
    };
    Freed::new(vec![blob], vec![snapshot])
}

fn both(a: Freed, b: Freed) -> Freed {
    Freed::new(
        [a.blobs, b.blobs].concat(),
        [a.snapshots, b.snapshots].concat(),
    )
}

#[test]
fn what_goes_is_added_up() {
    let all = both(freed("1", 20, 300), freed("2", 1, 4));
    let amount = all.amount();
    let expected = Amount {
        content_bytes: 21,
        snapshot_bytes: 304,
        blobs: 2,
        snapshots: 2,
        unmeasured: 0,
    };
    assert_eq!(amount, expected);
    assert_eq!(amount.total_bytes(), 325);
    assert_eq!(all.without(&freed("1", 20, 300)), freed("2", 1, 4));
}

#[test]
fn a_plan_frees_at_least_what_nothing_unreadable_may_hold() {
    let (first, second) = (freed("1", 20, 300), freed("2", 1, 4));
    for (doubtful, certain) in [(&second, &first), (&first, &second)] {
        let plan = Plan {
            namespace: "default".parse().unwrap(),
            steps: Vec::new(),
            kept: Vec::new(),
            slimmed: Vec::new(),
            cuts: Vec::new(),
            named: Vec::new(),
            freed: both(first.clone(), second.clone()),
            not_counted: NotCounted {
                doubtful: doubtful.clone(),
                ..NotCounted::default()
            },
            warnings: Vec::new(),
            target_free: None,
        };
        assert_eq!(plan.at_least(), certain.amount());
    }
}

#[test]
fn a_snapshot_without_a_size_leaves_the_list() {
    let known = SnapshotSizes::from_iter([(SnapshotId::new("native", "1"), 7)]);
    let unmeasured = || both(freed("1", 20, 0), freed("2", 1, 0));
    let mut measured = freed("1", 20, 7);
    measured.blobs = unmeasured().blobs;
    let mut not_counted = NotCounted {
        pending: unmeasured(),
        kept_elsewhere: Freed::default(),
        history: Pinned {
            configs: 1,
            freed: unmeasured(),
        },
        doubtful: unmeasured(),
        leased: Leased {
            things: unmeasured(),
            leases: vec![LeaseHolding {
                id: "pull".to_owned(),
                role: None,
                since: None,
                until: None,
                things: unmeasured(),
            }],
        },
    };
    not_counted.measure(&known);
    assert_eq!(not_counted.pending, measured);
    assert_eq!(not_counted.history.freed, measured);
    assert_eq!(not_counted.doubtful, measured);
    assert_eq!(not_counted.leased.things, measured);
    assert_eq!(not_counted.leased.leases[0].things, measured);
}

#[test]
fn reasons_are_words() {
    for (reason, words) in [
        (RemoveReason::Dangling, "no name, not in use"),
        (RemoveReason::Unused, "not in use"),
        (RemoveReason::Duplicate, "in use under another name"),
        (RemoveReason::Named, "named"),
        (
            RemoveReason::Replaced,
            "named; stays without a name for what needs it",
        ),
        (RemoveReason::Parent, "parent without a name"),
        (RemoveReason::Torn, "torn, not in use"),
        (
            RemoveReason::Dependent,
            "goes with the image that it depends on",
        ),
    ] {
        assert_eq!(reason.text(), words);
    }
}

#[test]
fn the_key_of_a_reason_is_its_word_in_json() {
    for reason in KeepReason::ALL {
        let json = serde_json::to_value(reason).unwrap();
        assert_eq!(json, reason.key());
    }
}
