//! Content that only build history holds: a dry run reports it, and `--unpin-build-history`
//! releases it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::{
    BuiltImage, Deletion, Layer, LeaseResource, NamespaceClient, NewLease, image,
};

use crate::rig::Rig;

const OLD: &str = "docker.io/library/old:1";
const PRUNE: [&str; 8] = [
    "image", "prune", "-a", "-f", "--format", "json", "--grace", "0s",
];
const UNPIN: &str = "--unpin-build-history";

/// An image in use, and one without a record whose configuration build history holds. They share a
/// layer.
async fn rig() -> (Rig, BuiltImage) {
    let rig = Rig::start().await;
    let layers = |name: &str| [Layer::named("base", 2000), Layer::named(name, 900)];
    let used = image("docker.io/library/used:1")
        .layers(layers("used"))
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    rig.namespace.nerdctl_container("web", &used).await.unwrap();
    let old = image(OLD)
        .layers(layers("old"))
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    rig.namespace
        .create_lease(NewLease::new("ref_history"))
        .await
        .unwrap();
    hold(&rig.namespace, "ref_history", &old).await;
    rig.namespace
        .delete_image(OLD, Deletion::Sync)
        .await
        .unwrap();
    (rig, old)
}

async fn hold(namespace: &NamespaceClient, lease: &str, image: &BuiltImage) {
    let config = LeaseResource::content(&image.manifests[0].config.digest);
    namespace.add_lease_resource(lease, &config).await.unwrap();
}

/// Returns the key of an image's top snapshot.
fn top(image: &BuiltImage) -> String {
    image.unpacked().1.to_string()
}

async fn snapshots(rig: &Rig) -> BTreeSet<String> {
    let snapshots = rig.namespace.snapshots("native").await.unwrap();
    snapshots.into_keys().collect()
}

/// `--unpin-build-history` frees unpacked layers, and leaves the configuration and the lease.
#[tokio::test]
async fn frees_unpacked_layers_on_request() {
    let (rig, old) = rig().await;
    let config = old.manifests[0].config.digest.clone();
    let before = snapshots(&rig).await;
    let shown = rig.reclaim(&["image", "prune", "-a", "--dry-run"]).exits(0);
    assert!(
        shown
            .stdout
            .contains("Held only by build history, not counted: "),
        "{}",
        shown.stdout
    );
    let untouched = rig.reclaim(&PRUNE).exits(0).json();
    assert_eq!(untouched["build_history"]["configs"], 1);
    assert_eq!(snapshots(&rig).await, before);

    let dry = rig
        .reclaim(&[&PRUNE[..], &[UNPIN, "--dry-run"]].concat())
        .exits(0)
        .json();
    let report = rig
        .reclaim(&[&PRUNE[..], &[UNPIN]].concat())
        .exits(0)
        .json();
    assert_eq!(report["unpinned"][0]["config"], config.to_string());
    assert_eq!(report["unpinned"], dry["unpinned"]);
    assert_eq!(report["reclaimed"], dry["estimate"]);
    assert_eq!(report["reclaimed"]["snapshots"], 1);
    let mut expected = before;
    expected.remove(&top(&old));
    assert_eq!(snapshots(&rig).await, expected, "the base is in use");
    assert!(rig.namespace.blobs().await.unwrap().contains_key(&config));
    let leases = rig.namespace.leases().await.unwrap();
    assert_eq!(leases.keys().collect::<Vec<_>>(), ["ref_history"]);
}

#[tokio::test]
async fn the_lease_of_a_pull_keeps_unpacked_layers() {
    let (rig, old) = rig().await;
    let expires = Timestamp::now() + SignedDuration::from_hours(1);
    let pull = NewLease::new("pull").expires(expires);
    rig.namespace.create_lease(pull).await.unwrap();
    hold(&rig.namespace, "pull", &old).await;
    let report = rig
        .reclaim(&[&PRUNE[..], &[UNPIN]].concat())
        .exits(0)
        .json();
    assert_eq!(report["unpinned"].as_array().unwrap().len(), 0);
    assert!(snapshots(&rig).await.contains(&top(&old)));
}

/// During the undo window the unpacked layers stay, and `undo` restores the label that refers to
/// them.
#[tokio::test]
async fn undo_restores_the_label_of_unpacked_layers() {
    let (rig, old) = rig().await;
    let config = old.manifests[0].config.digest.clone();
    let labels = rig.namespace.blob_labels(&config).await.unwrap();
    let args = [&PRUNE[..], &[UNPIN, "--undo-window", "1h"]].concat();
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["unpinned"].as_array().unwrap().len(), 1);
    assert_ne!(rig.namespace.blob_labels(&config).await.unwrap(), labels);
    rig.namespace.collect().await.unwrap();
    rig.reclaim(&["undo"]).exits(0);
    assert_eq!(rig.namespace.blob_labels(&config).await.unwrap(), labels);
    rig.namespace.collect().await.unwrap();
    assert!(snapshots(&rig).await.contains(&top(&old)));
}

/// An image that is tagged again within the grace period is whole.
#[tokio::test]
async fn restores_the_label_of_an_image_that_is_tagged_again() {
    let (rig, old) = rig().await;
    // Build history alone keeps only the configuration. This lease keeps the rest.
    rig.namespace
        .create_lease(NewLease::new("ref_whole"))
        .await
        .unwrap();
    let whole = rig.namespace.with_lease("ref_whole");
    let built = image(OLD)
        .layers([Layer::named("base", 2000), Layer::named("old", 900)])
        .unnamed()
        .build(&whole);
    built.await.unwrap();
    let config = old.manifests[0].config.digest.clone();
    let labels = rig.namespace.blob_labels(&config).await.unwrap();
    let args = ["image", "prune", "-a", "-f", "--grace", "3s", UNPIN];
    let prune = crate::protocol::start(&rig, &args);
    while rig.namespace.blob_labels(&config).await.unwrap() == labels {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let none = reclaim_testkit::Labels::new();
    let tagging = rig.namespace.create_image(OLD, &old.target, &none);
    tagging.await.unwrap();
    let ended = crate::protocol::end(prune).exits(0);
    assert!(ended.stderr.contains("besides build history"), "{ended:#?}");
    assert_eq!(rig.namespace.blob_labels(&config).await.unwrap(), labels);
    rig.namespace.collect().await.unwrap();
    assert!(snapshots(&rig).await.contains(&top(&old)));
}

/// A run that is killed after it removed the label, and before anything is freed, loses nothing.
#[tokio::test]
async fn the_next_prune_restores_the_label_that_a_killed_one_removed() {
    let (rig, old) = rig().await;
    let config = &old.manifests[0].config.digest;
    let label = "containerd.io/gc.ref.snapshot.native";
    let before = rig.namespace.blob_labels(config).await.unwrap();
    assert!(before.contains_key(label));
    let kept = snapshots(&rig).await;
    // The grace period is long enough to kill the run in it.
    let mut killed = std::process::Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .env("RECLAIM_AUDIT_DIR", "/dev/null")
        .args(["--address", rig.containerd.address()])
        .args(["image", "prune", "-a", "-f", UNPIN, "--grace", "1m"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while rig
        .namespace
        .blob_labels(config)
        .await
        .unwrap()
        .contains_key(label)
    {
        assert_eq!(killed.try_wait().unwrap(), None, "the run waits");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    rig.namespace.collect().await.unwrap();
    assert_eq!(snapshots(&rig).await, kept, "the run's lease holds them");
    rig.reclaim(&PRUNE).exits(0);
    assert_eq!(rig.namespace.blob_labels(config).await.unwrap(), before);
    assert_eq!(snapshots(&rig).await, kept);
    let leases = rig.namespace.leases().await.unwrap();
    assert_eq!(leases.keys().collect::<Vec<_>>(), ["ref_history"]);
}
