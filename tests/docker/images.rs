//! Images of every kind, which both sides have.

use reclaim_testkit::{Deletion, Labels, Layer, NamespaceClient, image, labels};

/// Names, and the labels of their images.
const IMAGES: &[(&str, &[(&str, &str)])] = &[
    ("docker.io/library/plain:1", &[]),
    ("docker.io/library/keep:1", &[("keep", "1")]),
    ("docker.io/library/keep:2", &[("keep", "2"), ("x", "")]),
    ("docker.io/library/x:latest", &[("x", "a=b")]),
    ("quay.io/team/far:1", &[("keep", "1")]),
    ("docker.io/library/used:1", &[]),
    ("docker.io/library/by-id:1", &[]),
    ("docker.io/library/mounted:1", &[]),
];

/// Further names of these images.
const TAGS: &[(&str, &str)] = &[
    ("docker.io/library/keep:1", "quay.io/other/keep:one"),
    ("docker.io/library/by-id:1", "docker.io/library/by-id:other"),
    ("docker.io/library/used:1", "docker.io/library/used:spare"),
];

/// Seeds and labels of images without a name.
const NAMELESS: &[(&str, &[(&str, &str)])] = &[("one", &[]), ("two", &[("keep", "1")])];

/// Images of the containers.
pub(crate) const CONTAINERS: &[&str] = &["used:1", "ID of docker.io/library/by-id:1"];

/// The image that another container mounts.
pub(crate) const MOUNTED: &str = "mounted:1";

/// Builds images that do not exist.
pub(crate) async fn fill(namespace: &NamespaceClient) {
    let existing = namespace.images().await.unwrap();
    for (name, of_config) in IMAGES {
        if !existing.contains_key(*name) {
            build(namespace, name, name, of_config).await;
        }
    }
    for (name, other) in TAGS {
        if !existing.contains_key(*other) {
            let record = namespace.image_record(name).await.unwrap();
            let none = Labels::new();
            namespace
                .create_image(other, &record.target, &none)
                .await
                .unwrap();
        }
    }
    for (seed, of_config) in NAMELESS {
        // The digest is known only after building it under a name.
        let passing = "docker.io/library/passing:1";
        let digest = build(namespace, passing, seed, of_config).await;
        let name = format!("moby-dangling@{digest}");
        if !existing.contains_key(&name) {
            let record = namespace.image_record(passing).await.unwrap();
            let none = Labels::new();
            namespace
                .create_image(&name, &record.target, &none)
                .await
                .unwrap();
        }
        namespace
            .delete_image(passing, Deletion::Sync)
            .await
            .unwrap();
    }
}

async fn build(
    namespace: &NamespaceClient,
    name: &str,
    seed: &str,
    of_config: &[(&str, &str)],
) -> String {
    let image = image(name)
        .layers([Layer::named("base", 2000), Layer::named(seed, 500)])
        .config_labels(labels(of_config.iter().copied()))
        .unpack("native");
    image
        .build(namespace)
        .await
        .unwrap()
        .target
        .digest
        .to_string()
}
