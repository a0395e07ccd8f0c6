//! Content and snapshots on different filesystems, and snapshots whose filesystem is unknown.

use std::path::PathBuf;

use reclaim_testkit::{Containerd, Layer, ProxySnapshotter, image};
use serde_json::Value;

use crate::daemon::{Daemon, with_metrics};
use crate::host::{Host, removed};

const MIB: u64 = 1 << 20;

/// A host whose snapshots have their own filesystem, and its two mount points.
pub(crate) struct TwoDisks {
    pub(crate) host: Host,
    pub(crate) content: PathBuf,
    snapshots: PathBuf,
}

impl TwoDisks {
    pub(crate) async fn start(content: u64, snapshots: u64) -> Self {
        let builder = Containerd::quiet().filesystem(content);
        let host = Host::on(builder.snapshots_filesystem(snapshots)).await;
        let content = host.rig.containerd.root();
        Self {
            snapshots: content.join("io.containerd.snapshotter.v1.overlayfs"),
            content,
            host,
        }
    }

    /// Stores an image that is not unpacked.
    async fn packed(&self, name: &str, seed: u64) {
        let name = format!("docker.io/library/{name}");
        let image = image(&name).layers([Layer::random(seed, 4 << 20)]);
        image.build(&self.host.rig.namespace).await.unwrap();
    }

    /// Plans a prune with a target.
    fn plan(&self, target: &str) -> Value {
        let args = ["image", "prune", "-a", "--target-free", target, "--dry-run"];
        let args = [&args[..], &["--format", "json"]].concat();
        self.host.rig.reclaim(&args).exits(0).json()
    }
}

/// Only images that free something on the filesystem that is too full are removed, also if others
/// are older, and those do not use up the cap.
#[tokio::test]
async fn removes_only_what_frees_something_on_the_full_disk() {
    let disks = TwoDisks::start(256 * MIB, 64 * MIB).await;
    for number in 0..4 {
        disks.packed(&format!("p{number}:1"), number).await;
    }
    for number in 0..8 {
        let name = format!("u{number}:1");
        disks.host.image(&name, 10 + number, 4 << 20).await;
    }
    let host = &disks.host;
    host.policy("high = \"45%\"\nlow = \"40%\"\nmax_images = 3");
    let explained = host.with_state(&["policy", "explain"]).exits(0).stdout;
    let (content, snapshots) = (disks.content.display(), disks.snapshots.display());
    for text in [
        format!("  {content} (content, snapshots of native): "),
        format!("  {snapshots} (snapshots of overlayfs): "),
        format!(" on `{snapshots}`"),
    ] {
        assert!(explained.contains(&text), "no {text:?} in {explained}");
    }
    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    assert_eq!(run["wanted"].as_array().unwrap().len(), 1, "{run:#}");
    assert_eq!(run["wanted"][0]["mount_point"], snapshots.to_string());
    let gone = removed(&run);
    assert!(
        ["u0:1", "u1:1"].starts_with(&gone.iter().map(|it| &**it).collect::<Vec<_>>()[..]),
        "{gone:?}"
    );
    assert!(!gone.is_empty());
}

/// `--target-free` names its filesystem: by default the fullest, else the one with the path.
#[tokio::test]
async fn a_target_names_its_filesystem() {
    let disks = TwoDisks::start(256 * MIB, 64 * MIB).await;
    disks.packed("old:1", 1).await;
    disks.host.image("new:1", 2, 4 << 20).await;
    let names = |report: &Value| {
        let names = crate::rig::names(&report["removed"]).into_iter();
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let (content, snapshots) = (disks.content.display(), disks.snapshots.display());
    let report = disks.plan("1MB");
    assert_eq!(names(&report), ["docker.io/library/new:1"], "{report:#}");
    let target = &report["target_free"];
    assert_eq!(target["mount_point"], snapshots.to_string());
    assert_eq!(target["bytes"], 1_000_000);
    let report = disks.plan(&format!("1%:{content}/io.containerd.content.v1.content"));
    assert_eq!(names(&report), ["docker.io/library/old:1"], "{report:#}");
    let target = &report["target_free"];
    assert_eq!(target["mount_point"], content.to_string());
    assert_eq!(target["bytes"], 256 * MIB / 100);

    let prune = |target: &str| {
        let args = ["image", "prune", "-a", "--target-free", target];
        disks.host.rig.reclaim(&[&args[..], &["-f"]].concat())
    };
    let output = prune("10GB").exits(5).stderr;
    let expected = format!("error: 10GB on `{snapshots}` cannot be freed, only 4.");
    assert!(output.starts_with(&expected), "{output}");
    let output = prune("1MB:/proc").exits(1).stderr;
    let expected = "error: the filesystem to free is unknown: `/proc` is on none of containerd's; \
                    those are: `";
    assert!(output.starts_with(expected), "{output}");
    assert!(
        output.contains("hint: give a size without a path"),
        "{output}"
    );
    let output = prune("1MB:/nowhere").exits(1).stderr;
    assert!(output.contains("`/nowhere`: No such file"), "{output}");
    let output = prune("1MB").exits(0);
    assert!(output.stdout.starts_with("Deleted Images:\n"), "{output:?}");
    let expected = format!("to free: 1MB on `{snapshots}`");
    assert!(output.stderr.contains(&expected), "{output:?}");
    assert_eq!(disks.host.names().await, ["old:1"]);
}

/// A proxy snapshotter that reports no directory is named as unmeasured; its snapshots count for no
/// watermark.
#[tokio::test(flavor = "multi_thread")]
async fn says_which_snapshots_cannot_be_measured() {
    let proxy = ProxySnapshotter::start("lazy");
    let builder = Containerd::quiet().filesystem(64 * MIB);
    let host = Host::on(builder.extra_config(&proxy.config())).await;
    let lazy = image("docker.io/library/lazy:1")
        .layers([Layer::random(1, 1 << 20)])
        .unpack("lazy");
    lazy.build(&host.rig.namespace).await.unwrap();
    let marks = "high = \"90%\"\nlow = \"80%\"";
    host.policy(marks);
    let why = "no watermark counts snapshots of `lazy`: containerd does not report its directory";
    let explained = host.with_state(&["policy", "explain"]).exits(0).stdout;
    assert!(
        explained.contains(&format!("  warning: {why}")),
        "{explained}"
    );
    let checked = host.reclaim(&["config", "check"]).exits(0).stderr;
    assert!(checked.contains(&format!("warning: {why}\n")), "{checked}");
    host.policy("");
    let checked = host.reclaim(&["config", "check"]).exits(0).stderr;
    assert!(!checked.contains("warning"), "{checked}");

    let policy = format!("[[policy]]\nname = \"p\"\nall = true\ninterval = \"1s\"\n{marks}\n");
    host.configure(&with_metrics(&policy));
    let daemon = Daemon::start(&host);
    let series = "reclaim_unmeasured{kind=\"snapshots\",snapshotter=\"lazy\"}";
    daemon.wait_for(series, |value| value == 1).await;
    assert!(daemon.stop().await.success());
}

/// With `exports.root` in containerd's configuration, which 1.7 and newer have, it is measured.
#[tokio::test(flavor = "multi_thread")]
async fn measures_a_proxy_snapshotter_that_reports_its_directory() {
    let proxy = ProxySnapshotter::start("lazy");
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = root.path().display();
    let exports = format!("[proxy_plugins.lazy.exports]\nroot = \"{path}\"");
    let config = format!("{}\n{exports}", proxy.config());
    let builder = Containerd::quiet().filesystem(64 * MIB);
    let host = Host::on(builder.extra_config(&config)).await;
    host.policy("high = \"99%\"\nlow = \"98%\"");
    let explained = host.with_state(&["policy", "explain"]).exits(0).stdout;
    let is_measured = explained.contains("  /dev/shm (snapshots of lazy): ");
    assert_eq!(
        is_measured,
        host.rig.containerd.version().at_least(1, 7),
        "{explained}"
    );
    assert_ne!(
        is_measured,
        explained.contains("no watermark counts"),
        "{explained}"
    );
}
