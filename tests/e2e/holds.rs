//! Holds that are given up for room, through the library: nobody types it.

use std::sync::atomic::{AtomicUsize, Ordering};

use reclaim_engine::Engine;
use reclaim_testkit::{Layer, image};

use crate::rig::Rig;

/// The oldest go first, one after the other, until it is enough.
#[tokio::test]
async fn the_oldest_hold_is_given_up_first() {
    let rig = Rig::quiet().await;
    let mut bytes = Vec::new();
    for seed in 0..3 {
        image(&format!("docker.io/library/app:{seed}"))
            .layers([Layer::random(seed, 5000)])
            .build(&rig.namespace)
            .await
            .unwrap();
        let args = [
            "image",
            "prune",
            "-a",
            "-f",
            "--undo-window",
            "1h",
            "--grace",
            "0s",
        ];
        rig.reclaim(&args).exits(0);
        bytes.push(rig.containerd.content_bytes_on_disk());
    }
    let runs = rig
        .reclaim(&["history", "--format", "json"])
        .exits(0)
        .json();
    let runs: Vec<String> = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["run"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(runs.len(), 3);

    let engine = Engine::connect(rig.containerd.address()).await.unwrap();
    let namespace = "default".parse().unwrap();
    let asked = AtomicUsize::new(0);
    let enough = || asked.fetch_add(1, Ordering::Relaxed) >= 2;
    let released = engine.release_holds(&namespace, &enough).await.unwrap();
    let released: Vec<String> = released.into_iter().map(|it| it.0).collect();
    assert_eq!(released, runs[..2]);
    let left = rig.containerd.content_bytes_on_disk();
    assert!(
        left < bytes[0] + 2000,
        "one of three is left: {left} of {bytes:?}"
    );
    let undone = rig.reclaim(&["undo"]).exits(0);
    assert_eq!(undone.stdout, "restored: docker.io/library/app:2\n");

    let released = engine.release_holds(&namespace, &|| false).await.unwrap();
    assert_eq!(released, []);
    assert_eq!(rig.namespace.leases().await.unwrap().len(), 0);
}
