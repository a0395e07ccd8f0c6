//! Hosts with broken parts: images that a broken part may affect stay, all others are removed, and
//! the report says which and why. `docs/broken-hosts.md` describes such hosts for users.

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

use crate::rig::{CommandOutput, Rig, names};

/// Arguments of every prune in these tests.
const PRUNE_ALL: [&str; 7] = ["image", "prune", "-a", "--grace", "0s", "--format", "json"];

/// Builds `app0:1` to `app2:1`, unpacked and unused, on a common base layer.
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

/// Runs [`PRUNE_ALL`] with more arguments, among them `-f` or `--dry-run`.
#[track_caller]
fn prune(rig: &Rig, more: &[&str]) -> CommandOutput {
    rig.reclaim(&[&PRUNE_ALL, more].concat())
}

/// Asserts which images a report removes, and the reason for which it keeps each of the others.
#[track_caller]
fn expect(report: &Value, removed: &[&str], kept: &[(&str, &str)]) {
    let name = |short: &&str| format!("docker.io/library/{short}:1");
    let removed: Vec<String> = removed.iter().map(name).collect();
    assert_eq!(names(&report["removed"]), removed, "{report:#}");
    let found: Vec<Value> = report["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| json!([image["name"], image["reason"]]))
        .collect();
    let expected: Vec<Value> = kept
        .iter()
        .map(|(short, reason)| json!([name(short), reason]))
        .collect();
    assert_eq!(found, expected, "{report:#}");
}

/// Asserts that `image ls`, `df` and `why` agree with a dry run on every image.
#[track_caller]
fn all_agree(rig: &Rig) {
    let json_of = |args: &[&str]| {
        rig.reclaim(&[args, &["--format", "json"]].concat())
            .exits(0)
            .json()
    };
    let planned = prune(rig, &["--dry-run"]).exits(0).json();
    let listed = json_of(&["image", "ls"]);
    let usage = json_of(&["df", "-v"]);
    for (list, verdict) in [("removed", "remove"), ("kept", "keep")] {
        for row in planned[list].as_array().unwrap() {
            let name = row["name"].as_str().unwrap();
            let in_ls = crate::rig::entry(&listed["images"], name);
            let is_kept = ["used", "pinned", "unreadable", "unknown", "kept"]
                .contains(&in_ls["verdict"].as_str().unwrap());
            assert_eq!(is_kept, verdict == "keep", "{row} but {in_ls}");
            let in_df = crate::rig::entry(&usage["namespaces"][0]["image_usage"], name);
            let explained = json_of(&["why", name]);
            let in_why = &explained["answers"][0]["verdicts"]["prune_all"];
            for other in [in_df, in_why] {
                assert_eq!(other["verdict"], verdict, "{row} but {other}");
                assert_eq!(other["reason"], row["reason"], "{row} but {other}");
            }
        }
    }
}

/// Calls `reclaim`, and panics unless it ends within a minute.
#[track_caller]
fn within_a_minute(rig: &Rig, args: &[&str]) -> CommandOutput {
    const MINUTE: u32 = 60;
    const PER_SECOND: u32 = 20;
    let mut child = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .env("RECLAIM_AUDIT_DIR", "/dev/null")
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

/// Returns the warning of a report that contains `text`, and panics unless there is exactly one.
#[track_caller]
fn only_warning<'a>(report: &'a Value, text: &str) -> &'a str {
    let found: Vec<&str> = report["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .filter(|warning| warning.contains(text))
        .collect();
    let [only] = found[..] else {
        panic!("not one warning about `{text}`: {:#}", report["warnings"]);
    };
    only
}

/// Writes documents with these labels, and creates an image record that points to the last.
/// Needs [`Rig::quiet`], because no lease holds the documents.
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
