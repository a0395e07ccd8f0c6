//! Holds of an earlier version, from before the crates were divided: `history` and `undo` read
//! them. Leases and journals are written here byte for byte as that version wrote them.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::Digest;
use reclaim_testkit::{Deletion, ImageRecord, Labels, Layer, LeaseResource, NewLease, image};
use serde_json::json;

use crate::rig::Rig;

const RUN: &str = "019aa6f0-1c2d-7e3f-8a4b-5c6d7e8f9a0b";
const API: &str = "quay.io/team/api:2";
const SHOP: &str = "docker.io/library/shop:1";

/// Two images: one whose record has long labels, and one whose record also refers to a blob that
/// nothing else holds.
async fn rig() -> (Rig, Digest) {
    let rig = Rig::quiet().await;
    let extra = rig
        .namespace
        .write_blob(b"extra", &Labels::new())
        .await
        .unwrap();
    let note = |key: &str| (key.to_owned(), "ü".repeat(1000));
    image(API)
        .layers([Layer::random(1, 5000)])
        .record_labels(Labels::from([note("note"), note("other-note")]))
        .build(&rig.namespace)
        .await
        .unwrap();
    let reference = (
        "containerd.io/gc.ref.content.extra".to_owned(),
        extra.to_string(),
    );
    image(SHOP)
        .layers([Layer::random(2, 5000)])
        .record_labels(Labels::from([
            reference,
            ("team".to_owned(), "shop".to_owned()),
        ]))
        .build(&rig.namespace)
        .await
        .unwrap();
    (rig, extra)
}

/// Returns the journal of these records as the earlier version wrote it.
fn journal(images: &BTreeMap<String, ImageRecord>) -> String {
    let mut records = String::new();
    for image in images.values() {
        let (target, labels) = (&image.target, json!(image.labels));
        let separator = if records.is_empty() { "" } else { "," };
        write!(
            records,
            "{separator}{{\"name\":\"{}\",\"media_type\":\"{}\",\"digest\":\"{}\",\"size\":{},\
             \"annotations\":{{}},\"labels\":{labels},\"created_at\":\"{}\"}}",
            image.name, target.media_type, target.digest, target.size, image.created_at,
        )
        .unwrap();
    }
    format!("{{\"version\":1,\"run\":\"{RUN}\",\"namespace\":\"default\",\"records\":[{records}]}}")
}

/// Returns the labels of a lease of the earlier version, for a run of this minute and an undo window
/// of one hour.
fn lease_labels() -> Labels {
    let now = Timestamp::now();
    let expires = now + SignedDuration::from_hours(1);
    Labels::from([
        (
            "containerd.io/gc.expire".to_owned(),
            format!("{expires:.0}"),
        ),
        ("reclaim/run".to_owned(), RUN.to_owned()),
        ("reclaim/started".to_owned(), format!("{now:.0}")),
    ])
}

/// Holds all images by a journal, under a lease with this ID and these labels.
async fn hold_with_journal(rig: &Rig, extra: &Digest, lease: &str, lease_labels: Labels) {
    let images = rig.namespace.image_records().await.unwrap();
    let mut targets: Vec<String> = images
        .values()
        .map(|image| image.target.digest.to_string())
        .collect();
    targets.sort();
    let mut labels: Labels = targets
        .into_iter()
        .enumerate()
        .map(|(index, digest)| (format!("containerd.io/gc.ref.content.{index}"), digest))
        .collect();
    labels.insert(
        "containerd.io/gc.ref.content/0".to_owned(),
        extra.to_string(),
    );
    let new = NewLease::new(lease).labels(lease_labels);
    rig.namespace.create_lease(new).await.unwrap();
    let leased = rig.namespace.with_lease(lease);
    let journal = journal(&images);
    leased
        .write_blob(journal.as_bytes(), &labels)
        .await
        .unwrap();
}

/// Holds each image by a lease of its own that has its journal in labels, as a prune with an undo
/// window did on a full disk.
async fn hold_with_small_leases(rig: &Rig, extra: &Digest) {
    let images = rig.namespace.image_records().await.unwrap();
    for (index, (name, image)) in images.into_iter().enumerate() {
        let mut resources = vec![LeaseResource::content(&image.target.digest)];
        if name == SHOP {
            resources.push(LeaseResource::content(extra));
        }
        let mut parts = vec![String::new()];
        for letter in journal(&BTreeMap::from([(name, image)])).chars() {
            if parts.last().unwrap().len() + letter.len_utf8() > 4000 {
                parts.push(String::new());
            }
            parts.last_mut().unwrap().push(letter);
        }
        assert_eq!(parts.len(), 1 + index, "the long labels take two parts");
        let parts = parts.into_iter().enumerate();
        let mut labels = lease_labels();
        labels.extend(parts.map(|(part, text)| (format!("reclaim/journal.{part:06}"), text)));
        let lease = format!("reclaim.hold.{RUN}.{}.kept", index + 1);
        let new = NewLease::new(&lease).labels(labels);
        rig.namespace.create_lease(new).await.unwrap();
        for resource in &resources {
            let adding = rig.namespace.add_lease_resource(&lease, resource);
            adding.await.unwrap();
        }
    }
}

/// Returns what a hold restores of each record.
async fn records(rig: &Rig) -> BTreeMap<String, (Digest, Labels)> {
    let images = rig.namespace.image_records().await.unwrap().into_iter();
    images
        .map(|(name, image)| (name, (image.target.digest, image.labels)))
        .collect()
}

/// Removes the images, of which a hold keeps everything.
async fn remove(rig: &Rig) {
    let blobs = rig.namespace.blobs().await.unwrap();
    for name in [API, SHOP] {
        let removing = rig.namespace.delete_image(name, Deletion::Sync);
        removing.await.unwrap();
    }
    assert_eq!(rig.namespace.blobs().await.unwrap(), blobs);
}

/// Asserts that `history` lists the one run, with its times.
fn is_listed(rig: &Rig, crashed: bool) {
    let history = rig.reclaim(&["history", "--format", "json"]);
    let mut runs = history.exits(0).json()["runs"].take();
    for key in ["started", "held_until"] {
        assert!(runs[0][key].take().is_string(), "{key}");
    }
    let expected = json!([{
        "run": RUN, "started": null, "held_until": null, "crashed": crashed, "images": [SHOP, API],
        "labels": 0,
    }]);
    assert_eq!(runs, expected);
}

/// Removes the images, which have a hold, and lets this version list and restore them.
async fn remove_and_restore(rig: &Rig) {
    let before = records(rig).await;
    remove(rig).await;
    is_listed(rig, false);
    let undone = rig.reclaim(&["undo", &RUN[..9]]).exits(0);
    let expected = format!("restored: {SHOP}\nrestored: {API}\n");
    assert_eq!(undone.stdout, expected);
    assert_eq!(records(rig).await, before);
    assert_eq!(rig.namespace.leases().await.unwrap().len(), 0);
}

#[tokio::test]
async fn undo_reads_a_journal() {
    let (rig, extra) = rig().await;
    let lease = format!("reclaim.hold.{RUN}");
    hold_with_journal(&rig, &extra, &lease, lease_labels()).await;
    remove_and_restore(&rig).await;
}

#[tokio::test]
async fn a_prune_restores_what_a_crashed_run_removed() {
    let (rig, extra) = rig().await;
    let lease = format!("reclaim.hold.{RUN}.unfinished");
    let mut labels = lease_labels();
    labels.insert("reclaim/abandoned".to_owned(), "true".to_owned());
    hold_with_journal(&rig, &extra, &lease, labels).await;
    let before = records(&rig).await;
    remove(&rig).await;
    is_listed(&rig, true);
    rig.reclaim(&["image", "prune", "-f"]).exits(0);
    assert_eq!(records(&rig).await, before);
    assert_eq!(rig.namespace.leases().await.unwrap().len(), 0);
}

#[tokio::test]
async fn undo_reads_the_small_leases_of_a_full_disk() {
    let (rig, extra) = rig().await;
    hold_with_small_leases(&rig, &extra).await;
    remove_and_restore(&rig).await;
}
