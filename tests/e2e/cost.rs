//! What a prune costs containerd: counted, never timed.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use reclaim_testkit::{Layer, image, labels};

use crate::rig::{Called, Rig};

/// 200 images should cost one collection, not 200.
///
/// containerd's scheduler also collects by itself when it sees deletions, for up to 2 % of the
/// time. Here it is told to hardly do so, and what is left is what was asked for.
#[tokio::test]
async fn two_hundred_images_cost_one_collection() {
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
    let called = rig
        .reclaim(&["image", "prune", "-a", "-f", "--format", "json"])
        .exits(0);
    assert_eq!(called.json()["removed"].as_array().unwrap().len(), 200);
    assert_eq!(rig.containerd.collections() - before, 1);
    assert_eq!(rig.containerd.content_bytes_on_disk(), 0);
}

/// Listing should take as many calls whatever the number of blobs and containers, apart from
/// the bodies of manifests, indexes and configs.
#[tokio::test]
async fn calls_do_not_grow_with_the_store() {
    let few = calls(2, 1).await;
    let many = calls(20, 1).await;
    assert_eq!(few, many, "layers are never read");
    let crowded = calls(2, 300).await;
    assert_eq!(few, crowded, "containers are listed, not asked one by one");
}

/// The calls of a dry run on three images with so many layers each and so many containers.
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

/// A run should tell the calls of each of its phases, and only the removal take more of them where
/// there are more images.
#[tokio::test]
async fn only_removing_takes_more_calls_for_more_images() {
    let mut few = phases(2).await;
    let mut many = phases(7).await;
    let names: Vec<&str> = few.keys().map(|it| &**it).collect();
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
    let [few_removed, many_removed] = [&mut few, &mut many].map(|it| it.remove("remove").unwrap());
    assert!(few_removed.contains("\"delete image\": 2"), "{few_removed}");
    assert!(
        many_removed.contains("\"delete image\": 7"),
        "{many_removed}"
    );
    assert_eq!(few, many);
    // First it is seen whether the disk has room for a journal and a collection.
    let find = "find the content store and the snapshotters";
    let held = format!("{{\"create lease\": 1, \"{find}\": 1, \"write hold\": 1}}");
    assert_eq!(few["hold"], held);
    assert_eq!(few["collect"], "{\"delete lease\": 1}");
}

/// The calls of a prune of so many images, by phase.
async fn phases(images: u64) -> BTreeMap<String, String> {
    let rig = Rig::start().await;
    for seed in 0..images {
        let image = image(&format!("docker.io/library/app:{seed}"));
        let image = image.layers([Layer::random(seed, 50)]);
        image.build(&rig.namespace).await.unwrap();
    }
    let level = ["--log-level", "reclaim_engine=debug"];
    let prune = ["image", "prune", "-a", "-f", "--grace", "0s"];
    let called = rig.reclaim(&[&level[..], &prune].concat()).exits(0);
    let lines = called.stderr.lines();
    let told = lines.filter_map(|line| {
        let (_, rest) = line.split_once(" phase=\"")?;
        let (phase, rest) = rest.split_once('"')?;
        let (_, calls) = rest.split_once("calls=")?;
        Some((phase.to_owned(), calls.to_owned()))
    });
    told.collect()
}

/// Manifests and configurations should be read from containerd's files where those can be seen,
/// and asked for where not, with the same report.
#[tokio::test]
async fn bodies_are_asked_for_only_where_files_are_out_of_sight() {
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
    let near = rig.reclaim(&[&args[..], &by_label].concat()).exits(0);
    let far = rig
        .reclaim(&[&args[..], &by_label, &["--remote"]].concat())
        .exits(0);
    assert_eq!(near.stdout, far.stdout);
    assert!(near.stdout.contains("app:2"), "{}", near.stdout);
    let [near, far] = [&near, &far].map(calls_of);
    assert!(!near.contains("read content"), "{near}");
    assert!(far.contains("\"read content\": 6"), "{far}");
}

fn calls_of(called: &Called) -> String {
    let line = called
        .stderr
        .lines()
        .find(|line| line.contains("planned calls="));
    let line = line.unwrap_or_else(|| panic!("no count of calls in {}", called.stderr));
    let (_, calls) = line.split_once("calls=").unwrap();
    assert!(calls.contains("\"list content\": 1"), "{calls}");
    calls.to_owned()
}

/// More images than one message can carry should be listed all the same.
#[tokio::test]
async fn a_list_of_images_beyond_one_message_is_whole() {
    let rig = Rig::start().await;
    // 5,000 records of 4,000 bytes are 20 MB; containerd sends 16 MiB at most. The targets need
    // not exist.
    let filler = "x".repeat(3900);
    let record_labels = labels([("filler", filler.as_str())]);
    let mut digests = Vec::new();
    for index in 0_u32..5000 {
        let target = reclaim_testkit::Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: reclaim_testkit::digest_of(&index.to_le_bytes()),
            size: 4,
        };
        digests.push((format!("docker.io/library/app:{index}"), target));
    }
    let creations = digests
        .iter()
        .map(|(name, target)| rig.namespace.create_image(name, target, &record_labels));
    let mut creations = stream::iter(creations).buffer_unordered(32);
    while let Some(done) = creations.next().await {
        done.unwrap();
    }
    drop(creations);
    let args = ["image", "prune", "-a", "--dry-run", "--format", "json"];
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["removed"].as_array().unwrap().len(), 5000);
}
