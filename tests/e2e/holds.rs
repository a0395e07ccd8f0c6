//! Releasing holds to free space, which no command does: through the library.

use std::sync::atomic::{AtomicUsize, Ordering};

use reclaim_engine::Engine;
use reclaim_testkit::{Layer, image};

use crate::rig::Rig;

#[tokio::test]
async fn releases_the_oldest_holds_until_there_is_enough_space() {
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
    let history = rig
        .reclaim(&["history", "--format", "json"])
        .exits(0)
        .json();
    let runs: Vec<String> = history["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["run"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(runs.len(), 3);

    let engine = Engine::connect(rig.containerd.address()).await.unwrap();
    let namespace = "default".parse().unwrap();
    let n_checks = AtomicUsize::new(0);
    let is_enough = || n_checks.fetch_add(1, Ordering::Relaxed) >= 2;
    let released = engine.release_holds(&namespace, &is_enough).await.unwrap();
    let released: Vec<String> = released.into_iter().map(|run| run.0).collect();
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
