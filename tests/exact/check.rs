//! What must hold in every case.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use reclaim_testkit::{Containerd, RandomStore, Version};
use serde_json::Value;

use crate::case::{self, Observation};
use crate::closure::{Kind, closure, is_expired};
use crate::contents::{NamespaceContents, StoreContents};
use crate::prune::RandomPrune;
use crate::users;

/// How much a case removed and freed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) removed: usize,
    pub(crate) blobs: usize,
    pub(crate) snapshots: usize,
    /// Blobs and snapshots that were garbage before, and were freed with the others.
    pub(crate) pending: usize,
}

/// Runs a case and checks it.
///
/// # Errors
///
/// The first violation.
pub(crate) async fn check(
    containerd: &Containerd,
    store: &RandomStore,
    prune: &RandomPrune,
) -> Result<Tally, String> {
    let observed = case::run(containerd, store, prune).await?;
    let removed = names(&observed.report["removed"]);
    check_report(&observed, &removed)?;
    // Without a removal there is no collection.
    let change = Change {
        version: observed.version,
        before: &observed.before,
        after: &observed.after,
        is_collected: !removed.is_empty(),
    };
    let vanished = Vanished::by(&change);
    check_what_is_left(&change, &observed.prune.namespace, &removed)?;
    same(
        "blobs freed",
        &listed(&observed.planned["blobs"], |blob| text(&blob["digest"])),
        &vanished.blobs,
    )?;
    let key = |snapshot: &Value| {
        format!(
            "{}/{}",
            text(&snapshot["snapshotter"]),
            text(&snapshot["key"])
        )
    };
    same(
        "snapshots freed",
        &listed(&observed.planned["snapshots"], key),
        &vanished.snapshots,
    )?;
    if observed.prune.is_collected && vanished.pending > 0 {
        return Err("there is garbage after a collection".to_owned());
    }
    users::demand_all_kept(&observed, store, &removed)?;
    Ok(Tally {
        removed: removed.len(),
        blobs: vanished.blobs.len(),
        snapshots: vanished.snapshots.len(),
        pending: vanished.pending,
    })
}

/// The run did what the dry run planned, and the report has every image once.
fn check_report(observed: &Observation, removed: &BTreeSet<String>) -> Result<(), String> {
    let Observation {
        planned, report, ..
    } = observed;
    for part in [
        "removed",
        "kept",
        "estimate",
        "blobs",
        "snapshots",
        "warnings",
    ] {
        same(part, &planned[part], &report[part])?;
    }
    same("reclaimed", &planned["estimate"], &report["reclaimed"])?;
    // Nothing else changes the store.
    for part in ["refused", "failed"] {
        same(part, &Value::Array(Vec::new()), &report[part])?;
    }
    let mut reported: Vec<String> = removed.iter().cloned().collect();
    reported.extend(names(&report["kept"]));
    reported.sort_unstable();
    let before = &observed.before.namespaces[&observed.prune.namespace];
    let existing = before.images.keys().cloned().collect();
    same("images", &existing, &reported)?;
    let sum = |list: &Value| -> u64 {
        let entries = list.as_array().into_iter().flatten();
        entries.filter_map(|entry| entry["bytes"].as_u64()).sum()
    };
    let estimate = &planned["estimate"];
    same(
        "bytes",
        &estimate["content_bytes"],
        &sum(&planned["blobs"]).into(),
    )?;
    same(
        "bytes",
        &estimate["snapshot_bytes"],
        &sum(&planned["snapshots"]).into(),
    )
}

/// A store before and after a run.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) version: Version,
    pub(crate) before: &'a StoreContents,
    pub(crate) after: &'a StoreContents,
    /// Whether the run had something to collect.
    pub(crate) is_collected: bool,
}

/// What a run freed, without what was garbage before.
pub(crate) struct Vanished {
    pub(crate) blobs: BTreeMap<String, u64>,
    pub(crate) snapshots: BTreeMap<String, u64>,
    /// Number of blobs and snapshots that were garbage before, and were freed with the others.
    pub(crate) pending: usize,
}

impl Vanished {
    pub(crate) fn by(change: &Change<'_>) -> Self {
        let mut vanished = Self {
            blobs: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            pending: 0,
        };
        let left = change.after.blobs();
        let mut gone = change.before.blobs();
        gone.retain(|digest, _| !left.contains_key(digest));
        for (name, before) in &change.before.namespaces {
            let kept = closure(before, change.version, &BTreeSet::new());
            for digest in before.blobs.keys() {
                if kept.contains(&(Kind::Content, digest.clone()))
                    && let Some((digest, size)) = gone.remove_entry(digest)
                {
                    vanished.blobs.insert(digest, size);
                }
            }
            let after = &change.after.namespaces[name];
            for (key, snapshot) in &before.snapshots {
                if after.snapshots.contains_key(key) {
                    continue;
                }
                if kept.contains(&(Kind::Snapshot, key.clone())) {
                    vanished.snapshots.insert(key.clone(), snapshot.bytes);
                } else {
                    vanished.pending += 1;
                }
            }
        }
        if change.is_collected {
            vanished.pending += gone.len();
        }
        vanished
    }
}

/// What is left is what the in-memory collector keeps of the store before, without the images of a
/// namespace that were removed, and the disk has what the namespaces have.
pub(crate) fn check_what_is_left(
    change: &Change<'_>,
    namespace: &str,
    removed: &BTreeSet<String>,
) -> Result<(), String> {
    let version = change.version;
    for (name, before) in &change.before.namespaces {
        let after = &change.after.namespaces[name];
        let nothing = BTreeSet::new();
        let without = if name == namespace { removed } else { &nothing };
        if !change.is_collected {
            same("untouched namespace", before, after)?;
            continue;
        }
        let kept = closure(before, version, without);
        let stays = |kind, key: &String| kept.contains(&(kind, key.clone()));
        let blobs = before
            .blobs
            .iter()
            .filter(|(digest, _)| stays(Kind::Content, digest));
        let left: Vec<_> = after.blobs.iter().collect();
        same("blobs left", &blobs.collect(), &left)?;
        let snapshots = before
            .snapshots
            .keys()
            .filter(|key| stays(Kind::Snapshot, key));
        let left: Vec<_> = after.snapshots.keys().collect();
        same("snapshots left", &snapshots.collect(), &left)?;
        let images = before.images.keys().filter(|name| {
            !without.contains(*name) && (!version.at_least(2, 0) || stays(Kind::Image, name))
        });
        let left: Vec<_> = after.images.keys().collect();
        same("images left", &images.collect(), &left)?;
        check_holders(before, after)?;
    }
    let on_disk: u64 = change.after.blobs().values().sum();
    same("bytes on disk", &on_disk, &change.after.disk_bytes)
}

/// Containers, sandboxes and live leases are the same as before.
fn check_holders(before: &NamespaceContents, after: &NamespaceContents) -> Result<(), String> {
    same("containers", &before.containers, &after.containers)?;
    same("sandboxes", &before.sandboxes, &after.sandboxes)?;
    let live = before
        .leases
        .iter()
        .filter(|(_, lease)| !is_expired(&lease.labels));
    let left: Vec<_> = after.leases.iter().collect();
    same("leases", &live.collect(), &left)
}

fn names(list: &Value) -> BTreeSet<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|image| text(&image["name"]))
        .collect()
}

/// Returns a list of objects as a map from a key to `bytes`.
fn listed(list: &Value, key: impl Fn(&Value) -> String) -> BTreeMap<String, u64> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|entry| (key(entry), entry["bytes"].as_u64().unwrap_or(u64::MAX)))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns an error unless what the command or the in-memory collector predicts is what was found.
pub(crate) fn same<T: PartialEq + Debug>(
    what: &str,
    predicted: &T,
    found: &T,
) -> Result<(), String> {
    if predicted == found {
        Ok(())
    } else {
        Err(format!(
            "{what}\npredicted {predicted:#?}\nfound {found:#?}"
        ))
    }
}
