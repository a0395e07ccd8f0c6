//! `df --format ncdu`: what ncdu and gdu read adds up to what `df` counts.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::df::populate;
use crate::rig::Rig;

/// Adds up the files of an export: a hard link once.
fn add_up(folder: &Value, links: &mut BTreeMap<u64, u64>) -> u64 {
    let entries = folder.as_array().unwrap();
    let below = entries[1..].iter().map(|entry| {
        if entry.is_array() {
            return add_up(entry, links);
        }
        // ncdu leaves out sizes of zero.
        let bytes = entry["dsize"].as_u64().unwrap_or(0);
        match entry["ino"].as_u64() {
            Some(inode) if links.insert(inode, bytes).is_some() => 0,
            _ => bytes,
        }
    });
    below.sum()
}

/// Returns the folder at a path.
fn at<'v>(folder: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(folder, |folder, name| {
        let mut entries = folder.as_array().unwrap()[1..].iter();
        let found = entries.find(|entry| entry[0]["name"] == *name);
        found.unwrap_or_else(|| panic!("no {name} in {folder:#}"))
    })
}

#[tokio::test]
async fn the_export_adds_up_to_df_and_opens_in_ncdu_and_gdu() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let usage = rig.reclaim(&["df", "--format", "json"]).exits(0).json();
    let export = rig.reclaim(&["df", "--format", "ncdu"]).exits(0);
    let parsed = export.json();
    assert_eq!((&parsed[0], &parsed[1]), (&Value::from(1), &Value::from(2)));
    let total = add_up(&parsed[3], &mut BTreeMap::new());
    // containerd writes to its database all the time.
    let expected = usage["on_disk"]["bytes"].as_u64().unwrap();
    assert!(total.abs_diff(expected) < 1 << 20, "{total} {expected}");

    let image = at(&parsed[3], &["default", "images", "web:1", "linux amd64"]);
    let files: Vec<&str> = image.as_array().unwrap()[1..]
        .iter()
        .map(|file| file["name"].as_str().unwrap().split(' ').next().unwrap())
        .collect();
    let expected = [
        "manifest", "config", "layer", "layer", "unpacked", "unpacked",
    ];
    assert_eq!(files, expected, "{image:#}");
    at(&parsed[3], &["default", "Held by leases"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.json");
    fs::write(&file, &export.stdout).unwrap();
    // ncdu writes what it has read; it adds nothing and loses nothing.
    let copy = folder.path().join("copy.json");
    let status = Command::new("ncdu")
        .arg("-f")
        .arg(&file)
        .arg("-o")
        .arg(&copy)
        .stdin(Stdio::null())
        .status()
        .expect("ncdu is installed");
    assert!(status.success());
    let copied: Value = serde_json::from_slice(&fs::read(copy).unwrap()).unwrap();
    assert_eq!(add_up(&copied[3], &mut BTreeMap::new()), total);

    let gdu = Command::new("gdu")
        .args([
            "--non-interactive",
            "--no-progress",
            "--no-color",
            "--summarize",
            "--input-file",
        ])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("gdu is installed");
    assert!(gdu.status.success(), "{gdu:?}");
    let text = String::from_utf8(gdu.stdout).unwrap();
    assert!(text.contains("containerd"), "{text}");
}
