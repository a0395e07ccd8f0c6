//! What must be true of every case.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use reclaim_testkit::{Containerd, RandomStore};
use serde_json::Value;

use crate::case::{self, Seen};
use crate::closure::{Kind, closure, is_expired};
use crate::picture::Contents;
use crate::question::Question;
use crate::users;

/// How much a case had to say.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) removed: usize,
    pub(crate) blobs: usize,
    pub(crate) snapshots: usize,
    /// Blobs and snapshots that had been waiting and went along.
    pub(crate) pending: usize,
}

/// Runs a store's case and checks it.
///
/// # Errors
///
/// The first thing that is not as it must be.
pub(crate) async fn check(
    containerd: &Containerd,
    store: &RandomStore,
    question: &Question,
) -> Result<Tally, String> {
    let seen = case::run(containerd, store, question).await?;
    let removed = names(&seen.report["removed"]);
    check_report(&seen, &removed)?;
    let vanished = Vanished::of(&seen, &removed);
    check_what_is_left(&seen, &removed)?;
    same(
        "blobs freed",
        &listed(&seen.planned["blobs"], |it| text(&it["digest"])),
        &vanished.blobs,
    )?;
    let key = |it: &Value| format!("{}/{}", text(&it["snapshotter"]), text(&it["key"]));
    same(
        "snapshots freed",
        &listed(&seen.planned["snapshots"], key),
        &vanished.snapshots,
    )?;
    if seen.question.is_collected && vanished.pending > 0 {
        return Err("something waits after a collection".to_owned());
    }
    users::demand_all_kept(&seen, store, &removed)?;
    Ok(Tally {
        removed: removed.len(),
        blobs: vanished.blobs.len(),
        snapshots: vanished.snapshots.len(),
        pending: vanished.pending,
    })
}

/// The run did what the dry run said, and every image is accounted for once.
fn check_report(seen: &Seen, removed: &BTreeSet<String>) -> Result<(), String> {
    let Seen {
        planned, report, ..
    } = seen;
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
    // Nobody else is at work.
    for part in ["refused", "failed"] {
        same(part, &Value::Array(Vec::new()), &report[part])?;
    }
    let mut judged: Vec<String> = removed.iter().cloned().collect();
    judged.extend(names(&report["kept"]));
    judged.sort_unstable();
    let before = &seen.before.namespaces[&seen.question.namespace];
    same("images", &before.images.keys().cloned().collect(), &judged)?;
    let sum = |list: &Value| -> u64 {
        let entries = list.as_array().into_iter().flatten();
        entries.filter_map(|it| it["bytes"].as_u64()).sum()
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

/// What went because of the run: not what had been waiting.
struct Vanished {
    blobs: BTreeMap<String, u64>,
    snapshots: BTreeMap<String, u64>,
    /// How many blobs and snapshots had been waiting, and went along.
    pending: usize,
}

impl Vanished {
    fn of(seen: &Seen, removed: &BTreeSet<String>) -> Self {
        let mut vanished = Self {
            blobs: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            pending: 0,
        };
        let left = seen.after.blobs();
        let mut waiting = seen.before.blobs();
        waiting.retain(|digest, _| !left.contains_key(digest));
        for (name, before) in &seen.before.namespaces {
            let kept = closure(before, seen.version, &BTreeSet::new());
            for digest in before.blobs.keys() {
                if kept.contains(&(Kind::Content, digest.clone()))
                    && let Some((digest, size)) = waiting.remove_entry(digest)
                {
                    vanished.blobs.insert(digest, size);
                }
            }
            let after = &seen.after.namespaces[name];
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
        // Where nothing was removed nothing was collected, and all that waits still does.
        if !removed.is_empty() {
            vanished.pending += waiting.len();
        }
        vanished
    }
}

/// What is left is what the collector keeps without the images that were removed: the oracle
/// against the collector itself. And the disk has what the namespaces have.
fn check_what_is_left(seen: &Seen, removed: &BTreeSet<String>) -> Result<(), String> {
    for (name, before) in &seen.before.namespaces {
        let after = &seen.after.namespaces[name];
        let nothing = BTreeSet::new();
        let is_pruned = *name == seen.question.namespace;
        let without = if is_pruned { removed } else { &nothing };
        if removed.is_empty() {
            same("untouched namespace", before, after)?;
            continue;
        }
        let kept = closure(before, seen.version, without);
        let stays = |kind, key: &String| kept.contains(&(kind, key.clone()));
        let blobs = before.blobs.keys().filter(|it| stays(Kind::Content, it));
        same(
            "blobs left",
            &blobs.collect(),
            &after.blobs.keys().collect::<Vec<_>>(),
        )?;
        let snapshots = before
            .snapshots
            .keys()
            .filter(|it| stays(Kind::Snapshot, it));
        let left: Vec<_> = after.snapshots.keys().collect();
        same("snapshots left", &snapshots.collect(), &left)?;
        let images = before.images.keys().filter(|it| {
            !without.contains(*it) && (!seen.version.at_least(2, 0) || stays(Kind::Image, it))
        });
        same(
            "images left",
            &images.collect(),
            &after.images.keys().collect::<Vec<_>>(),
        )?;
        check_holders(before, after)?;
    }
    let on_disk: u64 = seen.after.blobs().values().sum();
    same("bytes on disk", &on_disk, &seen.after.disk_bytes)
}

/// Containers, sandboxes and leases that hold are as they were, and none is new.
fn check_holders(before: &Contents, after: &Contents) -> Result<(), String> {
    same("containers", &before.containers, &after.containers)?;
    same("sandboxes", &before.sandboxes, &after.sandboxes)?;
    let live = before.leases.iter();
    let live = live.filter(|(_, lease)| !is_expired(&lease.labels));
    same(
        "leases",
        &live.collect(),
        &after.leases.iter().collect::<Vec<_>>(),
    )
}

fn names(list: &Value) -> BTreeSet<String> {
    let entries = list.as_array().into_iter().flatten();
    entries.map(|it| text(&it["name"])).collect()
}

/// A list of objects as a map from a key to `bytes`.
fn listed(list: &Value, key: impl Fn(&Value) -> String) -> BTreeMap<String, u64> {
    let entries = list.as_array().into_iter().flatten();
    let pairs = entries.map(|it| (key(it), it["bytes"].as_u64().unwrap_or(u64::MAX)));
    pairs.collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Demands that what was foretold, by the command or by the oracle, is what was found.
fn same<T: PartialEq + Debug>(what: &str, foretold: &T, found: &T) -> Result<(), String> {
    if foretold == found {
        Ok(())
    } else {
        Err(format!("{what}\nforetold {foretold:#?}\nfound {found:#?}"))
    }
}
