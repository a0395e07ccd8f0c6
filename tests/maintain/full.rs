//! A filesystem without a free block.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};

use reclaim_testkit::{Layer, Signal, image};
use serde_json::json;

use crate::daemon::{CHECKS, Daemon, PAUSE, with_metrics};
use crate::host::{Host, removed};

const MIB: u64 = 1 << 20;

/// Fills containerd's filesystem to the last byte.
pub(crate) fn fill(host: &Host) {
    fill_as(host, "ballast");
}

fn fill_as(host: &Host, name: &str) {
    let mut ballast = File::create(host.rig.containerd.root().join(name)).unwrap();
    for block in [1 << 20, 4096, 1] {
        let zeros = vec![0; block];
        while ballast.write_all(&zeros).is_ok() {}
    }
    assert_eq!(host.space().left, 0);
}

/// On a full filesystem, a policy deletes the reserve file, removes images and creates the reserve
/// file again.
#[tokio::test]
async fn uses_the_reserve_file_and_creates_it_again() {
    let host = Host::start(192 * MIB).await;
    let headroom = host.rig.containerd.root().join("headroom");
    let file = headroom.to_str().unwrap();
    let policy = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n\
                  high = \"90%\"\nlow = \"85%\"\n";
    host.configure(&format!(
        "[headroom]\nsize = \"8MiB\"\nfile = \"{file}\"\n{policy}"
    ));
    for number in 0..6 {
        host.image(&format!("i{number}:1"), number, 4 << 20).await;
    }
    assert_eq!(host.once(0)["outcome"], "nothing");
    assert_eq!(headroom.metadata().unwrap().len(), 8 << 20);
    fill(&host);

    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    let space = host.space();
    assert!(space.left >= space.left_at(85), "{space:?}");
    assert!(removed(&run).len() < 6, "{run:#}");
    assert_eq!(headroom.metadata().unwrap().len(), 8 << 20);
}

/// Without a reserve file, a policy removes what it can, and reports success only if it meets its
/// mark.
#[tokio::test]
async fn removes_what_it_can_without_a_reserve_file() {
    let host = Host::start(192 * MIB).await;
    host.policy("high = \"90%\"\nlow = \"85%\"");
    for number in 0..6 {
        host.image(&format!("i{number}:1"), number, 4 << 20).await;
    }
    host.once(0);
    fill(&host);
    let output = host.with_state(&["maintain", "--once", "--format", "json"]);
    let run = &output.json()["runs"][0];
    let names = host.names().await;
    assert_eq!(names.len() + removed(run).len(), 6, "{run:#}");
    let space = host.space();
    let is_met = space.left >= space.left_at(85);
    assert_eq!(run["outcome"] == "done", is_met, "{run:#}");
    assert_eq!(output.code == 0, is_met, "{output:?}");
}

const AUTOMATIC: &str = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\n\
                         last_copies = true\nhigh = \"90%\"\nlow = \"85%\"\n";

/// A host of 1 GiB whose state directory is on containerd's filesystem.
async fn host_with_state() -> Host {
    let host = Host::on_ext4(1024 * MIB).await;
    let state = host.rig.containerd.root().join("state");
    fs::create_dir(&state).unwrap();
    symlink(&state, host.state()).unwrap();
    host.configure(AUTOMATIC);
    host
}

/// Waits until the reserve file exists, or does not, and returns its size.
async fn until_reserve_file(host: &Host, exists: bool) -> u64 {
    for _ in 0..CHECKS {
        let metadata = fs::metadata(host.state().join("headroom"));
        if metadata.is_ok() == exists {
            return metadata.map_or(0, |metadata| metadata.blocks() * 512);
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the reserve file exists: {}", !exists);
}

/// Without a configured size, a daemon creates a small reserve file, deletes it on a full
/// filesystem, creates it again with room on it, and deletes it when its size becomes 0.
#[tokio::test]
async fn a_daemon_manages_an_automatic_reserve_file() {
    let host = host_with_state().await;
    let config = with_metrics(&format!("{AUTOMATIC}interval = \"1s\"\n"));
    host.configure(&config);
    for number in 0..3 {
        host.image(&format!("i{number}:1"), number, 1 << 20).await;
    }
    let daemon = Daemon::start_as(&host, &["maintain"]);
    let bytes = until_reserve_file(&host, true).await;
    assert!(
        bytes >= 4 * MIB && bytes <= host.space().left / 100,
        "{bytes}"
    );

    let ballast = File::create(host.rig.containerd.root().join("large ballast")).unwrap();
    let most = host.space().left / MIB * MIB - MIB;
    rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, most).unwrap();
    fill(&host);
    until_reserve_file(&host, false).await;
    for _ in 0..CHECKS {
        if host.names().await.is_empty() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    assert!(
        host.names().await.is_empty(),
        "images are removed on the full disk"
    );
    assert!(
        !host.state().join("headroom").exists(),
        "created on a full disk"
    );

    ballast.set_len(0).unwrap();
    assert!(until_reserve_file(&host, true).await >= 4 * MIB);
    host.configure(&format!("[headroom]\nsize = \"0\"\n{config}"));
    daemon.signal(Signal::HUP);
    until_reserve_file(&host, false).await;
    assert!(daemon.stop().await.success());
    assert!(
        !host.state().join("headroom").exists(),
        "created with size 0"
    );
}

/// Runs the policies once, and returns their warnings about the reserve file.
fn headroom_warnings(host: &Host) -> Vec<String> {
    host.once(0)["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|warning| warning.as_str())
        .filter(|text| text.contains("headroom"))
        .map(str::to_owned)
        .collect()
}

/// On a small filesystem, on another one than containerd's, and for a policy that removes nothing.
#[tokio::test]
async fn creates_no_automatic_reserve_file_where_it_is_useless() {
    let host = host_with_state().await;
    host.configure(&format!("{AUTOMATIC}dry_run = true\n"));
    assert_eq!(headroom_warnings(&host), Vec::<String>::new());
    assert!(!host.state().join("headroom").exists(), "by a dry run");
    host.configure(AUTOMATIC);
    fs::remove_file(host.state()).unwrap();
    assert_eq!(headroom_warnings(&host), Vec::<String>::new());
    assert!(!host.state().join("headroom").exists(), "elsewhere");

    let host = Host::start(64 * MIB).await;
    let state = host.rig.containerd.root().join("state");
    symlink(&state, host.state()).unwrap();
    fs::create_dir(&state).unwrap();
    host.configure(AUTOMATIC);
    assert_eq!(headroom_warnings(&host), Vec::<String>::new());
    assert!(!host.state().join("headroom").exists(), "on a small one");
}

#[tokio::test]
async fn a_policy_without_marks_uses_the_reserve_file() {
    let host = Host::start(192 * MIB).await;
    let headroom = host.rig.containerd.root().join("headroom");
    let file = headroom.to_str().unwrap();
    let policy = AUTOMATIC.replace("high = \"90%\"\nlow = \"85%\"\n", "");
    host.configure(&format!(
        "[headroom]\nsize = \"8MiB\"\nfile = \"{file}\"\n{policy}"
    ));
    host.once(0);
    assert_eq!(headroom.metadata().unwrap().len(), 8 * MIB);
    for number in 0..40 {
        host.image(&format!("i{number}:1"), number, 64 << 10).await;
    }
    fill(&host);
    let run = host.once(0);
    assert_eq!(removed(&run).len(), 40, "{run:#}");
    // The freed space is enough to hold all images at once.
    assert_eq!(run["reports"][0]["warnings"], json!([]));
}

const IMAGES: u64 = 120;

/// An ext4 of 96 MiB with many small images, filled to the last block.
async fn full_ext4() -> Host {
    let host = Host::on_ext4(96 * MIB).await;
    for number in 0..IMAGES {
        let name = format!("docker.io/library/i{number}:1");
        image(&name)
            .layers([Layer::random(number, 64 << 10)])
            .unpack("overlayfs")
            .build(&host.rig.namespace)
            .await
            .unwrap();
    }
    host.rig.namespace.collect().await.unwrap();
    fill(&host);
    host
}

/// Without room for a journal, `image rm`, a policy and a prune remove images in parts, which grow
/// with the free space.
#[tokio::test]
async fn removes_images_in_parts_on_a_full_filesystem() {
    let host = full_ext4().await;
    let output = host.rig.reclaim(&["image", "rm", "i0:1"]);
    output.exits(0);
    let names = host.names().await;
    assert!(names.len() == 119 && !names.contains(&"i0:1".to_owned()));

    fill_as(&host, "more ballast");
    host.policy("high = \"99%\"\nlow = \"98%\"");
    let output = host.with_state(&["maintain", "--once", "--format", "json"]);
    let run = output.json()["runs"][0].take();
    let left = host.names().await.len();
    assert_eq!(left + removed(&run).len(), 119, "{run:#}");
    assert!(left < 119, "{run:#}");

    fill_as(&host, "still more ballast");
    let prune = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = host.rig.reclaim(&prune).exits(0).json();
    let n_removed = report["removed"].as_array().unwrap().len();
    assert_eq!(n_removed, left, "{report:#}");
    assert!(host.names().await.is_empty());
    assert_eq!(report["reclaimed"], report["estimate"], "{report:#}");
    let warnings = report["warnings"].to_string();
    let text = "the disk is too full to hold all images at once";
    assert!(left == 0 || warnings.contains(text), "{warnings}");
    let leases = host.rig.namespace.leases().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}
