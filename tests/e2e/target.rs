//! Freeing as much as was asked for: the oldest images, no more of them than it takes.

use std::collections::BTreeSet;

use reclaim_testkit::{Layer, image};
use serde_json::Value;

use crate::rig::{Rig, call, entry, names};

/// Images from the oldest to the youngest: their layers, by seed and bytes.
async fn rig_with(images: &[(&str, &[(u64, usize)])]) -> Rig {
    let rig = Rig::start().await;
    for (name, layers) in images {
        let layers = layers
            .iter()
            .map(|(seed, bytes)| Layer::random(*seed, *bytes));
        let name = format!("docker.io/library/{name}:1");
        let built = image(&name).layers(layers).unpack("overlayfs");
        built.build(&rig.namespace).await.unwrap();
    }
    rig.namespace.collect().await.unwrap();
    rig
}

fn prune(rig: &Rig, target: &str) -> Value {
    let args = [
        "image",
        "prune",
        "-a",
        "--target-free",
        target,
        "--format",
        "json",
    ];
    let planned = rig
        .reclaim(&[&args[..], &["--dry-run"]].concat())
        .exits(0)
        .json();
    let disk = rig.containerd.content_bytes_on_disk();
    let wet = [&args[..], &["-f", "--grace", "0s"]].concat();
    let report = rig.reclaim(&wet).exits(0).json();
    assert_eq!(report["removed"], planned["removed"]);
    assert_eq!(report["reclaimed"], planned["estimate"]);
    let freed = disk - rig.containerd.content_bytes_on_disk();
    assert_eq!(report["reclaimed"]["content_bytes"], freed);
    report
}

fn removed(report: &Value) -> BTreeSet<&str> {
    let names = names(&report["removed"]).into_iter();
    names
        .map(|it| it.strip_prefix("docker.io/library/").unwrap())
        .collect()
}

fn freed(report: &Value) -> u64 {
    let of = |field| report["reclaimed"][field].as_u64().unwrap();
    of("content_bytes") + of("snapshot_bytes")
}

/// A layer that two images share should count with the second of them.
#[tokio::test]
async fn shared_layers_count_with_the_last_that_has_them() {
    let shared = (7, 400_000);
    let rig = rig_with(&[
        ("old", &[shared, (1, 20_000)]),
        ("mid", &[shared, (2, 20_000)]),
        ("new", &[(3, 900_000)]),
    ])
    .await;
    let report = prune(&rig, "200kB");
    assert_eq!(removed(&report), BTreeSet::from(["old:1", "mid:1"]));
    assert!(
        freed(&report) >= 800_000,
        "content and snapshots of the shared layer"
    );
    assert_eq!(
        entry(&report["kept"], "docker.io/library/new:1")["reason"],
        "not_needed"
    );
    // What is left is asked for again.
    assert_eq!(removed(&prune(&rig, "1")), BTreeSet::from(["new:1"]));
}

/// The oldest should go first, and one alone if it is enough.
#[tokio::test]
async fn the_oldest_goes_if_it_is_enough() {
    let rig = rig_with(&[("old", &[(1, 50_000)]), ("new", &[(2, 50_000)])]).await;
    let report = prune(&rig, "50kB");
    assert_eq!(removed(&report), BTreeSet::from(["old:1"]));
}

/// An old image that is not needed once a younger one goes should stay.
#[tokio::test]
async fn what_turns_out_not_to_be_needed_stays() {
    let rig = rig_with(&[("small", &[(1, 100)]), ("large", &[(2, 500_000)])]).await;
    let report = prune(&rig, "900kB");
    assert_eq!(removed(&report), BTreeSet::from(["large:1"]));
    assert!(freed(&report) >= 900_000);
}

/// A target that cannot be met should remove nothing, say why, and end with 5.
#[tokio::test]
async fn a_target_that_cannot_be_met_is_explained() {
    let rig = rig_with(&[("web", &[(1, 60_000)]), ("old", &[(2, 50_000)])]).await;
    let web = image("docker.io/library/web:1").layers([Layer::random(1, 60_000)]);
    let web = web.unpack("overlayfs").build(&rig.namespace).await.unwrap();
    rig.namespace.nerdctl_container("c1", &web).await.unwrap();
    for target in ["20GB", "100%"] {
        let args = ["image", "prune", "-a", "-f", "--target-free", target];
        let called = rig.reclaim(&args).exits(5);
        assert!(
            called.stderr.contains("cannot be freed, only 1"),
            "{}",
            called.stderr
        );
        let has = |what: &str| called.stderr.lines().any(|line| line.ends_with(what));
        for what in [
            "can be freed",
            "in use",
            "pinned",
            "held by leases",
            "spared by filters",
        ] {
            assert!(has(what), "no {what:?} in {}", called.stderr);
        }
        assert_eq!(called.stdout, "");
    }
    assert_eq!(rig.names().await.len(), 2);
    let args = [
        "image",
        "prune",
        "-a",
        "-f",
        "--target-free",
        "1kB",
        "--filter",
        "until=1h",
    ];
    let called = rig.reclaim(&args).exits(5);
    assert!(
        called
            .stderr
            .contains("error: 1kB cannot be freed, only 0B"),
        "{}",
        called.stderr
    );
}

/// Nonsense should be refused before anything is asked.
#[tokio::test]
async fn bad_targets_are_usage_errors() {
    for (target, error) in [
        ("20XB", "size is not a number and"),
        ("0", "size is not from 1B to"),
        (
            "101%",
            "percentage is not a whole number from 1% to 100%: `101%`",
        ),
    ] {
        let args = ["image", "prune", "-a", "-f", "--target-free", target];
        let called = call("/nonexistent", "", &args).exits(2);
        assert!(called.stderr.contains(error), "{target}: {}", called.stderr);
    }
    let called = call(
        "/nonexistent",
        "",
        &["image", "prune", "--target-free", "1GB"],
    )
    .exits(2);
    assert!(called.stderr.contains("--all"), "{}", called.stderr);
}
