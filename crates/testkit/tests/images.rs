//! The image builders write what a pull writes.

use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{CreateImageRequest, Image};
use reclaim_testkit::{
    Containerd, Deletion, Labels, Layer, Manifest, SnapshotKind, digest_of, image, index, labels,
};

#[tokio::test]
async fn an_index_refers_to_absent_manifests_and_to_attestations() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let amd64 = Manifest::new("linux/amd64")
        .layers([Layer::random(1, 100)])
        .unpack("native")
        .attested();
    let arm64 = Manifest::new("linux/arm64/v8")
        .layers([Layer::random(2, 100)])
        .attested()
        .absent();
    let built = index("docker.io/library/multi:1")
        .manifest(amd64)
        .manifest(arm64)
        .build(&namespace)
        .await
        .unwrap();

    namespace.collect().await.unwrap();
    // Index; manifest, config and layer; manifest, config and statement of the attestation.
    assert_eq!(built.blobs.len(), 7);
    assert_eq!(namespace.blobs().await.unwrap(), built.blobs);
    let edges = namespace.blob_labels(&built.target.digest).await.unwrap();
    let keys: Vec<&str> = edges.keys().map(String::as_str).collect();
    let expected = [0, 1, 2, 3].map(|i| format!("containerd.io/gc.ref.content.m.{i}"));
    assert_eq!(keys, expected);
    assert_eq!(
        edges[&expected[1]],
        built.manifests[1].manifest.digest.to_string()
    );
    let body = namespace.read_blob(&built.target.digest).await.unwrap();
    assert_eq!(digest_of(&body), built.target.digest);
    let body = String::from_utf8(body).unwrap();
    assert_eq!(body.matches("attestation-manifest").count(), 2);
    assert_eq!(body.matches(r#""variant":"v8""#).count(), 1);
    assert_eq!(
        built.unpacked(),
        ("native", &built.manifests[0].chain_ids[0])
    );
}

#[tokio::test]
async fn the_same_input_gives_the_same_target() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("moby");
    let layers = [Layer::random(1, 100)];
    let one = image("one").layers(layers.clone());
    let one = one.build(&namespace).await.unwrap();
    let two = image("two").layers(layers.clone());
    let two = two.build(&namespace).await.unwrap();
    let docker = image("docker").layers(layers).docker_schema2();
    let docker = docker.build(&namespace).await.unwrap();
    assert_eq!(one.target, two.target);
    assert_ne!(one.target, docker.target);
    assert!(docker.target.media_type.contains("docker"));

    let dangling = one.dangling(&namespace).await.unwrap();
    let tagged = one.tag(&namespace, "docker").await.unwrap();
    let records = namespace.images().await.unwrap();
    assert_eq!(
        dangling.name(),
        format!("moby-dangling@{}", one.target.digest)
    );
    assert_eq!(records[dangling.name()], one.target.digest);
    assert_eq!(records[tagged.name()], one.target.digest, "the tag moved");
    namespace.collect().await.unwrap();
    assert_eq!(namespace.blobs().await.unwrap(), one.blobs);
}

#[tokio::test]
async fn unpacking_again_shares_snapshots_and_adds_the_label() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let builder = image("app").layers([Layer::random(1, 100), Layer::random(2, 100)]);
    builder.clone().build(&namespace).await.unwrap();
    assert!(namespace.snapshots("native").await.unwrap().is_empty());
    for _ in 0..2 {
        let again = builder.clone().unpack("native").unpack("overlayfs");
        again.build(&namespace).await.unwrap();
    }
    namespace.collect().await.unwrap();
    for snapshotter in ["native", "overlayfs"] {
        let snapshots = namespace.snapshots(snapshotter).await.unwrap();
        assert_eq!(snapshots.len(), 2);
        assert!(
            snapshots
                .values()
                .all(|snapshot| snapshot.kind == SnapshotKind::Committed)
        );
    }
}

#[tokio::test]
async fn discarded_layers_are_neither_written_nor_referenced() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("k8s.io");
    let built = image("app")
        .layers([Layer::random(1, 100)])
        .unpack("native")
        .discard_layers()
        .build(&namespace)
        .await
        .unwrap();
    namespace.collect().await.unwrap();
    assert_eq!(built.blobs.len(), 2);
    assert_eq!(namespace.blobs().await.unwrap(), built.blobs);
    assert_eq!(namespace.snapshots("native").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_second_namespace_adopts_content_and_holds_it() {
    let containerd = Containerd::start().await;
    let builder = image("app").layers([Layer::random(1, 9_000_000)]);
    let first = containerd.namespace("first");
    let second = containerd.namespace("second");
    let built = builder.clone().build(&first).await.unwrap();
    builder.build(&second).await.unwrap();
    assert_eq!(containerd.content_bytes_on_disk(), built.bytes());
    assert_eq!(containerd.namespaces().await.unwrap(), ["first", "second"]);

    first.delete_image("app", Deletion::Sync).await.unwrap();
    assert!(first.blobs().await.unwrap().is_empty());
    assert_eq!(second.blobs().await.unwrap(), built.blobs);
    assert_eq!(containerd.content_bytes_on_disk(), built.bytes());
    second.delete_image("app", Deletion::Sync).await.unwrap();
    assert_eq!(containerd.content_bytes_on_disk(), 0);
}

#[tokio::test]
async fn records_keep_labels_and_times() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let created = "2024-05-06T07:08:09Z".parse().unwrap();
    let built = image("app")
        .record_labels(labels([("team", "blue")]))
        .config_labels(labels([("stage", "build")]))
        .record_created(created)
        .build(&namespace)
        .await
        .unwrap();
    let record = namespace.image_record("app").await.unwrap();
    assert_eq!(record.labels, built.record_labels);
    assert_eq!(record.target, built.target);
    let keeps_time = containerd.version().at_least(1, 7);
    assert_eq!(record.created_at == created, keeps_time);
    let config = namespace.read_blob(&built.manifests[0].config.digest).await;
    let config = String::from_utf8(config.unwrap()).unwrap();
    assert!(config.contains(r#""Labels":{"stage":"build"}"#), "{config}");
}

#[tokio::test]
async fn sets_labels_of_a_blob_one_by_one() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let root = labels([("containerd.io/gc.root", "yes"), ("a", "1")]);
    let digest = namespace.write_blob(b"body", &root).await.unwrap();
    namespace.set_blob_label(&digest, "b", "2").await.unwrap();
    let again = labels([("a", "3")]);
    assert_eq!(namespace.write_blob(b"body", &again).await.unwrap(), digest);
    let expected = labels([("containerd.io/gc.root", "yes"), ("a", "3"), ("b", "2")]);
    assert_eq!(namespace.blob_labels(&digest).await.unwrap(), expected);
    namespace.collect().await.unwrap();
    assert_eq!(namespace.blobs().await.unwrap()[&digest], 4);
    namespace.delete_blob(&digest).await.unwrap();
    assert!(namespace.blobs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_blob_may_be_empty() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let empty = namespace.write_blob(b"", &Labels::new()).await.unwrap();
    assert_eq!(namespace.blobs().await.unwrap()[&empty], 0);
}

/// The server refuses a record with a digest of an unknown algorithm, so such records are tested with
/// scripted responses.
#[tokio::test]
async fn containerd_refuses_a_record_whose_digest_it_cannot_verify() {
    let containerd = Containerd::start().await;
    let mut client = ImagesClient::new(containerd.channel());
    let target = containerd_client::types::Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: format!("blake3:{}", "0".repeat(64)),
        size: 1,
        ..Default::default()
    };
    let image = Image {
        name: "docker.io/library/strange:1".to_owned(),
        target: Some(target),
        ..Default::default()
    };
    let mut request = tonic::Request::new(CreateImageRequest {
        image: Some(image),
        source_date_epoch: None,
    });
    let namespace = "default".parse().unwrap();
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace);
    let refused = client.create(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
}
