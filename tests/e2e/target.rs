//! `--target-free`: removes the oldest images, and no more than necessary.

use std::collections::BTreeSet;

use reclaim_testkit::{Layer, image};
use serde_json::Value;

use crate::output::assert_output_snapshot;
use crate::rig::{Rig, call, entry, names};

/// Builds images from the oldest to the newest, with layers of these seeds and sizes.
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

/// Runs a dry run and then the prune, compares both with each other and with the disk, and returns
/// the report.
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
    names(&report["removed"])
        .into_iter()
        .map(|name| name.strip_prefix("docker.io/library/").unwrap())
        .collect()
}

fn freed(report: &Value) -> u64 {
    let of = |field| report["reclaimed"][field].as_u64().unwrap();
    of("content_bytes") + of("snapshot_bytes")
}

#[tokio::test]
async fn a_shared_layer_counts_with_the_last_image_that_has_it() {
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
    // A second prune removes the image that is left.
    assert_eq!(removed(&prune(&rig, "1")), BTreeSet::from(["new:1"]));
}

#[tokio::test]
async fn removes_only_the_oldest_image_if_that_is_enough() {
    let rig = rig_with(&[("old", &[(1, 50_000)]), ("new", &[(2, 50_000)])]).await;
    let report = prune(&rig, "50kB");
    assert_eq!(removed(&report), BTreeSet::from(["old:1"]));
}

#[tokio::test]
async fn keeps_an_old_image_if_a_newer_one_alone_is_enough() {
    let rig = rig_with(&[("small", &[(1, 100)]), ("large", &[(2, 500_000)])]).await;
    let report = prune(&rig, "900kB");
    assert_eq!(removed(&report), BTreeSet::from(["large:1"]));
    assert!(freed(&report) >= 900_000);
}

/// Replaces the mount point in an error, which depends on the machine.
fn without_place(error: &str) -> String {
    let (before, after) = error
        .split_once(" on `")
        .expect("the error names a filesystem");
    let (place, after) = after.split_once('`').unwrap();
    assert!(place.starts_with('/'), "{error}");
    format!("{before} on `PLACE`{after}")
}

/// It exits with 5 and removes nothing.
#[tokio::test]
async fn explains_a_target_that_cannot_be_met() {
    let rig = rig_with(&[("web", &[(1, 60_000)]), ("old", &[(2, 50_000)])]).await;
    let web = image("docker.io/library/web:1")
        .layers([Layer::random(1, 60_000)])
        .unpack("overlayfs")
        .build(&rig.namespace)
        .await
        .unwrap();
    rig.namespace.nerdctl_container("c1", &web).await.unwrap();
    let [error, whole] = ["20GB", "100%"].map(|target| {
        let args = ["image", "prune", "-a", "-f", "--target-free", target];
        let output = rig.reclaim(&args).exits(5);
        assert_eq!(output.stdout, "");
        without_place(&output.stderr)
    });
    assert_eq!(error.lines().count(), whole.lines().count());
    assert_output_snapshot!(error, @"
    error: SIZE on `PLACE` cannot be freed, only SIZE
    disk usage of the namespace:
      SIZE  can be freed
      SIZE  in use
      SIZE  pinned
      SIZE  held by leases
      SIZE  spared by filters
      SIZE  kept by other namespaces
      SIZE  of unknown use
      SIZE  not of images
    ");
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
    let output = rig.reclaim(&args).exits(5);
    let error = without_place(&output.stderr);
    let expected = "error: 1kB on `PLACE` cannot be freed, only 0B\n";
    assert!(error.starts_with(expected), "{error}");
    assert_output_snapshot!(error, @"
    error: SIZE on `PLACE` cannot be freed, only SIZE
    disk usage of the namespace:
      SIZE  can be freed
      SIZE  in use
      SIZE  pinned
      SIZE  held by leases
      SIZE  spared by filters
      SIZE  kept by other namespaces
      SIZE  of unknown use
      SIZE  not of images
    ");
}

/// They are refused without a call to containerd.
#[tokio::test]
async fn bad_targets_are_usage_errors() {
    let errors = ["20XB", "0", "101%", "1GB:tmp"].map(|target| {
        let args = ["image", "prune", "-a", "-f", "--target-free", target];
        call("/nonexistent", "", &args).exits(2).stderr
    });
    insta::assert_snapshot!(errors.concat(), @"
    error: invalid value '20XB' for '--target-free <SIZE|PERCENT[:PATH]>': size is not a number and B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB or %, without a space: `20XB`

    For more information, try '--help'.
    error: invalid value '0' for '--target-free <SIZE|PERCENT[:PATH]>': size is not from 1B to 18.45EB: `0`

    For more information, try '--help'.
    error: invalid value '101%' for '--target-free <SIZE|PERCENT[:PATH]>': percentage is not a whole number from 1% to 100%: `101%`

    For more information, try '--help'.
    error: invalid value '1GB:tmp' for '--target-free <SIZE|PERCENT[:PATH]>': path of the filesystem is not absolute: `tmp`

    For more information, try '--help'.
    ");
    let output = call(
        "/nonexistent",
        "",
        &["image", "prune", "--target-free", "1GB"],
    )
    .exits(2);
    insta::assert_snapshot!(output.stderr, @"
    error: the following required arguments were not provided:
      --all

    Usage: reclaim image prune --all --target-free <SIZE|PERCENT[:PATH]> --address <ADDRESS>

    For more information, try '--help'.
    ");
}
