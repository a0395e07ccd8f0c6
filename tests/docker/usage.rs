//! Which image a Docker container uses, by the list of the real engine: of several with the same
//! layers, and of several names of one.

use std::collections::BTreeSet;

use reclaim_testkit::{
    BuiltImage, Deletion, Dockerd, Layer, NamespaceClient, NewContainer, image, labels,
};
use serde_json::json;

use crate::daemon::Daemon;
use crate::side::{ask, create, rows, socket_of};

const LAB: &str = "docker.io/library/lab:1";
const PRUNE: &str = "/v1.51/images/prune";
const PRUNE_ALL: &str = "/v1.51/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D";

/// Reclaim's daemon, on the images and containers of a Docker Engine.
async fn start() -> (Dockerd, Daemon) {
    let dockerd = Dockerd::start().await;
    let args = ["--docker", &dockerd.address()];
    let daemon = Daemon::start(dockerd.containerd().address(), &args).await;
    (dockerd, daemon)
}

/// Builds an image with the same layers and another label each time.
async fn build(namespace: &NamespaceClient, name: &str, version: &str) -> BuiltImage {
    image(name)
        .layers([Layer::named("base", 2000), Layer::named("lab", 500)])
        .config_labels(labels([("version", version)]))
        .unpack("native")
        .build(namespace)
        .await
        .unwrap()
}

/// Builds `lab:1` again; the first one is left without a name.
async fn rebuild_lab(namespace: &NamespaceClient, old: &BuiltImage) -> BuiltImage {
    old.dangling(namespace).await.unwrap();
    namespace.delete_image(LAB, Deletion::Async).await.unwrap();
    build(namespace, LAB, "2").await
}

async fn names(namespace: &NamespaceClient) -> BTreeSet<String> {
    namespace.images().await.unwrap().into_keys().collect()
}

#[tokio::test]
async fn the_predecessor_of_a_rebuilt_image_is_pruned() {
    let (dockerd, daemon) = start().await;
    let namespace = dockerd.namespace();
    let old = build(&namespace, LAB, "1").await;
    let new = rebuild_lab(&namespace, &old).await;
    let id = create(&dockerd, json!({"Image": "lab:1", "Cmd": ["x"]})).await;
    // While a container runs, containerd has a record of it.
    let record = NewContainer::new(&id).image(LAB);
    namespace.create_container(record).await.unwrap();

    let pruned = ask(daemon.socket(), "POST", PRUNE).await;
    let digest = old.target.digest.to_string();
    let expected = [
        json!({"Untagged": digest}).to_string(),
        json!({"Deleted": digest}).to_string(),
    ];
    assert_eq!(rows(&pruned), expected.into());
    assert_eq!(names(&namespace).await, [LAB.to_owned()].into());

    // By name, too, only the image of the container is in use.
    let other = build(&namespace, "docker.io/library/lab:3", "3").await;
    let path = format!("/v1.51/images/{}", new.target.digest);
    let message = ask(daemon.socket(), "DELETE", &path).await.refused(409);
    assert!(message.contains(&id[..12]), "{message}");
    let path = format!("/v1.51/images/{}", other.target.digest);
    let removed = ask(daemon.socket(), "DELETE", &path).await.done();
    let digest = other.target.digest.to_string();
    let expected = json!([{"Untagged": "lab:3"}, {"Deleted": digest}]);
    assert_eq!(removed, expected);
    assert_eq!(names(&namespace).await, [LAB.to_owned()].into());
}

#[tokio::test]
async fn the_image_of_a_container_stays_when_it_is_rebuilt() {
    let (dockerd, daemon) = start().await;
    let namespace = dockerd.namespace();
    let old = build(&namespace, LAB, "1").await;
    create(&dockerd, json!({"Image": "lab:1", "Cmd": ["x"]})).await;
    let new = rebuild_lab(&namespace, &old).await;
    let pruned = ask(daemon.socket(), "POST", PRUNE).await;
    assert_eq!(rows(&pruned), BTreeSet::new());
    let pruned = ask(daemon.socket(), "POST", PRUNE_ALL).await;
    let expected = [
        json!({"Untagged": "lab:1"}).to_string(),
        json!({"Deleted": new.target.digest.to_string()}).to_string(),
    ];
    assert_eq!(rows(&pruned), expected.into());
    let dangling = format!("moby-dangling@{}", old.target.digest);
    assert_eq!(names(&namespace).await, [dangling].into());
}

/// Of two names of an image, Docker and Reclaim leave the same, however the container was created.
#[tokio::test]
async fn the_name_that_docker_lists_is_the_one_that_stays() {
    let (docker, (reclaim, daemon)) = tokio::join!(Dockerd::start(), start());
    let [a, latest] = [
        "docker.io/library/busybox:a",
        "docker.io/library/busybox:latest",
    ];
    for how in [
        "ID",
        "short ID",
        "busybox@ID",
        "busybox:latest@ID",
        "busybox",
        "busybox:a",
    ] {
        let mut left = Vec::new();
        for dockerd in [&docker, &reclaim] {
            let namespace = dockerd.namespace();
            let built = image(a)
                .layers([Layer::named("base", 2000)])
                .unpack("native");
            let built = built.build(&namespace).await.unwrap();
            built.tag(&namespace, latest).await.unwrap();
            let digest = built.target.digest.to_string();
            let reference = match how {
                "ID" => digest.clone(),
                "short ID" => digest["sha256:".len()..][..12].to_owned(),
                _ => how.replace("ID", &digest),
            };
            let id = create(dockerd, json!({"Image": reference, "Cmd": ["x"]})).await;
            // dockerd writes the first record by name if a container is started by ID or digest.
            let record = NewContainer::new(&id).image(a);
            namespace.create_container(record).await.unwrap();
            let socket = match dockerd {
                it if std::ptr::eq(it, &raw const docker) => socket_of(dockerd),
                _ => daemon.socket().to_owned(),
            };
            let pruned = ask(&socket, "POST", PRUNE_ALL).await;
            left.push((rows(&pruned), names(&namespace).await));
            namespace.delete_container(&id).await.unwrap();
            let path = format!("/v1.51/containers/{id}");
            let deleted = ask(&socket_of(dockerd), "DELETE", &path).await;
            assert_eq!(deleted.status, 204, "{deleted:#?}");
            for name in names(&namespace).await {
                namespace.delete_image(&name, Deletion::Sync).await.unwrap();
            }
        }
        assert_eq!(left[0], left[1], "{how}");
        let stays = if how == "busybox:a" { a } else { latest };
        assert_eq!(left[1].1, [stays.to_owned()].into(), "{how}");
    }
}
