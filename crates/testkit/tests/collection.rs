//! containerd's collector keeps and frees what the kit builds.

use std::collections::BTreeSet;

use reclaim_testkit::{Containerd, Deletion, Labels, Layer, LeaseResource, NewLease, image};

#[tokio::test]
async fn frees_exactly_the_removed_image() {
    for snapshotter in ["native", "overlayfs"] {
        let containerd = Containerd::start().await;
        let namespace = containerd.namespace("default");
        let base = Layer::named("base", 3000);
        let kept = image("docker.io/library/kept:1")
            .layers([base.clone(), Layer::random(1, 200)])
            .unpack(snapshotter);
        let kept = kept.build(&namespace).await.unwrap();
        let gone = image("docker.io/library/gone:1")
            .layers([base, Layer::random(2, 100), Layer::random(3, 70_000)])
            .unpack(snapshotter);
        let gone = gone.build(&namespace).await.unwrap();

        let before = containerd.collections();
        namespace.collect().await.unwrap();
        assert!(containerd.collections() > before);
        let mut all = kept.blobs.clone();
        all.extend(gone.blobs.clone());
        assert_eq!(namespace.blobs().await.unwrap(), all);
        assert_eq!(
            containerd.content_bytes_on_disk(),
            all.values().sum::<u64>()
        );
        let snapshots = namespace.snapshots(snapshotter).await.unwrap();
        assert_eq!(snapshots.len(), 4, "the base is shared: {snapshots:?}");

        namespace
            .delete_image(gone.name(), Deletion::Sync)
            .await
            .unwrap();
        assert_eq!(namespace.blobs().await.unwrap(), kept.blobs);
        assert_eq!(containerd.content_bytes_on_disk(), kept.bytes());
        let left: BTreeSet<String> = namespace
            .snapshots(snapshotter)
            .await
            .unwrap()
            .into_keys()
            .collect();
        let chain = kept.manifests[0].chain_ids.iter();
        assert_eq!(left, chain.map(ToString::to_string).collect());
    }
}

#[tokio::test]
async fn snapshots_have_the_size_of_their_layers() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let built = image("app")
        .layers([Layer::random(1, 9000), Layer::random(2, 50_000)])
        .unpack("overlayfs")
        .build(&namespace)
        .await
        .unwrap();
    let [lower, upper] = &built.manifests[0].chain_ids[..] else {
        panic!("two layers make two chain IDs");
    };
    let (lower, _) = namespace
        .usage("overlayfs", &lower.to_string())
        .await
        .unwrap();
    let (upper, inodes) = namespace
        .usage("overlayfs", &upper.to_string())
        .await
        .unwrap();
    assert!((9000..50_000).contains(&lower), "{lower}");
    assert!((50_000..100_000).contains(&upper), "{upper}");
    assert_eq!(inodes, 2, "a directory and its file");
}

#[tokio::test]
async fn a_lease_holds_the_content_of_a_removed_image() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let built = image("app")
        .layers([Layer::random(1, 100)])
        .unpack("native")
        .build(&namespace)
        .await
        .unwrap();
    namespace.create_lease(NewLease::new("hold")).await.unwrap();
    let target = LeaseResource::content(&built.target.digest);
    namespace.add_lease_resource("hold", &target).await.unwrap();
    let flat = NewLease::new("flat").flat();
    namespace.create_lease(flat).await.unwrap();
    namespace.add_lease_resource("flat", &target).await.unwrap();

    namespace.delete_image("app", Deletion::Sync).await.unwrap();
    assert_eq!(namespace.blobs().await.unwrap(), built.blobs);
    assert_eq!(namespace.snapshots("native").await.unwrap().len(), 1);

    namespace
        .delete_lease("hold", Deletion::Sync)
        .await
        .unwrap();
    let left = namespace.blobs().await.unwrap();
    assert!(left.keys().eq([&built.target.digest]), "flat: {left:?}");
    assert!(namespace.snapshots("native").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_expired_lease_holds_nothing() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let expired = NewLease::new("old").expires("2024-01-01T00:00:00Z".parse().unwrap());
    namespace.create_lease(expired).await.unwrap();
    let leased = namespace.with_lease("old");
    leased.write_blob(b"x", &Labels::new()).await.unwrap();
    namespace.collect().await.unwrap();
    assert!(namespace.blobs().await.unwrap().is_empty());
    assert!(namespace.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn builds_under_the_lease_of_the_handle() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    namespace.create_lease(NewLease::new("pull")).await.unwrap();
    let built = image("app")
        .layers([Layer::random(1, 100), Layer::random(2, 100)])
        .unpack("native")
        .unnamed()
        .build(&namespace.with_lease("pull"))
        .await
        .unwrap();
    namespace.collect().await.unwrap();
    assert_eq!(namespace.blobs().await.unwrap(), built.blobs);
    assert_eq!(namespace.snapshots("native").await.unwrap().len(), 2);
    assert!(namespace.images().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collections_never_free_an_image_under_construction() {
    let containerd = Containerd::start().await;
    let collector = containerd.namespace("other");
    let namespace = containerd.namespace("default");
    let builders = async {
        let builds = (0..24).map(|seed| {
            // Layers, configs and whole images are shared, so the builders interfere.
            let layers = [Layer::named("base", 500), Layer::random(seed % 8, 500)];
            let image = image(&format!("app:{seed}")).layers(layers);
            image.unpack("native").build(&namespace)
        });
        let built = futures::future::join_all(builds).await;
        built.into_iter().collect::<Result<Vec<_>, _>>()
    };
    let collections = async {
        loop {
            collector.collect().await.unwrap();
        }
    };
    let built = tokio::select! {
        built = builders => built.unwrap(),
        () = collections => unreachable!("it collects until the images are built"),
    };
    namespace.collect().await.unwrap();
    let blobs = namespace.blobs().await.unwrap();
    let snapshots = namespace.snapshots("native").await.unwrap();
    for image in built {
        for (digest, size) in image.blobs {
            assert_eq!(blobs.get(&digest), Some(&size), "{digest}");
        }
        for chain_id in &image.manifests[0].chain_ids {
            assert!(snapshots.contains_key(&chain_id.to_string()));
        }
    }
    assert_eq!(snapshots.len(), 9);
}
