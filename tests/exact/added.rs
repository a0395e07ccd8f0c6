//! Adding an image to a store changes no result of other images.
//!
//! The contents of an image follow from its own documents. Whatever the documents of another image
//! say, and wherever their digests sort, no image that was kept may be removed, and none that was
//! readable may be unreadable. The results before and after the addition are compared, so that the
//! test needs no expected results.

use std::collections::BTreeMap;

use reclaim_testkit::{Containerd, Dice, ObjectKind, RandomStore, StoreObject};
use serde_json::Value;

use crate::case::{call, set_up};
use crate::check::Tally;
use crate::prune::RandomPrune;

/// Prefix of the names of added records. No container of a store uses it.
const NAME: &str = "docker.io/library/evil";

/// The filters of the compared dry runs.
const FILTERS: [Option<&str>; 4] = [
    None,
    Some("label!=keep"),
    Some("label=tier"),
    Some("label!=x"),
];

/// The number of images that `why` explains in each case.
const WHY: usize = 3;

/// The result of a dry run for one image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    is_removed: bool,
    reason: String,
    target: String,
}

/// By name.
type Verdicts = BTreeMap<String, Verdict>;

/// Builds a store, adds an image to it, and compares.
///
/// # Errors
///
/// The first image for which it makes a difference.
pub(crate) async fn check(
    containerd: &Containerd,
    store: &RandomStore,
    prune: &RandomPrune,
) -> Result<Tally, String> {
    let namespace = &*prune.namespace;
    let set_up = set_up(containerd, store, prune).await;
    set_up.map_err(|status| format!("set up: {status}"))?;
    let before = dry_runs(containerd, namespace)?;
    // From the store as it was generated, so that a reduced one gets the same image.
    let whole = RandomStore::generate(store.seed);
    let mut dice = Dice::new(store.seed ^ 0x4144_4445_4421);
    let image = RandomStore {
        seed: store.seed,
        objects: whole.hostile_image(&mut dice, namespace, NAME),
    };
    let added = image.build(containerd).await;
    added.map_err(|status| format!("set up: {status}"))?;
    let after = dry_runs(containerd, namespace)?;
    for ((filter, before), after) in FILTERS.iter().zip(&before).zip(&after) {
        compare(before, after, &image.objects)
            .map_err(|wrong| format!("{wrong}, with filter {filter:?}, by adding\n{image}"))?;
    }
    let agreed = agree(containerd, namespace, &after[0]);
    agreed.map_err(|wrong| format!("{wrong}, after adding\n{image}"))?;
    let removed = after[0]
        .values()
        .filter(|verdict| verdict.is_removed)
        .count();
    Ok(Tally {
        removed,
        ..Tally::default()
    })
}

/// Returns an error unless each image has the same result as before, except images of the added
/// record's target.
fn compare(before: &Verdicts, after: &Verdicts, added: &[StoreObject]) -> Result<(), String> {
    let is_of_added = |target: &str| {
        added.iter().any(|thing| {
            matches!(&thing.kind, ObjectKind::Image { target: of, .. } if of.digest.to_string() == target)
        })
    };
    for (name, was) in before {
        let is = after.get(name).ok_or(format!("`{name}` is missing"))?;
        // A user needs only one record of a target, which may be the new one.
        let is_replaced = is.reason == "duplicate" && is_of_added(&was.target);
        if !was.is_removed && is.is_removed && !is_replaced {
            return Err(format!(
                "`{name}` was kept, {}, and is removed, {}",
                was.reason, is.reason
            ));
        }
        if is.reason == "unreadable" && was.reason != is.reason {
            return Err(format!("`{name}` was {}, and is unreadable", was.reason));
        }
    }
    Ok(())
}

/// Returns an error unless every command agrees with the dry run on each image, and the run does
/// what the dry run planned.
fn agree(containerd: &Containerd, namespace: &str, verdicts: &Verdicts) -> Result<(), String> {
    let json_of = |arguments: &[&str]| {
        let common = ["--format", "json", "--namespace", namespace];
        call(containerd, &[arguments, &common].concat())
    };
    let listed = json_of(&["image", "ls"])?;
    for row in rows(&listed["images"]) {
        let (name, verdict) = (text(&row["name"]), text(&row["verdict"]));
        let planned = verdicts.get(&name).ok_or(format!("no `{name}`"))?;
        let is_removed = ["unused", "dangling", "duplicate", "torn"].contains(&verdict.as_str());
        if is_removed != planned.is_removed {
            return Err(format!("ls has `{name}` as {verdict}, not {planned:?}"));
        }
    }
    if rows(&listed["images"]).count() != verdicts.len() {
        return Err(format!(
            "ls has other images than {:?}: {listed:#}",
            verdicts.keys()
        ));
    }
    let usage = json_of(&["df", "-v"])?;
    let here = rows(&usage["namespaces"]).next().unwrap_or(&Value::Null);
    let in_df: BTreeMap<String, &Value> = rows(&here["image_usage"])
        .map(|row| (text(&row["name"]), row))
        .collect();
    for (name, planned) in verdicts {
        let row = in_df.get(name).ok_or(format!("df lacks `{name}`"))?;
        same("df", name, row, planned)?;
    }
    for (name, planned) in verdicts.iter().rev().take(WHY) {
        // A name that is also the prefix of an ID has several answers.
        let answers = json_of(&["why", name])?;
        let mut answers = rows(&answers["answers"]);
        let is_it =
            |answer: &&Value| answer["thing"]["kind"] == "image" && answer["thing"]["id"] == **name;
        if let Some(answer) = answers.find(is_it) {
            same("why", name, &answer["verdicts"]["prune_all"], planned)?;
        }
    }
    let report = json_of(&[
        "image",
        "prune",
        "-a",
        "-f",
        "--grace",
        "0s",
        "--allow-empty",
        namespace,
    ])?;
    let done = verdicts_of(&report);
    if done != *verdicts {
        return Err(format!("planned {verdicts:#?}\ndone {done:#?}"));
    }
    Ok(())
}

/// Returns an error unless a command's verdict on an image is that of the dry run.
fn same(command: &str, name: &str, row: &Value, planned: &Verdict) -> Result<(), String> {
    let is_removed = row["verdict"] == "remove";
    if is_removed == planned.is_removed && row["reason"] == *planned.reason {
        return Ok(());
    }
    Err(format!(
        "{command} has `{name}` as {row:#}, not {planned:?}"
    ))
}

/// Makes a dry run with each of [`FILTERS`].
fn dry_runs(containerd: &Containerd, namespace: &str) -> Result<Vec<Verdicts>, String> {
    let run = |filter: Option<&str>| {
        let mut arguments = vec!["image", "prune", "-a", "--dry-run", "--format", "json"];
        arguments.extend(["--namespace", namespace, "--allow-empty", namespace]);
        arguments.extend(filter.into_iter().flat_map(|filter| ["--filter", filter]));
        Ok(verdicts_of(&call(containerd, &arguments)?))
    };
    FILTERS.into_iter().map(run).collect()
}

fn verdicts_of(report: &Value) -> Verdicts {
    let lists = [("removed", true), ("kept", false)];
    let of_list = |(list, is_removed)| {
        rows(&report[list]).map(move |row| {
            let verdict = Verdict {
                is_removed,
                reason: text(&row["reason"]),
                target: text(&row["target"]),
            };
            (text(&row["name"]), verdict)
        })
    };
    lists.into_iter().flat_map(of_list).collect()
}

fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
