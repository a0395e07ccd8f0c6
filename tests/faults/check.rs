//! Invariants that hold after every run, whatever the fault.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::fixture::Fixture;
use crate::matrix::Violations;
use crate::run::{PRUNE_ALL, RunOutput, reclaim};
use crate::state::State;

/// The label with the time at which containerd deletes a lease.
const EXPIRE: &str = "containerd.io/gc.expire";

/// Nothing that must stay is missing, every image is whole, and all leases of Reclaim expire.
pub(crate) fn store(fixture: &Fixture, after: &State) -> Violations {
    let mut violations = after.lacks(&fixture.end);
    violations.extend(fixture.broken_images(after));
    let unknown_images = after
        .images
        .keys()
        .filter(|name| !fixture.before.images.contains_key(*name));
    violations.extend(unknown_images.map(|name| format!("has image {name}")));
    for (id, labels) in &after.leases {
        if !id.starts_with("reclaim.") {
            violations.push(format!("has lease {id}"));
        } else if !labels.contains_key(EXPIRE) {
            violations.push(format!("lease {id} does not expire"));
        }
    }
    violations
}

/// After a collection, all content that Reclaim wrote is held by its leases, which expire.
pub(crate) async fn leaks(fixture: &Fixture) -> Violations {
    let namespace = &fixture.namespace;
    namespace.collect().await.unwrap();
    let after = State::of(namespace).await;
    let mut held = BTreeSet::new();
    for id in after.leases.keys() {
        let resources = namespace.lease_resources(id).await.unwrap();
        held.extend(resources.into_iter().map(|resource| resource.id));
    }
    after
        .blobs
        .keys()
        .filter(|digest| !fixture.before.blobs.contains_key(*digest))
        .chain(&after.ingests)
        .filter(|id| !held.contains(*id))
        .map(|id| format!("leaks {id}"))
        .collect()
}

/// The exit status and the report agree with the store.
pub(crate) fn report(ended: &RunOutput, before: &State, after: &State) -> Violations {
    report_of(ended, before, after, Warnings::AreFailures)
}

/// Like [`report`], where something may be unreadable, which is a warning and not a failure.
pub(crate) fn report_with_gaps(ended: &RunOutput, before: &State, after: &State) -> Violations {
    report_of(ended, before, after, Warnings::MayBeGaps)
}

/// What a warning means for the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Warnings {
    AreFailures,
    MayBeGaps,
}

fn report_of(ended: &RunOutput, before: &State, after: &State, warnings: Warnings) -> Violations {
    match ended.code {
        Some(0 | 3) => compare_report(ended, &ended.report(), before, after, warnings),
        Some(1) => {
            let mut violations = Violations::new();
            if !ended.stdout.is_empty() || !ended.stderr.contains("error: ") {
                violations.push(format!("fails without an error message: {ended:?}"));
            }
            if before.images != after.images {
                violations.push(format!("exits with 1 after a removal: {ended:?}"));
            }
            violations
        }
        code => vec![format!("exits with {code:?}: {ended:?}")],
    }
}

fn compare_report(
    ended: &RunOutput,
    report: &Value,
    before: &State,
    after: &State,
    warnings: Warnings,
) -> Violations {
    let mut violations = Violations::new();
    let mut demand = |holds: bool, violation: String| {
        if !holds {
            violations.push(violation);
        }
    };
    let fields = |list: &str, field: &str| -> Vec<String> {
        report[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry[field].as_str().unwrap().to_owned())
            .collect()
    };
    let lists = ["removed", "kept", "refused", "failed"].map(|list| fields(list, "name"));
    let mut reported = lists.concat();
    reported.sort();
    let existing: Vec<String> = before.images.keys().cloned().collect();
    demand(reported == existing, format!("reports on {reported:?}"));
    let [removed, _, refused, failed] = lists;
    for name in removed {
        let is_gone = !after.images.contains_key(&name);
        demand(is_gone, format!("reports {name} as removed"));
    }
    // A record that could not be restored is in `failed`, and may be there or not.
    let errors = fields("failed", "error");
    let not_removed = failed
        .iter()
        .zip(&errors)
        .filter(|(_, error)| !error.starts_with("restore image"))
        .map(|(name, _)| name);
    for name in refused.iter().chain(not_removed) {
        let is_there = after.images.contains_key(name);
        demand(is_there, format!("reports {name} as not removed"));
    }
    for digest in fields("blobs", "digest") {
        let is_freed = before.blobs.contains_key(&digest) && !after.blobs.contains_key(&digest);
        demand(is_freed, format!("reports {digest} as freed"));
    }
    let keys = fields("snapshots", "key");
    let snapshots = fields("snapshots", "snapshotter").into_iter().zip(keys);
    for snapshot in snapshots.map(|(snapshotter, key)| format!("{snapshotter}/{key}")) {
        let is_freed = before.snapshots.contains(&snapshot) && !after.snapshots.contains(&snapshot);
        demand(is_freed, format!("reports {snapshot} as freed"));
    }
    for (list, bytes) in [("blobs", "content_bytes"), ("snapshots", "snapshot_bytes")] {
        // The sum leaves out unknown sizes.
        let sum: u64 = report[list]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| !entry["bytes"].is_null())
            .map(|entry| entry["bytes"].as_u64().unwrap())
            .sum();
        let total = report["reclaimed"][bytes].as_u64().unwrap();
        demand(sum == total, format!("{bytes} is {total}, not {sum}"));
    }
    // Holding in several parts is not a failure, nor is a guard that the next run takes over.
    let harmless = ["too full to hold", "the guard stays until the next run"];
    let is_harmless = |warning: &Value| {
        let warning = warning.as_str().unwrap();
        harmless.iter().any(|text| warning.contains(text))
    };
    let is_warned = !report["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .all(is_harmless);
    let may_be_gap = warnings == Warnings::MayBeGaps && failed.is_empty() && is_warned;
    let is_bad = !failed.is_empty() || is_warned;
    demand(
        may_be_gap || (ended.code == Some(3)) == is_bad,
        format!("exits with {:?}: {report:#}", ended.code),
    );
    violations
}

/// Another run without faults leaves the store as if there had been no run before it.
pub(crate) async fn following_run(fixture: &Fixture) -> Violations {
    let before = State::of(&fixture.namespace).await;
    if before == fixture.end {
        return Violations::new();
    }
    let socket = fixture.socket.to_str().unwrap();
    let ended = reclaim(socket, &PRUNE_ALL).await;
    let after = State::of(&fixture.namespace).await;
    let mut violations = Violations::new();
    if ended.code != Some(0) {
        violations.push(format!(
            "a following run, on {:?}: {ended:?}",
            before.leases
        ));
    }
    let differences = after.differences(&fixture.end).into_iter();
    violations.extend(differences.map(|difference| format!("after a following run: {difference}")));
    violations
}
