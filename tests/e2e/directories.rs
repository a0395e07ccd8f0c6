//! What is on the disk and in no record: found, counted, and never taken for freed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use reclaim_testkit::{BuiltImage, Containerd, Layer, image};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use serde_json::Value;

use crate::df::occupied;
use crate::rig::Rig;

const PRUNE: [&str; 6] = ["image", "prune", "-a", "-f", "--grace", "0s"];

fn snapshots(rig: &Rig, snapshotter: &str) -> PathBuf {
    let plugin = format!("io.containerd.snapshotter.v1.{snapshotter}/snapshots");
    rig.containerd.root().join(plugin)
}

/// A file that nothing can remove, until it is dropped.
struct Immutable {
    path: PathBuf,
    /// Open, because native renames the directory above it.
    file: File,
}

impl Immutable {
    fn make(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        set(&file, IFlags::IMMUTABLE);
        Self {
            path: path.to_owned(),
            file,
        }
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        set(&self.file, IFlags::empty());
    }
}

fn set(file: &File, flag: IFlags) {
    // Flags that have no name here stay as they are.
    let others = ioctl_getflags(file).unwrap().bits() & !IFlags::IMMUTABLE.bits();
    ioctl_setflags(file, IFlags::from_bits_retain(others | flag.bits())).unwrap();
}

/// Two unused images with a layer each, unpacked, and one that a container uses.
async fn rig_with_images(snapshotter: &'static str) -> (Rig, Vec<BuiltImage>) {
    let rig = Rig::on(Containerd::builder().on_disk().start().await);
    let mut built = Vec::new();
    for (name, seed, bytes) in [("used", 1, 30_000), ("a", 2, 1_000_000), ("b", 3, 200_000)] {
        let image = image(&format!("docker.io/library/{name}:1"))
            .layers([Layer::random(seed, bytes)])
            .unpack(snapshotter);
        built.push(image.build(&rig.namespace).await.unwrap());
    }
    rig.namespace
        .nerdctl_container("c1", &built[0])
        .await
        .unwrap();
    (rig, built)
}

/// The largest regular file below a directory.
fn largest_file(top: &Path) -> (u64, PathBuf) {
    let files = fs::read_dir(top).unwrap().map(|it| it.unwrap());
    let files = files.map(|file| {
        let metadata = fs::symlink_metadata(file.path()).unwrap();
        if metadata.is_dir() {
            largest_file(&file.path())
        } else {
            (metadata.len(), file.path())
        }
    });
    files.max().unwrap_or_default()
}

fn bytes(report: &Value, of: &str) -> u64 {
    report[of]["snapshot_bytes"].as_u64().unwrap()
}

/// The directory that a report names as the only one that stays.
#[track_caller]
fn stranded(report: &Value) -> &Value {
    let stranded = report["stranded"].as_array().unwrap();
    assert_eq!(stranded.len(), 1, "{report:#}");
    assert_eq!(stranded[0]["directories"], 1, "{report:#}");
    assert_eq!(stranded[0]["is_exact"], true, "{report:#}");
    &stranded[0]["places"][0]
}

async fn a_layer_that_cannot_be_removed(snapshotter: &'static str) {
    let (rig, _) = rig_with_images(snapshotter).await;
    let (_, file) = largest_file(&snapshots(&rig, snapshotter));
    let immutable = Immutable::make(&file);
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    let called = rig.reclaim(&args).exits(3);
    let report = called.json();
    let place = stranded(&report);
    let path = PathBuf::from(place["path"].as_str().unwrap());
    let (left, _) = occupied(&path);
    assert!(left > 1_000_000, "{left}");
    assert_eq!(place["bytes"], left);
    let name = file.file_name().unwrap().to_str().unwrap();
    let why = place["why"].as_str().unwrap();
    assert!(why.contains(name) && why.ends_with("is immutable"), "{why}");
    assert_eq!(
        bytes(&report, "estimate") - bytes(&report, "reclaimed"),
        left
    );
    assert_eq!(report["failed"], Value::Array(Vec::new()));
    let line = format!("1 directory of {snapshotter}: {}", path.display());
    assert!(called.stderr.contains(&line), "{}", called.stderr);

    // It is no longer a snapshot, and df still knows of it.
    let usage = rig.reclaim(&["df", "--format", "json"]).exits(0).json();
    let unrecorded = &usage["outside_records"]["unrecorded"][0];
    assert_eq!(unrecorded["places"][0]["bytes"], left, "{usage:#}");
    // The next prune has nothing to do with it.
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["stranded"], Value::Array(Vec::new()));
    drop(immutable);
}

/// A file that must not change stays when its layer's record goes. It is not reclaimed, and the
/// report says where it is.
#[tokio::test]
async fn an_immutable_file_of_overlayfs_is_not_reclaimed() {
    a_layer_that_cannot_be_removed("overlayfs").await;
}

/// The same with native, which renames what it removes.
#[tokio::test]
async fn an_immutable_file_of_native_is_not_reclaimed() {
    a_layer_that_cannot_be_removed("native").await;
}

/// A directory in which nothing at all could be removed shows no trace of it. It is found by
/// counting, and by what it occupies.
#[tokio::test]
async fn a_directory_that_is_whole_is_not_reclaimed() {
    let (rig, _) = rig_with_images("overlayfs").await;
    let (_, file) = largest_file(&snapshots(&rig, "overlayfs"));
    let directories = file.ancestors().skip(1).take(2);
    let held: Vec<Immutable> = [&*file]
        .into_iter()
        .chain(directories)
        .map(Immutable::make)
        .collect();
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    let report = rig.reclaim(&args).exits(3).json();
    let place = stranded(&report);
    let path = held[2].path.to_str().unwrap();
    assert_eq!(place["path"], path);
    assert!(bytes(&report, "estimate") - bytes(&report, "reclaimed") > 1_000_000);
    drop(held);
}

/// One that was there before goes with the same collection, and does not hide one that stays.
#[tokio::test]
async fn one_that_goes_does_not_hide_one_that_stays() {
    let (rig, _) = rig_with_images("overlayfs").await;
    let directories = snapshots(&rig, "overlayfs");
    let (_, file) = largest_file(&directories);
    let immutable = Immutable::make(&file);
    let old = directories.join("999");
    fs::create_dir_all(old.join("fs")).unwrap();
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    let report = rig.reclaim(&args).exits(3).json();
    assert!(!old.exists());
    let path = stranded(&report)["path"].as_str().unwrap();
    assert!(file.starts_with(path), "{path}");
    drop(immutable);
}

/// A mount in a layer keeps it, and what is mounted is not counted.
#[tokio::test]
async fn a_busy_mount_is_not_reclaimed() {
    let (rig, _) = rig_with_images("overlayfs").await;
    let (_, file) = largest_file(&snapshots(&rig, "overlayfs"));
    let point = file.parent().unwrap().join("mounted");
    fs::create_dir(&point).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    mount_bind(elsewhere.path(), &point).unwrap();
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    let called = rig.reclaim(&args);
    unmount(&point, UnmountFlags::DETACH).unwrap();
    let report = called.exits(3).json();
    let why = stranded(&report)["why"].as_str().unwrap().to_owned();
    assert!(
        why.contains("mounted") && why.ends_with("is a mount point"),
        "{why}"
    );
}

/// What a prune frees undisturbed leaves nothing, and costs no calls more.
#[tokio::test]
async fn an_undisturbed_prune_leaves_no_directory() {
    let (rig, _) = rig_with_images("overlayfs").await;
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["stranded"], Value::Array(Vec::new()));
    assert_eq!(report["reclaimed"], report["estimate"]);
}

/// A directory that somebody put there is found and named, and goes as `df` says.
#[tokio::test]
async fn a_directory_without_a_record_is_named() {
    let (rig, _) = rig_with_images("overlayfs").await;
    let path = snapshots(&rig, "overlayfs").join("999");
    fs::create_dir_all(path.join("fs")).unwrap();
    fs::write(path.join("fs/dump"), vec![7; 3_000_000]).unwrap();
    let usage = rig.reclaim(&["df", "--format", "json"]).exits(0).json();
    let unrecorded = &usage["outside_records"]["unrecorded"];
    let place = &unrecorded[0]["places"][0];
    assert_eq!(place["path"], path.to_str().unwrap(), "{unrecorded:#}");
    let (occupied, _) = occupied(&path);
    assert_eq!(unrecorded[0]["bytes"], occupied);
    assert_eq!(unrecorded[0]["is_exact"], true);
    let text = rig.reclaim(&["df"]).exits(0).stdout;
    let line = format!(
        "in 1 directory of overlayfs: {}; containerd removes",
        path.display()
    );
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("Directories without a record"), "{text}");
    assert!(text.contains("\nTotal on disk   "), "{text}");
    // The prune removes a snapshot, and containerd with it what it does not know.
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    rig.reclaim(&args).exits(0);
    assert!(!path.exists());
    let usage = rig.reclaim(&["df", "--format", "json"]).exits(0).json();
    assert_eq!(
        usage["outside_records"]["unrecorded"],
        Value::Array(Vec::new())
    );
}

/// What cannot be seen is not counted, and the total says so.
#[tokio::test]
async fn elsewhere_the_total_is_a_least() {
    let (rig, _) = rig_with_images("overlayfs").await;
    let usage = rig
        .reclaim(&["--remote", "df", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(usage["outside_records"], Value::Null);
    assert_eq!(usage["on_disk"]["whole"], false);
    let text = rig.reclaim(&["--remote", "df"]).exits(0).stdout;
    assert!(text.contains("\nTotal on disk, at least "), "{text}");
}
