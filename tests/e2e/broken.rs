//! Hosts on which something is broken: what it cannot hide goes, what it may hide stays, and
//! the report says which and why. `docs/broken-hosts.md` is for people on such a host.

mod crossed;
mod documents;
mod lists;
mod sizes;
mod snapshotters;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use reclaim_testkit::{BuiltImage, Descriptor, Labels, Layer, NamespaceClient, digest_of, image};
use serde_json::{Value, json};

use crate::rig::{Called, Rig, names};

/// The arguments that all prunes of these tests share.
const PRUNE_ALL: [&str; 7] = ["image", "prune", "-a", "--grace", "0s", "--format", "json"];

/// Builds `app0:1` and two more that share a base, all of them unpacked and unused.
async fn three_apps(namespace: &NamespaceClient) -> Vec<BuiltImage> {
    let mut apps = Vec::new();
    for number in 0..3 {
        let name = format!("docker.io/library/app{number}:1");
        let layers = [Layer::named("base", 900), Layer::named(&name, 700)];
        let app = image(&name).layers(layers).unpack("native");
        apps.push(app.build(namespace).await.unwrap());
    }
    namespace.collect().await.unwrap();
    apps
}

/// Runs a prune of all, forced or dry, with more arguments.
#[track_caller]
fn prune(rig: &Rig, more: &[&str]) -> Called {
    rig.reclaim(&[&PRUNE_ALL, more].concat())
}

/// Demands of a report which images go, and for which reason each other one stays.
#[track_caller]
fn expect(report: &Value, removed: &[&str], kept: &[(&str, &str)]) {
    let name = |short: &&str| format!("docker.io/library/{short}:1");
    let removed: Vec<String> = removed.iter().map(name).collect();
    assert_eq!(names(&report["removed"]), removed, "{report:#}");
    let entries = report["kept"].as_array().unwrap().iter();
    let found: Vec<Value> = entries
        .map(|it| json!([it["name"], it["reason"]]))
        .collect();
    let kept = kept.iter();
    let kept: Vec<Value> = kept
        .map(|(short, reason)| json!([name(short), reason]))
        .collect();
    assert_eq!(found, kept, "{report:#}");
}

/// Demands that `image ls`, `df` and `why` say of the images what a dry run says.
#[track_caller]
fn all_agree(rig: &Rig) {
    let ask = |args: &[&str]| {
        rig.reclaim(&[args, &["--format", "json"]].concat())
            .exits(0)
            .json()
    };
    let planned = prune(rig, &["--dry-run"]).exits(0).json();
    let listed = ask(&["image", "ls"]);
    let usage = ask(&["df", "-v"]);
    for (list, verdict) in [("removed", "remove"), ("kept", "keep")] {
        for row in planned[list].as_array().unwrap() {
            let name = row["name"].as_str().unwrap();
            let of_ls = crate::rig::entry(&listed["images"], name);
            let is_kept = ["used", "pinned", "unreadable", "unknown", "kept"]
                .contains(&of_ls["verdict"].as_str().unwrap());
            assert_eq!(is_kept, verdict == "keep", "{row} but {of_ls}");
            let of_df = crate::rig::entry(&usage["namespaces"][0]["image_usage"], name);
            let of_why = ask(&["why", name]);
            let of_why = &of_why["answers"][0]["verdicts"]["prune_all"];
            for other in [of_df, of_why] {
                assert_eq!(other["verdict"], verdict, "{row} but {other}");
                assert_eq!(other["reason"], row["reason"], "{row} but {other}");
            }
        }
    }
}

/// Calls `reclaim`, and demands that it ends within a minute.
#[track_caller]
fn within_a_minute(rig: &Rig, args: &[&str]) -> Called {
    const MINUTE: u32 = 60;
    const PER_SECOND: u32 = 20;
    let mut child = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .args(args)
        .env("CONTAINERD_ADDRESS", rig.containerd.address())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..MINUTE * PER_SECOND {
        if child.try_wait().unwrap().is_some() {
            return crate::protocol::end(child);
        }
        thread::sleep(Duration::from_secs(1) / PER_SECOND);
    }
    child.kill().unwrap();
    panic!("{args:?} does not end: {:#?}", crate::protocol::end(child));
}

/// The only warning of a report that has this in it.
#[track_caller]
fn only_warning<'a>(report: &'a Value, text: &str) -> &'a str {
    let warnings = report["warnings"].as_array().unwrap().iter();
    let warnings = warnings.filter_map(Value::as_str);
    let found: Vec<&str> = warnings.filter(|it| it.contains(text)).collect();
    let [only] = found[..] else {
        panic!("not one warning of `{text}`: {:#}", report["warnings"]);
    };
    only
}

/// Writes documents as they are, each with references to others, and points a record at the last.
/// Needs a [`Rig::quiet`]: no lease holds what it writes.
async fn import(
    namespace: &NamespaceClient,
    name: &str,
    media_type: &str,
    documents: &[(&[u8], Labels)],
) -> Descriptor {
    for (bytes, labels) in documents {
        namespace.write_blob(bytes, labels).await.unwrap();
    }
    let (last, _) = documents.last().unwrap();
    let target = Descriptor {
        media_type: media_type.to_owned(),
        digest: digest_of(last),
        size: last.len() as u64,
    };
    let none = Labels::new();
    let created = namespace.create_image(name, &target, &none);
    created.await.unwrap();
    target
}
