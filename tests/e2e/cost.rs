//! What a prune costs containerd, in calls and collections.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use reclaim_testkit::{Layer, image, labels};

use crate::rig::{CommandOutput, Rig};

/// containerd's scheduler also collects after deletions, for up to 2 % of the time. Here it is
/// configured not to, which leaves the collection that the prune requests.
#[tokio::test]
async fn pruning_200_images_takes_one_collection() {
    let rig = Rig::quiet().await;
    for seed in 0..200 {
        image(&format!("docker.io/library/app:{seed}"))
            .layers([Layer::named("base", 1000), Layer::random(seed, 100)])
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    rig.namespace.collect().await.unwrap();
    let before = rig.containerd.collections();
    let output = rig
        .reclaim(&["image", "prune", "-a", "-f", "--format", "json"])
        .exits(0);
    assert_eq!(output.json()["removed"].as_array().unwrap().len(), 200);
    assert_eq!(rig.containerd.collections() - before, 1);
    assert_eq!(rig.containerd.content_bytes_on_disk(), 0);
}

#[tokio::test]
async fn more_layers_or_containers_take_no_more_calls() {
    let few = calls(2, 1).await;
    let many_layers = calls(20, 1).await;
    assert_eq!(few, many_layers, "layers are not read");
    let many_containers = calls(2, 300).await;
    assert_eq!(few, many_containers, "containers are read in one list");
}

/// Returns the calls of a dry run on three images with this many layers each, and this many
/// containers.
async fn calls(layers: u64, containers: usize) -> String {
    let rig = Rig::start().await;
    for image_seed in 0..3 {
        let name = format!("docker.io/library/app:{image_seed}");
        let seeds = (0..layers).map(|layer| Layer::random(image_seed * 100 + layer, 50));
        image(&name)
            .layers(seeds)
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    for index in 0..containers {
        let container = reclaim_testkit::NewContainer::new(&format!("c{index}"))
            .image("docker.io/library/app:0")
            // Ordinary specs: 300 of them exceed tonic's message limit of 4 MiB.
            .spec_bytes(20_000);
        rig.namespace.create_container(container).await.unwrap();
    }
    let args = [
        "--log-level",
        "reclaim_engine=debug",
        "image",
        "prune",
        "-a",
        "--dry-run",
    ];
    calls_of(&rig.reclaim(&args).exits(0))
}

/// The log has the calls of each phase.
#[tokio::test]
async fn only_the_remove_phase_takes_more_calls_for_more_images() {
    let mut few = phases(2).await;
    let mut many = phases(7).await;
    let names: Vec<&str> = few.keys().map(|phase| &**phase).collect();
    let expected = [
        "collect",
        "guard",
        "hold",
        "look_again",
        "measure",
        "observe",
        "recover",
        "remove",
        "size",
    ];
    assert_eq!(names, expected);
    let [few_removed, many_removed] =
        [&mut few, &mut many].map(|phases| phases.remove("remove").unwrap());
    assert!(few_removed.contains("\"delete image\": 2"), "{few_removed}");
    assert!(
        many_removed.contains("\"delete image\": 7"),
        "{many_removed}"
    );
    assert_eq!(few, many);
    // `find`, because a run first checks that the disk has room for a journal and a collection.
    let find = "find the content store and the snapshotters";
    let held = format!("{{\"create lease\": 1, \"{find}\": 1, \"write hold\": 1}}");
    assert_eq!(few["hold"], held);
    assert_eq!(few["collect"], "{\"delete lease\": 1}");
}

/// Returns the calls of a prune of this many images, by phase.
async fn phases(images: u64) -> BTreeMap<String, String> {
    let rig = Rig::start().await;
    for seed in 0..images {
        image(&format!("docker.io/library/app:{seed}"))
            .layers([Layer::random(seed, 50)])
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    let level = ["--log-level", "reclaim_engine=debug"];
    let prune = ["image", "prune", "-a", "-f", "--grace", "0s"];
    let output = rig.reclaim(&[&level[..], &prune].concat()).exits(0);
    let calls_of_line = |line: &str| {
        let (_, rest) = line.split_once(" phase=\"")?;
        let (phase, rest) = rest.split_once('"')?;
        let (_, calls) = rest.split_once("calls=")?;
        Some((phase.to_owned(), calls.to_owned()))
    };
    output.stderr.lines().filter_map(calls_of_line).collect()
}

/// Manifests and configurations are read from containerd's files, or over its API with `--remote`;
/// the report is the same.
#[tokio::test]
async fn requests_document_bodies_only_without_access_to_files() {
    let rig = Rig::start().await;
    for seed in 0..3 {
        image(&format!("docker.io/library/app:{seed}"))
            .layers([Layer::random(seed, 50)])
            .config_labels(labels([("keep", "yes")]))
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    let args = [
        "--log-level",
        "reclaim_engine=debug",
        "image",
        "prune",
        "-a",
        "--dry-run",
    ];
    let by_label = ["--filter", "label=keep=yes"];
    let local = rig.reclaim(&[&args[..], &by_label].concat()).exits(0);
    let remote = rig
        .reclaim(&[&args[..], &by_label, &["--remote"]].concat())
        .exits(0);
    assert_eq!(local.stdout, remote.stdout);
    assert!(local.stdout.contains("app:2"), "{}", local.stdout);
    let [local_calls, remote_calls] = [&local, &remote].map(calls_of);
    assert!(!local_calls.contains("read content"), "{local_calls}");
    assert!(
        remote_calls.contains("\"read content\": 6"),
        "{remote_calls}"
    );
}

/// Returns the calls that the log of a plan counts.
fn calls_of(output: &CommandOutput) -> String {
    let line = output
        .stderr
        .lines()
        .find(|line| line.contains("planned calls="))
        .unwrap_or_else(|| panic!("no count of calls in {}", output.stderr));
    let (_, calls) = line.split_once("calls=").unwrap();
    assert!(calls.contains("\"list content\": 1"), "{calls}");
    calls.to_owned()
}

#[tokio::test]
async fn lists_more_images_than_fit_into_one_message() {
    let rig = Rig::start().await;
    // 5,000 records of 4,000 bytes are 20 MB; containerd sends 16 MiB at most. The targets need
    // not exist.
    let filler = "x".repeat(3900);
    let record_labels = labels([("filler", filler.as_str())]);
    let mut records = Vec::new();
    for index in 0_u32..5000 {
        let target = reclaim_testkit::Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: reclaim_testkit::digest_of(&index.to_le_bytes()),
            size: 4,
        };
        records.push((format!("docker.io/library/app:{index}"), target));
    }
    let creations = records
        .iter()
        .map(|(name, target)| rig.namespace.create_image(name, target, &record_labels));
    stream::iter(creations)
        .buffer_unordered(32)
        .for_each(async |created| created.unwrap())
        .await;
    let args = ["image", "prune", "-a", "--dry-run", "--format", "json"];
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["removed"].as_array().unwrap().len(), 5000);
}
