//! Small plans and their parts, for tests of pure code.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{
    CollectorRules, Digest, GcLabels, Holder, HolderKind, ImageRecord, Inventory, KeepReason, Kept,
    Plan, PruneFilters, RemoveReason, ResolvedRequest, SnapshotSizes, Step, Target,
};
use reclaim_plan::decide;

/// A digest of one repeated digit.
pub(crate) fn digest(digit: char) -> Digest {
    let hex = String::from_iter([digit; 64]);
    format!("sha256:{hex}").parse().unwrap()
}

/// A record that points at the digest of a digit.
pub(crate) fn record(name: &str, digit: char) -> ImageRecord {
    ImageRecord {
        name: name.to_owned(),
        target: Target {
            media_type: String::new(),
            digest: digest(digit),
            size: 1,
            annotations: BTreeMap::new(),
        },
        labels: BTreeMap::new(),
        created_at: None,
        updated_at: None,
        gc: GcLabels::default(),
        expires: None,
    }
}

/// The removal of an unused [`record`].
pub(crate) fn step(name: &str, digit: char) -> Step {
    Step {
        image: record(name, digit),
        reason: RemoveReason::Unused,
        lifted: None,
    }
}

/// A record that stays for the container `web`.
pub(crate) fn kept(name: &str, digit: char) -> Kept {
    Kept {
        name: name.to_owned(),
        target: digest(digit),
        reason: KeepReason::InUse,
        holders: vec![Holder::new(HolderKind::Container, "web")],
    }
}

/// A prune of dangling images.
pub(crate) fn dangling() -> ResolvedRequest {
    ResolvedRequest::new("default".parse().unwrap(), PruneFilters::default())
}

/// The inventory of an empty containerd.
pub(crate) fn inventory() -> Inventory {
    Inventory {
        rules: CollectorRules::V2_0,
        observed_at: Timestamp::UNIX_EPOCH,
        namespaces: BTreeMap::new(),
        documents: BTreeMap::new(),
        label_keys: BTreeSet::new(),
        sandbox_image: None,
    }
}

/// A plan with these steps and kept images that frees nothing.
pub(crate) fn plan(steps: Vec<Step>, kept: Vec<Kept>) -> Plan {
    let plan = decide(&inventory(), &[], &dangling()).into_plan(&SnapshotSizes::default());
    Plan {
        steps,
        kept,
        ..plan
    }
}
