//! Space that becomes visible only after a run.

use std::fs::{self, File};
use std::path::Path;

use reclaim_testkit::Containerd;
use serde_json::Value;

use crate::host::{Host, reclaimed, removed};

const MIB: u64 = 1 << 20;

const LAYER: usize = 5 << 20;

/// Opens all large files below a directory, so that deleting them frees nothing.
fn open_all(directory: &Path) -> Vec<File> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            files.extend(open_all(&path));
        } else if metadata.is_file() && metadata.len() > MIB {
            files.push(File::open(path).unwrap());
        }
    }
    files
}

fn late_bytes(run: &Value) -> u64 {
    let late = run["not_yet_visible"].as_array().unwrap();
    late.iter().map(|it| it["amount"].as_u64().unwrap()).sum()
}

/// While deleted files are open, one run removes no more images than needed, and later ones remove
/// none for the same bytes.
#[tokio::test]
async fn frees_nothing_twice_while_deleted_files_are_open() {
    let host = Host::start(256 * MIB).await;
    host.policy("high = \"50%\"\nlow = \"40%\"");
    for number in 0..14 {
        host.image(&format!("i{number}:1"), number, LAYER).await;
    }
    let before = host.space();
    assert!(before.used_percent() >= 50, "{before:?}");
    let files = open_all(&host.rig.containerd.root());
    assert!(files.len() >= 28, "{}", files.len());

    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    let gone = removed(&run);
    let freed = reclaimed(&run);
    let of_one = freed / gone.len() as u64;
    let wanted = run["wanted"][0]["amount"].as_u64().unwrap();
    assert!(freed + MIB >= wanted, "{run:#}");
    assert!(freed < wanted + of_one + MIB, "{run:#}");
    assert!(late_bytes(&run).abs_diff(freed) < MIB, "{run:#}");
    assert!(host.space().left < before.left + MIB);

    let explained = host.with_state(&["policy", "explain"]).exits(0).stdout;
    assert!(
        explained.contains("  freed by earlier runs: "),
        "{explained}"
    );
    assert!(explained.contains("0 images, 0B"), "{explained}");
    let output = host.with_state(&["maintain", "--once"]).exits(0).stdout;
    assert!(output.contains("  freed 0B, "), "{output}");
    assert!(output.contains(" not yet visible on `"), "{output}");
    assert_eq!(host.names().await.len(), 14 - gone.len());
    let history = host.with_state(&["policy", "history"]).exits(0).stdout;
    assert!(history.contains(" not yet visible)"), "{history}");

    drop(files);
    let run = host.once(0);
    assert_eq!(run["outcome"], "nothing", "{run:#}");
    assert_eq!(late_bytes(&run), 0, "{run:#}");
    assert!(host.space().left >= host.space().left_at(40));
}

/// Whether this kernel can mount a btrfs.
fn has_btrfs() -> bool {
    let kinds = fs::read_to_string("/proc/filesystems").unwrap();
    kinds.lines().any(|line| line.trim() == "btrfs")
}

/// On a btrfs, which shows freed space only after a commit, a run removes no more than it must.
#[tokio::test]
async fn removes_no_more_than_it_must_on_a_btrfs() {
    if !has_btrfs() {
        println!("skipped: this kernel has no btrfs");
        return;
    }
    let host = Host::on(Containerd::quiet().btrfs(512 * MIB)).await;
    for number in 0..24 {
        host.image(&format!("i{number}:1"), number, LAYER).await;
    }
    // Writes everything, so that the free space is that of the images.
    rustix::fs::syncfs(File::open(host.rig.containerd.root()).unwrap()).unwrap();
    let used = host.space().used_percent();
    let (high, low) = (used - 2, used - 12);
    host.policy(&format!("high = \"{high}%\"\nlow = \"{low}%\""));
    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    let freed = reclaimed(&run);
    let of_one = freed / removed(&run).len() as u64;
    let wanted = run["wanted"][0]["amount"].as_u64().unwrap();
    assert!(freed < wanted + of_one + MIB, "{run:#}");
    // The commit that the run requested makes it visible.
    assert_eq!(late_bytes(&run), 0, "{run:#}");
    let again = host.once(0);
    assert_eq!(removed(&again), Vec::<String>::new(), "{again:#}");
}
