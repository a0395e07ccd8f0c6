//! Snapshots that cannot be measured, or change while they are measured.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use reclaim_testkit::{Labels, Mount};

use super::{all_agree, expect, only_warning, prune, three_apps};
use crate::rig::Rig;

/// Returns the directory to which writes of a snapshot go.
fn writable(mounts: &[Mount]) -> PathBuf {
    let mut options = mounts[0].options.iter();
    let upper = options.find_map(|option| option.strip_prefix("upperdir="));
    upper.unwrap_or(&mounts[0].source).into()
}

#[tokio::test]
async fn warns_of_a_snapshot_whose_directory_is_missing() {
    let rig = Rig::quiet().await;
    three_apps(&rig.namespace).await;
    let none = Labels::new();
    let preparing = rig
        .namespace
        .prepare("native", "extract-1 sha256:x", "", &none);
    fs::remove_dir_all(writable(&preparing.await.unwrap())).unwrap();
    all_agree(&rig);
    let apps = ["app0", "app1", "app2"];
    for mode in ["--dry-run", "-f"] {
        let report = prune(&rig, &[mode]).exits(0).json();
        expect(&report, &apps, &[]);
        only_warning(&report, "size of 1 snapshot of `native`");
    }
    assert!(rig.names().await.is_empty());
    rig.reclaim(&["df"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn df_succeeds_while_a_container_creates_and_removes_files() {
    let rig = Rig::start().await;
    let apps = three_apps(&rig.namespace).await;
    rig.namespace
        .nerdctl_container("busy", &apps[0])
        .await
        .unwrap();
    let mounts = rig.namespace.mounts("native", "busy").await.unwrap();
    let upper = writable(&mounts);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in 0..2 {
            let (upper, is_over) = (&upper, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let directory = upper.join(format!("busy-{worker}"));
                    fs::create_dir(&directory).unwrap();
                    for at in 0..50 {
                        fs::write(directory.join(at.to_string()), b"x").unwrap();
                    }
                    fs::remove_dir_all(&directory).unwrap();
                }
            });
        }
        let codes: Vec<i32> = (0..15).map(|_| rig.reclaim(&["df"]).code).collect();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(codes, [0; 15]);
    });
}
