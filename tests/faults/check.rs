//! What must hold after every run, however it was spoiled.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::matrix::Complaints;
use crate::run::{Ended, PRUNE_ALL, reclaim};
use crate::stage::Stage;
use crate::state::State;

/// The label by which containerd lets go of a lease by itself.
const EXPIRE: &str = "containerd.io/gc.expire";

/// Nothing that has to stay is missing, no image is there in part, and whatever is ours goes
/// away by itself.
pub(crate) fn soundness(stage: &Stage, after: &State) -> Complaints {
    let mut complaints = after.lacks(&stage.end);
    complaints.extend(stage.broken_images(after));
    let strange = after
        .images
        .keys()
        .filter(|name| !stage.before.images.contains_key(*name));
    complaints.extend(strange.map(|name| format!("has image {name}")));
    for (id, labels) in &after.leases {
        if !id.starts_with("reclaim.") {
            complaints.push(format!("has lease {id}"));
        } else if !labels.contains_key(EXPIRE) {
            complaints.push(format!("lease {id} does not expire"));
        }
    }
    complaints
}

/// No blob and no ingest of ours is held by anything but a lease of ours, all of which expire:
/// what is still there after a collection is among their resources.
pub(crate) async fn leaks(stage: &Stage) -> Complaints {
    let namespace = &stage.namespace;
    namespace.collect().await.unwrap();
    let after = State::of(namespace).await;
    let mut held = BTreeSet::new();
    for id in after.leases.keys() {
        let resources = namespace.lease_resources(id).await.unwrap();
        held.extend(resources.into_iter().map(|it| it.id));
    }
    let blobs = after
        .blobs
        .keys()
        .filter(|it| !stage.before.blobs.contains_key(*it));
    let ours = blobs.chain(&after.ingests);
    let leaked = ours.filter(|it| !held.contains(*it));
    leaked.map(|it| format!("leaks {it}")).collect()
}

/// The exit status and the report say what is so.
pub(crate) fn truth(ended: &Ended, before: &State, after: &State) -> Complaints {
    truth_of(ended, before, after, Warnings::AreFailures)
}

/// As [`truth`], where something may have gone unread: that is a warning, and no failure.
pub(crate) fn truth_with_gaps(ended: &Ended, before: &State, after: &State) -> Complaints {
    truth_of(ended, before, after, Warnings::MayBeGaps)
}

/// What a warning says of the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Warnings {
    AreFailures,
    MayBeGaps,
}

fn truth_of(ended: &Ended, before: &State, after: &State, warnings: Warnings) -> Complaints {
    match ended.code {
        Some(0 | 3) => told(ended, &ended.report(), before, after, warnings),
        Some(1) => {
            let mut complaints = Complaints::new();
            if !ended.stdout.is_empty() || !ended.stderr.contains("error: ") {
                complaints.push(format!("fails without saying why: {ended:?}"));
            }
            if before.images != after.images {
                complaints.push(format!(
                    "fails before its first removal, it says: {ended:?}"
                ));
            }
            complaints
        }
        code => vec![format!("ends with {code:?}: {ended:?}")],
    }
}

fn told(
    ended: &Ended,
    report: &Value,
    before: &State,
    after: &State,
    warnings: Warnings,
) -> Complaints {
    let mut complaints = Complaints::new();
    let mut say = |is_so: bool, complaint: String| {
        if !is_so {
            complaints.push(complaint);
        }
    };
    let of = |list: &str, field: &str| -> Vec<String> {
        let entries = report[list].as_array().unwrap().iter();
        entries
            .map(|it| it[field].as_str().unwrap().to_owned())
            .collect()
    };
    let lists = ["removed", "kept", "refused", "failed"].map(|list| of(list, "name"));
    let mut accounted = lists.concat();
    accounted.sort();
    let there: Vec<String> = before.images.keys().cloned().collect();
    say(accounted == there, format!("accounts for {accounted:?}"));
    let [removed, _, refused, failed] = lists;
    for name in removed {
        let is_gone = !after.images.contains_key(&name);
        say(is_gone, format!("{name} is said to be removed"));
    }
    // A record that could not be restored is named as failed, and may be there or not.
    let errors = of("failed", "error");
    let restored = |error: &str| error.starts_with("restore image");
    let stuck = failed
        .iter()
        .zip(&errors)
        .filter(|(_, error)| !restored(error));
    for name in refused.iter().chain(stuck.map(|(name, _)| name)) {
        let is_there = after.images.contains_key(name);
        say(is_there, format!("{name} is said to stay"));
    }
    for digest in of("blobs", "digest") {
        let is_freed = before.blobs.contains_key(&digest) && !after.blobs.contains_key(&digest);
        say(is_freed, format!("{digest} is said to be freed"));
    }
    let keys = of("snapshots", "key");
    let snapshots = of("snapshots", "snapshotter").into_iter().zip(keys);
    for snapshot in snapshots.map(|(snapshotter, key)| format!("{snapshotter}/{key}")) {
        let is_freed = before.snapshots.contains(&snapshot) && !after.snapshots.contains(&snapshot);
        say(is_freed, format!("{snapshot} is said to be freed"));
    }
    for (list, bytes) in [("blobs", "content_bytes"), ("snapshots", "snapshot_bytes")] {
        let entries = report[list].as_array().unwrap().iter();
        // A size that is unknown is in no sum.
        let sizes = entries.filter(|it| !it["bytes"].is_null());
        let sum: u64 = sizes.map(|it| it["bytes"].as_u64().unwrap()).sum();
        let told = report["reclaimed"][bytes].as_u64().unwrap();
        say(sum == told, format!("{bytes} is {told}, not {sum}"));
    }
    // Neither is a fault: that it took several parts, and a guard that the next run takes over.
    let harmless = ["too full to hold", "the guard stays until the next run"];
    let is_harmless = |it: &Value| harmless.iter().any(|of| it.as_str().unwrap().contains(of));
    let mut others = report["warnings"].as_array().unwrap().iter();
    let is_warned = !others.all(is_harmless);
    let may_be_gap = warnings == Warnings::MayBeGaps && failed.is_empty() && is_warned;
    let is_bad = !failed.is_empty() || is_warned;
    let status_is_true = may_be_gap || (ended.code == Some(3)) == is_bad;
    say(
        status_is_true,
        format!("ends with {:?}: {report:#}", ended.code),
    );
    complaints
}

/// A run that nothing disturbs ends in the store as if there had been no other before it.
pub(crate) async fn following_run(stage: &Stage) -> Complaints {
    let before = State::of(&stage.namespace).await;
    if before == stage.end {
        return Complaints::new();
    }
    let socket = stage.socket.to_str().unwrap();
    let ended = reclaim(socket, &PRUNE_ALL).await;
    let after = State::of(&stage.namespace).await;
    let mut complaints = Complaints::new();
    if ended.code != Some(0) {
        complaints.push(format!(
            "a following run, on {:?}: {ended:?}",
            before.leases
        ));
    }
    let differences = after.differences(&stage.end).into_iter();
    complaints.extend(differences.map(|it| format!("after a following run: {it}")));
    complaints
}
