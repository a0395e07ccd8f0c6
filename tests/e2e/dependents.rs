//! Images that expire and that containerd keeps only as long as another.

use reclaim_model::CollectorRules;
use reclaim_testkit::{BuiltImage, Labels, Layer, image, labels};

use crate::rig::{Rig, entry, names};

const FIRST: &str = "docker.io/library/first:1";
const SECOND: &str = "docker.io/library/second:1";
const OTHER: &str = "docker.io/library/other:1";
const PAST: &str = "2026-01-01T00:00:00Z";

async fn build(rig: &Rig, name: &str, record_labels: Labels) -> BuiltImage {
    let built = image(name)
        .layers([Layer::named("base", 2000), Layer::named(name, 500)])
        .record_labels(record_labels)
        .unpack("native");
    built.build(&rig.namespace).await.unwrap()
}

/// Two images, of which the second depends on the first by every label that any version knows, and a
/// third one.
async fn set(second: Labels) -> (Rig, CollectorRules) {
    let rig = Rig::quiet().await;
    let version = rig.containerd.version();
    let rules = CollectorRules::for_version(&version.to_string()).unwrap();
    let first = labels([("containerd.io/gc.ref.image.second", SECOND)]);
    build(&rig, FIRST, first).await;
    let mut dependent = labels([
        ("containerd.io/gc.bref.image", FIRST),
        ("containerd.io/gc.expire", PAST),
    ]);
    dependent.extend(second);
    build(&rig, SECOND, dependent).await;
    build(&rig, OTHER, Labels::new()).await;
    (rig, rules)
}

#[tokio::test]
async fn a_pinned_one_survives_a_prune() {
    let pinned = labels([("io.cri-containerd.pinned", "pinned")]);
    let (rig, rules) = set(pinned).await;
    let pruning = ["image", "prune", "-a", "-f", "--format", "json"];
    let dry = [&pruning[..], &["--dry-run"]].concat();
    let planned = rig.reclaim(&dry).exits(0).json();
    let report = rig.reclaim(&pruning).exits(0).json();
    assert_eq!(report["removed"], planned["removed"]);
    assert_eq!(report["reclaimed"], planned["estimate"]);
    if rules < CollectorRules::V2_0 {
        // Nothing expires.
        assert_eq!(names(&report["removed"]), [FIRST, OTHER]);
        assert_eq!(Vec::from_iter(rig.names().await), [SECOND]);
        return;
    }
    assert_eq!(names(&report["removed"]), [OTHER]);
    let first = entry(&report["kept"], FIRST);
    assert_eq!(first["reason"], "dependent_stays");
    assert_eq!(first["holders"][0]["id"], SECOND);
    rig.namespace.collect().await.unwrap();
    assert_eq!(Vec::from_iter(rig.names().await), [FIRST, SECOND]);
}

#[tokio::test]
async fn a_removal_takes_it_along_and_an_undo_brings_it_back() {
    let (rig, rules) = set(Labels::new()).await;
    let before = rig.namespace.image_records().await.unwrap();
    let removing = ["image", "rm", "--undo-window", "1h", "first:1"];
    let output = rig.reclaim(&removing).exits(0);
    if rules < CollectorRules::V2_0 {
        assert_eq!(Vec::from_iter(rig.names().await), [OTHER, SECOND]);
        return;
    }
    let untagged: Vec<&str> = output.stdout.lines().take(2).collect();
    assert_eq!(untagged, ["Untagged: first:1", "Untagged: second:1"]);
    rig.namespace.collect().await.unwrap();
    assert_eq!(Vec::from_iter(rig.names().await), [OTHER]);
    // It comes back with what it depends on, and both last.
    let history = rig
        .reclaim(&["history", "--format", "json"])
        .exits(0)
        .json();
    let run = history["runs"][0]["run"].as_str().unwrap();
    rig.reclaim(&["undo", run, SECOND]).exits(0);
    rig.namespace.collect().await.unwrap();
    let after = rig.namespace.image_records().await.unwrap();
    let labels = |records: &std::collections::BTreeMap<String, reclaim_testkit::ImageRecord>| {
        let records = records.iter();
        let labels = records.map(|(name, record)| (name.clone(), record.labels.clone()));
        labels.collect::<Vec<_>>()
    };
    assert_eq!(labels(&after), labels(&before));

    let answer = |name: &str| {
        let args = ["why", name, "--format", "json"];
        rig.reclaim(&args).exits(0).json()["answers"][0].clone()
    };
    assert_eq!(answer("second:1")["fate"]["fate"], "depends");
    assert_eq!(answer("second:1")["depends_on"][0], FIRST);
    assert_eq!(answer("first:1")["dependents"][0], SECOND);
    let text = rig.reclaim(&["why", "second:1"]).exits(0).stdout;
    assert!(
        text.contains("depends on 1 image:\n  image docker.io/library/first:1\n"),
        "{text}"
    );
    assert!(
        text.contains("it stays as long as what it depends on\n"),
        "{text}"
    );
}

/// Which versions keep an image by its back reference alone.
#[tokio::test]
async fn a_back_reference_keeps_an_image_from_2_2_on() {
    let rig = Rig::quiet().await;
    let version = rig.containerd.version();
    let rules = CollectorRules::for_version(&version.to_string()).unwrap();
    build(&rig, FIRST, Labels::new()).await;
    let dependent = labels([
        ("containerd.io/gc.bref.image", FIRST),
        ("containerd.io/gc.expire", PAST),
    ]);
    build(&rig, SECOND, dependent).await;
    let planned = rig.reclaim(&["image", "prune", "-f", "--dry-run", "--format", "json"]);
    let planned = planned.exits(0).json();
    let warnings = planned["warnings"].as_array().unwrap();
    rig.namespace.collect().await.unwrap();
    let stays = rig.names().await.contains(SECOND);
    assert_eq!(
        stays,
        rules < CollectorRules::V2_0 || rules >= CollectorRules::V2_2
    );
    assert_eq!(warnings.is_empty(), stays, "{warnings:?}");
}
