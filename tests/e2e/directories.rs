//! Snapshot directories without a record: found and counted, and never reported as reclaimed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use reclaim_testkit::{BuiltImage, Containerd, Layer, image};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use serde_json::Value;

use crate::df::occupied;
use crate::rig::Rig;

const PRUNE: [&str; 6] = ["image", "prune", "-a", "-f", "--grace", "0s"];

/// Returns the directory in which a snapshotter keeps its snapshots.
fn snapshots(rig: &Rig, snapshotter: &str) -> PathBuf {
    let plugin = format!("io.containerd.snapshotter.v1.{snapshotter}/snapshots");
    rig.containerd.root().join(plugin)
}

/// An immutable file or directory. Dropping it makes it mutable again.
struct Immutable {
    path: PathBuf,
    /// Kept open, because native renames the directory above it.
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
    // Keep flags that rustix does not know.
    let others = ioctl_getflags(file).unwrap().bits() & !IFlags::IMMUTABLE.bits();
    ioctl_setflags(file, IFlags::from_bits_retain(others | flag.bits())).unwrap();
}

/// Three unpacked images of one layer: `used`, which a container uses, and the unused `a` and `b`.
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

/// Returns the size and path of the largest file below a directory.
fn largest_file(top: &Path) -> (u64, PathBuf) {
    let files = fs::read_dir(top).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            largest_file(&path)
        } else {
            (metadata.len(), path)
        }
    });
    files.max().unwrap_or_default()
}

fn bytes(report: &Value, of: &str) -> u64 {
    report[of]["snapshot_bytes"].as_u64().unwrap()
}

/// Returns the only stranded directory of a report.
#[track_caller]
fn stranded(report: &Value) -> &Value {
    let stranded = report["stranded"].as_array().unwrap();
    assert_eq!(stranded.len(), 1, "{report:#}");
    assert_eq!(stranded[0]["directories"], 1, "{report:#}");
    assert_eq!(stranded[0]["is_exact"], true, "{report:#}");
    &stranded[0]["places"][0]
}

/// Makes a file of a layer immutable: it stays when its layer's record is deleted.
async fn check_immutable_file(snapshotter: &'static str) {
    let (rig, _) = rig_with_images(snapshotter).await;
    let (_, file) = largest_file(&snapshots(&rig, snapshotter));
    let immutable = Immutable::make(&file);
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    let output = rig.reclaim(&args).exits(3);
    let report = output.json();
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
    assert!(output.stderr.contains(&line), "{}", output.stderr);

    // It is no longer a snapshot, and df still lists it.
    let usage = rig.reclaim(&["df", "--format", "json"]).exits(0).json();
    let unrecorded = &usage["outside_records"]["unrecorded"][0];
    assert_eq!(unrecorded["places"][0]["bytes"], left, "{usage:#}");
    // The next prune does not report it.
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["stranded"], Value::Array(Vec::new()));
    drop(immutable);
}

#[tokio::test]
async fn reports_an_immutable_file_of_overlayfs_as_stranded() {
    check_immutable_file("overlayfs").await;
}

/// native renames a directory before it removes it.
#[tokio::test]
async fn reports_an_immutable_file_of_native_as_stranded() {
    check_immutable_file("native").await;
}

/// A directory of which no part could be removed looks like any other, and is found by counting
/// directories and their sizes.
#[tokio::test]
async fn reports_an_untouched_directory_as_stranded() {
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

/// The collection also removes an older directory without a record, so that the number of
/// directories stays the same.
#[tokio::test]
async fn an_older_directory_that_is_removed_does_not_hide_a_stranded_one() {
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

/// A mount point in a layer cannot be removed, and the mounted files are not counted.
#[tokio::test]
async fn reports_a_mount_point_as_stranded() {
    let (rig, _) = rig_with_images("overlayfs").await;
    let (_, file) = largest_file(&snapshots(&rig, "overlayfs"));
    let point = file.parent().unwrap().join("mounted");
    fs::create_dir(&point).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    mount_bind(elsewhere.path(), &point).unwrap();
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    let output = rig.reclaim(&args);
    unmount(&point, UnmountFlags::DETACH).unwrap();
    let report = output.exits(3).json();
    let why = stranded(&report)["why"].as_str().unwrap().to_owned();
    assert!(
        why.contains("mounted") && why.ends_with("is a mount point"),
        "{why}"
    );
}

#[tokio::test]
async fn an_undisturbed_prune_strands_no_directory() {
    let (rig, _) = rig_with_images("overlayfs").await;
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["stranded"], Value::Array(Vec::new()));
    assert_eq!(report["reclaimed"], report["estimate"]);
}

/// `df` lists a directory without a record, and containerd's next collection removes it.
#[tokio::test]
async fn df_lists_a_directory_without_a_record() {
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
        "in 1 directory of overlayfs: {}; containerd tries to remove",
        path.display()
    );
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("Directories without a record"), "{text}");
    assert!(text.contains("\nTotal on disk   "), "{text}");
    // When a snapshot is removed, containerd also removes directories that it does not know.
    let args = [&PRUNE[..], &["--format", "json"]].concat();
    rig.reclaim(&args).exits(0);
    assert!(!path.exists());
    let usage = rig.reclaim(&["df", "--format", "json"]).exits(0).json();
    assert_eq!(
        usage["outside_records"]["unrecorded"],
        Value::Array(Vec::new())
    );
}

/// Without access to containerd's files, directories without a record are not counted.
#[tokio::test]
async fn df_shows_a_lower_bound_of_a_remote_total() {
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
