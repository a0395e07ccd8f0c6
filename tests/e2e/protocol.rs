//! The deletion protocol: events during a prune, and what follows it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::{BuiltImage, Labels, Layer, LeaseResource, NewLease, Signal, image, labels};
use serde_json::Value;

use crate::rig::{CommandOutput, Rig, entry, names};

/// A prune so slow that tests can act in the middle of it.
pub(crate) const SLOWLY: [&str; 7] = [
    "image",
    "prune",
    "-a",
    "-f",
    "--format",
    "json",
    "--max-deletes-per-second=4",
];

async fn build(rig: &Rig, name: &str) -> BuiltImage {
    image(name)
        .layers([Layer::named("base", 2000), Layer::named(name, 500)])
        .config_labels(labels([("name", name)]))
        .record_labels(labels([("mark", name)]))
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap()
}

/// Builds the images `a` to `f`, which a slow prune removes in this order.
pub(crate) async fn rig_with_six_images() -> (Rig, Vec<BuiltImage>) {
    let rig = Rig::start().await;
    let mut built = Vec::new();
    for letter in ["a", "b", "c", "d", "e", "f"] {
        built.push(build(&rig, &format!("docker.io/library/{letter}:1")).await);
    }
    (rig, built)
}

/// Starts `reclaim` without waiting for its end.
pub(crate) fn start(rig: &Rig, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .env("RECLAIM_AUDIT_DIR", "/dev/null")
        .args(args)
        .env("CONTAINERD_ADDRESS", rig.containerd.address())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the end of a command.
pub(crate) fn end(child: Child) -> CommandOutput {
    let output = child.wait_with_output().unwrap();
    CommandOutput {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits until a record is gone.
pub(crate) async fn until_gone(rig: &Rig, name: &str) {
    for _ in 0..600 {
        if !rig.names().await.contains(name) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} is not removed");
}

/// Whether an image's record, blobs and snapshots are all there.
async fn is_whole(rig: &Rig, image: &BuiltImage) -> bool {
    let records = rig.namespace.images().await.unwrap();
    let blobs = rig.namespace.blobs().await.unwrap();
    let snapshots = rig.namespace.snapshots("native").await.unwrap();
    let chains = &image.manifests[0].chain_ids;
    records.get(image.name()) == Some(&image.target.digest)
        && image.blobs.keys().all(|digest| blobs.contains_key(digest))
        && chains
            .iter()
            .all(|chain| snapshots.contains_key(&chain.to_string()))
}

#[tokio::test]
async fn restores_an_image_from_which_a_container_is_created_during_the_prune() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    // Like an engine that resolved the name before it was removed.
    rig.namespace
        .nerdctl_container("late", &built[0])
        .await
        .unwrap();
    let report = end(prune).exits(0).json();
    assert!(is_whole(&rig, &built[0]).await);
    let refused = entry(&report["refused"], built[0].name())["reason"]
        .as_str()
        .unwrap();
    assert!(
        refused.contains("in use now") && refused.contains("late"),
        "{refused}"
    );
    assert_eq!(names(&report["removed"]).len(), 5);
    let record = rig.namespace.image_record(built[0].name()).await.unwrap();
    assert_eq!(record.labels, labels([("mark", built[0].name())]));
    assert_eq!(rig.names().await.len(), 1);
}

/// The snapshot alone is enough, before a container names it.
#[tokio::test]
async fn restores_an_image_on_which_a_snapshot_is_prepared_during_the_prune() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    let chain = built[0].unpacked().1.to_string();
    rig.namespace
        .create_lease(NewLease::new("creating"))
        .await
        .unwrap();
    let leased = rig.namespace.with_lease("creating");
    leased
        .prepare("native", "in-flight", &chain, &Labels::new())
        .await
        .unwrap();
    end(prune).exits(0);
    assert!(is_whole(&rig, &built[0]).await);
    assert_eq!(rig.names().await.len(), 1);
}

/// A push takes such a lease, and so does a pull that finds the content present.
#[tokio::test]
async fn restores_an_image_on_which_a_lease_is_taken_during_the_prune() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    rig.namespace
        .create_lease(NewLease::new("pushing"))
        .await
        .unwrap();
    let target = LeaseResource::content(&built[0].target.digest);
    rig.namespace
        .add_lease_resource("pushing", &target)
        .await
        .unwrap();
    end(prune).exits(0);
    assert!(is_whole(&rig, &built[0]).await);
    assert_eq!(rig.names().await.len(), 1);
}

#[tokio::test]
async fn restores_an_image_until_the_grace_period_ends() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    let prune = start(&rig, &["image", "prune", "-a", "-f", "--grace=3s"]);
    until_gone(&rig, app.name()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.namespace.nerdctl_container("late", &app).await.unwrap();
    end(prune).exits(0);
    assert!(is_whole(&rig, &app).await);
}

/// The guard's lifetime includes the time that a rate limit and the grace period add to the run.
#[tokio::test]
async fn the_guard_of_a_slow_run_lasts_longer() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &[&SLOWLY[..], &["--grace=500ms"]].concat());
    until_gone(&rig, built[0].name()).await;
    let leases = rig.namespace.leases().await.unwrap();
    let when = |key: &str| -> Timestamp { leases["reclaim.prune"][key].parse().unwrap() };
    let lasts = when("containerd.io/gc.expire").duration_since(when("reclaim/started"));
    // Two hours, the grace period, and six images at four per second, in whole seconds.
    assert_eq!(lasts, SignedDuration::from_secs(2 * 60 * 60 + 2));
    end(prune).exits(0);
}

#[tokio::test]
async fn keeps_a_tag_that_moves_during_the_prune() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    let last = built[5].name();
    let target = &built[4].target;
    rig.namespace
        .update_image(last, target, &Labels::new())
        .await
        .unwrap();
    let report = end(prune).exits(0).json();
    let reason = &entry(&report["refused"], last)["reason"];
    assert_eq!(reason, "the name now points to a different image");
    assert_eq!(rig.names().await.into_iter().collect::<Vec<_>>(), [last]);
}

/// A second prune of the namespace exits with 4 and names the running one; with `--wait` it waits
/// for its end.
#[tokio::test]
async fn one_prune_of_a_namespace_runs_at_a_time() {
    let (rig, built) = rig_with_six_images().await;
    let first = start(&rig, &SLOWLY);
    until_gone(&rig, built[1].name()).await;
    let second = rig.reclaim(&["image", "prune", "-a", "-f"]).exits(4);
    assert!(
        second
            .stderr
            .contains("a prune operation is already running in namespace `default`, run "),
        "{}",
        second.stderr
    );
    let progress = second.stderr.split_once(" of 6 images removed");
    let n_removed = progress.and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
    // All six, if the second starts late: the first is in its grace period then.
    assert!(
        n_removed.is_some_and(|n_removed: usize| (2..=6).contains(&n_removed)),
        "{}",
        second.stderr
    );
    let third = rig
        .reclaim(&["image", "prune", "-a", "-f", "--wait"])
        .exits(0);
    assert_eq!(third.stdout, "Total reclaimed space: 0B\n");
    assert_eq!(names(&end(first).exits(0).json()["removed"]).len(), 6);
}

/// The next prune evaluates what the killed one had removed again.
#[tokio::test]
async fn the_next_prune_finishes_a_killed_one() {
    let (rig, built) = rig_with_six_images().await;
    let mut prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    prune.kill().unwrap();
    prune.wait().unwrap();
    rig.namespace.collect().await.unwrap();
    rig.namespace
        .nerdctl_container("late", &built[0])
        .await
        .unwrap();
    let report = rig
        .reclaim(&["image", "prune", "-a", "-f", "--format", "json"])
        .exits(0)
        .json();
    assert!(is_whole(&rig, &built[0]).await);
    assert_eq!(names(&report["kept"]), [built[0].name()]);
    assert_eq!(names(&report["removed"]).len(), 5);
    assert_eq!(report["reclaimed"], report["estimate"]);
    assert!(rig.namespace.leases().await.unwrap().is_empty());
    let left: u64 = rig.namespace.blobs().await.unwrap().values().sum();
    assert_eq!(
        left,
        built[0].blobs.values().sum::<u64>(),
        "the journal is gone, too"
    );
}

/// After SIGTERM, removals in progress end, and the report says what was done.
#[tokio::test]
async fn a_stopped_prune_prints_its_report() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    reclaim_testkit::signal(&prune, Signal::TERM);
    let report = end(prune).exits(143).json();
    let removed = names(&report["removed"]).len();
    let refused = report["refused"].as_array().unwrap();
    assert_eq!(removed + refused.len(), 6);
    assert!(
        refused
            .iter()
            .all(|image| image["reason"] == "the run was stopped first"),
        "{report:#}"
    );
    assert_eq!(rig.names().await.len(), refused.len());
    assert!(rig.namespace.leases().await.unwrap().is_empty());
}

/// `undo` restores records, content and snapshots as they were, without a network.
#[tokio::test]
async fn undo_restores_held_images() {
    let (rig, built) = rig_with_six_images().await;
    let before = rig.namespace.image_records().await.unwrap();
    let blobs = rig.namespace.blobs().await.unwrap();
    let args = [
        "image",
        "prune",
        "-a",
        "-f",
        "--format",
        "json",
        "--undo-window",
        "1h",
    ];
    let output = rig.reclaim(&args).exits(0);
    let report = output.json();
    assert_eq!(names(&report["removed"]).len(), 6);
    assert_eq!(report["reclaimed"]["content_bytes"], 0);
    assert!(report["held_until"].is_string());
    assert!(output.stderr.contains("reclaim undo"), "{}", output.stderr);
    rig.namespace.collect().await.unwrap();
    assert_eq!(rig.names().await.len(), 0);

    let history = rig
        .reclaim(&["history", "--format", "json"])
        .exits(0)
        .json();
    let run = history["runs"][0]["run"].as_str().unwrap();
    assert_eq!(report["run"], run);
    assert_eq!(history["runs"][0]["images"].as_array().unwrap().len(), 6);

    rig.reclaim(&["undo", run, "docker.io/library/nope:1"])
        .exits(1);
    let output = rig.reclaim(&["undo", run, built[2].name()]).exits(0);
    assert_eq!(output.stdout, format!("restored: {}\n", built[2].name()));
    assert_eq!(rig.names().await.len(), 1);
    rig.reclaim(&["undo"]).exits(0);

    let after = rig.namespace.image_records().await.unwrap();
    let has_epoch = rig.containerd.version().at_least(1, 7);
    for (name, record) in &before {
        assert_eq!(after[name].target, record.target, "{name}");
        assert_eq!(after[name].labels, record.labels, "{name}");
        if has_epoch {
            assert_eq!(after[name].created_at, record.created_at, "{name}");
        }
    }
    assert!(is_whole(&rig, &built[5]).await);
    rig.namespace.collect().await.unwrap();
    assert_eq!(rig.namespace.blobs().await.unwrap(), blobs);
    let empty = rig
        .reclaim(&["history", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(empty["runs"], Value::Array(Vec::new()));
    let output = rig.reclaim(&["undo"]).exits(1);
    assert!(
        output
            .stderr
            .contains("run `latest` has no hold in namespace"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn release_frees_held_images() {
    let (rig, _) = rig_with_six_images().await;
    let args = [
        "image",
        "prune",
        "-a",
        "-f",
        "--undo-window",
        "1h",
        "--format",
        "json",
    ];
    let report = rig.reclaim(&args).exits(0).json();
    assert_ne!(rig.containerd.content_bytes_on_disk(), 0);
    rig.reclaim(&["release", "nonsense"]).exits(1);
    rig.reclaim(&["release", report["run"].as_str().unwrap()])
        .exits(0);
    assert_eq!(rig.containerd.content_bytes_on_disk(), 0);
}
