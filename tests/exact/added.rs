//! An image that is added to a store changes nothing for the others.
//!
//! What an image is follows from its own documents. So whatever the documents of another say of
//! them, and wherever their digests sort: no image that stayed may go, and none that could be
//! read may be unreadable. The one before the addition is what the one after is compared with,
//! so nothing has to be known of what is right.

use std::collections::BTreeMap;

use reclaim_testkit::{Containerd, Dice, ObjectKind, RandomStore, StoreObject};
use serde_json::Value;

use crate::case::{call, set_up};
use crate::check::Tally;
use crate::question::Question;

/// What the names of the added records begin with. No container of a store has it.
const NAME: &str = "docker.io/library/evil";

/// The filters with which a prune is compared.
const FILTERS: [Option<&str>; 4] = [
    None,
    Some("label!=keep"),
    Some("label=tier"),
    Some("label!=x"),
];

/// The number of images that `why` explains in each case.
const WHY: usize = 3;

/// What a dry run says of one image.
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
    question: &Question,
) -> Result<Tally, String> {
    let namespace = &*question.namespace;
    let set_up = set_up(containerd, store, question).await;
    set_up.map_err(|status| format!("set up: {status}"))?;
    let before = dry_runs(containerd, namespace)?;
    // Of the store as it was generated: cut down, it is given the same image.
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
    let removed = after[0].values().filter(|it| it.is_removed).count();
    Ok(Tally {
        removed,
        ..Tally::default()
    })
}

/// Demands that each image is as it was, but for those of the target that the added record has.
fn compare(before: &Verdicts, after: &Verdicts, added: &[StoreObject]) -> Result<(), String> {
    let is_of_added = |target: &str| {
        added.iter().any(|thing| {
            matches!(&thing.kind, ObjectKind::Image { target: it, .. } if it.digest.to_string() == target)
        })
    };
    for (name, was) in before {
        let is = after.get(name).ok_or(format!("`{name}` is left out"))?;
        // One record is enough for what a user needs of a target, and the new one may be that.
        let is_replaced = is.reason == "duplicate" && is_of_added(&was.target);
        if !was.is_removed && is.is_removed && !is_replaced {
            return Err(format!(
                "`{name}` was kept, {}, and goes, {}",
                was.reason, is.reason
            ));
        }
        if is.reason == "unreadable" && was.reason != is.reason {
            return Err(format!("`{name}` was {}, and is unreadable", was.reason));
        }
    }
    Ok(())
}

/// Demands that every command says the same of each image as the dry run, and that the run does
/// what the dry run said.
fn agree(containerd: &Containerd, namespace: &str, verdicts: &Verdicts) -> Result<(), String> {
    let ask = |arguments: &[&str]| {
        let common = ["--format", "json", "--namespace", namespace];
        call(containerd, &[arguments, &common].concat())
    };
    let listed = ask(&["image", "ls"])?;
    for row in rows(&listed["images"]) {
        let (name, verdict) = (text(&row["name"]), text(&row["verdict"]));
        let planned = verdicts.get(&name).ok_or(format!("no `{name}`"))?;
        let is_removed = ["unused", "dangling", "duplicate", "torn"].contains(&verdict.as_str());
        if is_removed != planned.is_removed {
            return Err(format!(
                "ls says that `{name}` is {verdict}, not {planned:?}"
            ));
        }
    }
    if rows(&listed["images"]).count() != verdicts.len() {
        return Err(format!(
            "ls lists others than {:?}: {listed:#}",
            verdicts.keys()
        ));
    }
    let usage = ask(&["df", "-v"])?;
    let here = rows(&usage["namespaces"]).next().unwrap_or(&Value::Null);
    let names = rows(&here["image_usage"]).map(|row| text(&row["name"]));
    let of_df: BTreeMap<String, &Value> = names.zip(rows(&here["image_usage"])).collect();
    for (name, planned) in verdicts {
        let row = of_df.get(name).ok_or(format!("df lacks `{name}`"))?;
        same("df", name, row, planned)?;
    }
    for (name, planned) in verdicts.iter().rev().take(WHY) {
        // A name that is the beginning of an ID as well has several answers.
        let answers = ask(&["why", name])?;
        let mut answers = rows(&answers["answers"]);
        let is_it = |it: &&Value| it["thing"]["kind"] == "image" && it["thing"]["id"] == **name;
        if let Some(answer) = answers.find(is_it) {
            same("why", name, &answer["verdicts"]["prune_all"], planned)?;
        }
    }
    let report = ask(&[
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

/// Demands that a command's verdict on an image is that of the dry run.
fn same(command: &str, name: &str, row: &Value, planned: &Verdict) -> Result<(), String> {
    let is_removed = row["verdict"] == "remove";
    if is_removed == planned.is_removed && row["reason"] == *planned.reason {
        return Ok(());
    }
    Err(format!(
        "{command} says of `{name}` {row:#}, not {planned:?}"
    ))
}

/// One dry run for each of [`FILTERS`].
fn dry_runs(containerd: &Containerd, namespace: &str) -> Result<Vec<Verdicts>, String> {
    let run = |filter: Option<&str>| {
        let mut arguments = vec!["image", "prune", "-a", "--dry-run", "--format", "json"];
        arguments.extend(["--namespace", namespace, "--allow-empty", namespace]);
        arguments.extend(filter.into_iter().flat_map(|it| ["--filter", it]));
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
