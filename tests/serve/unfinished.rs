//! The daemon finishes interrupted runs.

use reclaim_testkit::{BuiltImage, Layer, NamespaceClient, image};

use crate::daemon::{CHECKS, Daemon, PAUSE};
use crate::rig::{Rig, names};

const ALL: &str = r#"{"dangling":["false"]}"#;

async fn eight_images(rig: &Rig) -> Vec<BuiltImage> {
    let mut built = Vec::new();
    for seed in 0..8 {
        let name = format!("docker.io/library/app:{seed}");
        let app = image(&name).layers([Layer::random(seed, 100)]);
        built.push(app.build(&rig.namespace).await.unwrap());
    }
    built
}

/// Waits for a condition on the numbers of images and of leases.
async fn until(namespace: &NamespaceClient, is_so: impl Fn(usize, usize) -> bool) {
    for _ in 0..CHECKS {
        let images = namespace.images().await.unwrap().len();
        let leases = namespace.leases().await.unwrap().len();
        if is_so(images, leases) {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let leases = namespace.leases().await.unwrap();
    panic!("not in time: {leases:#?}");
}

/// containerd is down until the run gives up. After its restart, the daemon restores what the run
/// had removed, and the next prune succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn finishes_its_run_after_a_restart_of_containerd() {
    let mut rig = Rig::start().await;
    let built = eight_images(&rig).await;
    let slowly = ["--patience=0", "--max-deletes-per-second=4"];
    let daemon = Daemon::start(rig.containerd.address(), &slowly).await;
    let killing = async {
        until(&rig.namespace, |images, _| images < built.len()).await;
        rig.containerd.kill().await;
    };
    let (answer, ()) = tokio::join!(daemon.prune(ALL), killing);
    rig.containerd.restart().await;
    until(&rig.namespace, |images, leases| {
        (images, leases) == (built.len(), 0)
    })
    .await;
    let blobs = rig.namespace.blobs().await.unwrap();
    let mut all = built.iter().flat_map(|image| image.blobs.keys());
    assert!(all.all(|blob| blobs.contains_key(blob)), "{answer:?}");
    // The guard's lease is gone a moment before the daemon accepts another prune.
    let answer = loop {
        let answer = daemon.prune(ALL).await;
        if answer.status != 409 {
            break answer.done();
        }
        tokio::time::sleep(PAUSE).await;
    };
    assert_eq!(answer["ImagesDeleted"].as_array().unwrap().len(), 16);
    assert!(rig.namespace.leases().await.unwrap().is_empty());
}

/// A daemon that starts restores what a killed command had removed.
#[tokio::test(flavor = "multi_thread")]
async fn finishes_a_crashed_run_when_it_starts() {
    let rig = Rig::start().await;
    let built = eight_images(&rig).await;
    let mut killed = std::process::Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .env("RECLAIM_AUDIT_DIR", "/dev/null")
        .args(["--address", rig.containerd.address(), "image", "prune"])
        .args(["-a", "-f", "--max-deletes-per-second=4"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until(&rig.namespace, |images, _| images < built.len()).await;
    // `history` lists a killed run, and not a running one.
    let history = ["history", "--format", "json"];
    let runs = rig.reclaim(&history).exits(0).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 0, "{runs}");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let runs = rig.reclaim(&history).exits(0).json();
    assert_eq!(runs["runs"][0]["crashed"], true, "{runs}");
    assert_eq!(runs["runs"][0]["images"].as_array().unwrap().len(), 8);
    let _daemon = Daemon::start(rig.containerd.address(), &[]).await;
    until(&rig.namespace, |images, leases| {
        (images, leases) == (built.len(), 0)
    })
    .await;
    let listed = rig.reclaim(&["image", "ls", "--format", "json"]).exits(0);
    assert_eq!(names(&listed.json()["images"]).len(), 8);
}
