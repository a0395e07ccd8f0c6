//! The text output of `image prune` and `image ls`.

use reclaim_testkit::{Layer, image, labels};

use crate::output::assert_output_snapshot;
use crate::rig::Rig;

/// Docker's report has each name, and then each deleted blob.
#[tokio::test]
async fn prune_prints_dockers_report() {
    let rig = Rig::start().await;
    let app = image("docker.io/library/app:1")
        .layers([Layer::random(1, 3000)])
        .build(&rig.namespace)
        .await
        .unwrap();
    app.tag(&rig.namespace, "quay.io/team/app:2").await.unwrap();
    let output = rig.reclaim(&["image", "prune", "-a", "-f"]).exits(0);
    let built = &app.manifests[0];
    let bytes: u64 = app.blobs.values().sum();
    let expected = format!(
        "Deleted Images:\n\
         untagged: app:1\n\
         untagged: quay.io/team/app:2\n\
         deleted: {}\n\
         \n\
         Total reclaimed space: {}\n",
        built.manifest.digest,
        reclaim_model::HumanSize(bytes),
    );
    assert_eq!(output.stdout, expected);
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn a_prune_with_nothing_to_remove_does_not_ask() {
    let rig = Rig::start().await;
    for args in [
        &["image", "prune"][..],
        &["image", "prune", "-a"],
        &["image", "prune", "-a", "-f"],
    ] {
        let output = rig.reclaim(args).exits(0);
        assert_eq!(output.stdout, "Total reclaimed space: 0B\n");
        assert_eq!(output.stderr, "");
    }
}

/// It gives a reason for every image, and removes nothing.
#[tokio::test]
async fn dry_run_shows_removed_and_kept_images() {
    let rig = Rig::start().await;
    let build = |name: &'static str, seed| {
        image(name)
            .layers([Layer::random(seed, 1000)])
            .config_labels(labels([("seed", name)]))
            .unpack("native")
            .build(&rig.namespace)
    };
    let web = build("docker.io/library/web:1", 1).await.unwrap();
    build("docker.io/library/old:1", 2).await.unwrap();
    rig.namespace.nerdctl_container("c1", &web).await.unwrap();
    let before = rig.names().await;
    let output = rig.reclaim(&["image", "prune", "-a", "--dry-run"]).exits(0);
    assert_eq!(rig.names().await, before);
    assert_output_snapshot!(output.stdout, @"
    Would remove:
    IMAGE  TARGET  REASON
    old:1  ID  not in use

    Would keep:
    IMAGE  TARGET  REASON
    web:1  ID  in use: container c1

    Would remove 1 image and reclaim SIZE: 3 blobs of SIZE, 1 snapshot of SIZE
    nothing was removed (dry run)
    ");
}

#[tokio::test]
async fn ls_shows_sizes_and_the_verdict_of_prune_all() {
    let rig = Rig::start().await;
    let web = image("docker.io/library/web:1")
        .layers([Layer::named("base", 2000), Layer::random(1, 1000)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    let old = image("docker.io/library/old:1")
        .layers([Layer::named("base", 2000), Layer::random(2, 500)])
        .build(&rig.namespace)
        .await
        .unwrap();
    rig.namespace.nerdctl_container("c1", &web).await.unwrap();
    let listed = rig
        .reclaim(&["image", "ls", "--format", "json"])
        .exits(0)
        .json();
    let images = listed["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    let [old_line, web_line] = [&images[0], &images[1]];
    assert_eq!(old_line["name"], "docker.io/library/old:1");
    assert_eq!(old_line["verdict"], "unused");
    assert_eq!(old_line["content_bytes"], old.blobs.values().sum::<u64>());
    assert_eq!(old_line["unpacked_bytes"], 0);
    let base = web.manifests[0].layers[0].size;
    assert_eq!(old_line["shared_bytes"], base);
    assert_eq!(web_line["verdict"], "used");
    let mut unpacked = 0;
    for chain in &web.manifests[0].chain_ids {
        let chain = chain.to_string();
        unpacked += rig.namespace.usage("native", &chain).await.unwrap().0;
    }
    assert_eq!(web_line["unpacked_bytes"], unpacked);
    let table = rig.reclaim(&["image", "ls"]).exits(0).stdout;
    assert_output_snapshot!(table, @"
    IMAGE  TARGET  CONTENT  UNPACKED  SHARED  CREATED  USED  VERDICT  LAYERS
    old:1  ID  SIZE  SIZE  SIZE  AGE  unknown  unused  packed
    web:1  ID  SIZE  SIZE  SIZE  AGE  unknown  used  both
    ");
}
