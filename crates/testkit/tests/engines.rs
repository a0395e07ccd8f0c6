//! Containers of each engine hold snapshots after the record of their image is deleted.

use reclaim_testkit::{
    BuiltImage, Containerd, Deletion, Labels, Layer, NamespaceClient, NewContainer, SnapshotKind,
    image,
};

async fn build(namespace: &NamespaceClient) -> BuiltImage {
    image("docker.io/library/app:1")
        .layers([Layer::random(1, 100), Layer::random(2, 100)])
        .unpack("native")
        .build(namespace)
        .await
        .expect("containerd answers")
}

/// Deletes the image, checks that no content is left, and returns the number of snapshots left.
async fn snapshots_left(namespace: &NamespaceClient, image: &BuiltImage) -> usize {
    let deleted = namespace.delete_image(image.name(), Deletion::Sync).await;
    deleted.expect("containerd answers");
    assert!(
        namespace
            .blobs()
            .await
            .expect("containerd answers")
            .is_empty()
    );
    namespace
        .snapshots("native")
        .await
        .expect("containerd answers")
        .len()
}

#[tokio::test]
async fn a_nerdctl_container_holds_its_chain() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let app = build(&namespace).await;
    namespace.nerdctl_container("web", &app).await.unwrap();
    let web = &namespace.containers().await.unwrap()["web"];
    assert_eq!(web.image, app.name());
    assert_eq!(web.snapshot, Some(("native".to_owned(), "web".to_owned())));
    assert_eq!(snapshots_left(&namespace, &app).await, 3);
    namespace.delete_container("web").await.unwrap();
    namespace.collect().await.unwrap();
    assert!(namespace.snapshots("native").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stopped_docker_container_is_a_lease_without_a_record() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("moby");
    let app = build(&namespace).await;
    let id = "0f".repeat(32);
    namespace.docker_stopped_container(&id, &app).await.unwrap();
    assert!(namespace.containers().await.unwrap().is_empty());
    assert_eq!(namespace.leases().await.unwrap()[&id], Labels::new());
    assert_eq!(snapshots_left(&namespace, &app).await, 4);
    let snapshots = namespace.snapshots("native").await.unwrap();
    let init = format!("{id}-init");
    assert_eq!(snapshots[&init].kind, SnapshotKind::Committed);
    assert_eq!(snapshots[&init].parent, Some(app.unpacked().1.to_string()));
    assert_eq!(snapshots[&id].kind, SnapshotKind::Active);
    assert_eq!(snapshots[&id].parent, Some(init));
}

#[tokio::test]
async fn a_running_docker_container_has_a_record_without_a_snapshot() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("moby");
    let app = build(&namespace).await;
    let id = "a1".repeat(32);
    namespace.docker_running_container(&id, &app).await.unwrap();
    let record = &namespace.containers().await.unwrap()[&id];
    assert_eq!(record.image, app.name());
    assert_eq!(record.snapshot, None);
    namespace
        .docker_image_mount(&"b2".repeat(32), &app)
        .await
        .unwrap();
    assert_eq!(snapshots_left(&namespace, &app).await, 5);
}

#[tokio::test]
async fn kubernetes_keeps_three_records_and_metadata() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("k8s.io");
    let app = build(&namespace).await;
    let names = namespace.cri_image_records(&app, &Labels::new()).await;
    let names = names.unwrap();
    let digest = &app.target.digest;
    assert_eq!(names[0], format!("docker.io/library/app@{digest}"));
    assert_eq!(names[1], app.manifests[0].config.digest.to_string());
    assert_eq!(namespace.images().await.unwrap().len(), 3);
    namespace.cri_sandbox("pod", &app).await.unwrap();
    namespace.cri_container("c1", "pod", &app).await.unwrap();
    for name in names {
        let deleted = namespace.delete_image(&name, Deletion::Async).await;
        deleted.unwrap();
    }
    assert_eq!(snapshots_left(&namespace, &app).await, 4);
}

#[tokio::test]
async fn a_mounted_image_is_a_view_held_by_a_lease() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let app = build(&namespace).await;
    namespace.image_mount("/mnt/app", &app).await.unwrap();
    assert_eq!(snapshots_left(&namespace, &app).await, 3);
    let view = namespace.snapshot("native", "/mnt/app").await.unwrap();
    assert_eq!(view.kind, SnapshotKind::View);
}

#[tokio::test]
async fn lists_more_containers_than_fit_in_a_message() {
    let daemon = Containerd::start().await;
    let namespace = daemon.namespace("k8s.io");
    let ids: Vec<String> = (0..40).map(|number| format!("c{number:02}")).collect();
    for id in &ids {
        let container = NewContainer::new(id).spec_bytes(500_000);
        namespace.create_container(container).await.unwrap();
    }
    let containers = namespace.containers().await.unwrap();
    assert!(containers.keys().eq(&ids));
}

#[tokio::test]
async fn writes_files_into_active_snapshots() {
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let app = image("app").layers([Layer::random(1, 10), Layer::random(2, 10)]);
    let app = app.unpack("overlayfs").build(&namespace).await.unwrap();
    namespace.nerdctl_container("web", &app).await.unwrap();
    let data = vec![7; 20_000];
    let written = namespace.write_layer_file("overlayfs", "web", "data", &data);
    written.await.unwrap();
    let (bytes, _) = namespace.usage("overlayfs", "web").await.unwrap();
    assert!(bytes >= 20_000);
}
