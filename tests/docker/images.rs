//! Images of every kind, the same on both sides.

use reclaim_testkit::{Deletion, Labels, Layer, NamespaceClient, image, labels};

/// Names with what their images are labelled with. An image that has the name of another before a
/// `+` is the same under one more name.
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

/// More names of those.
const TAGS: &[(&str, &str)] = &[
    ("docker.io/library/keep:1", "quay.io/other/keep:one"),
    ("docker.io/library/by-id:1", "docker.io/library/by-id:other"),
    ("docker.io/library/used:1", "docker.io/library/used:spare"),
];

/// Images without a name, and their labels.
const NAMELESS: &[(&str, &[(&str, &str)])] = &[("one", &[]), ("two", &[("keep", "1")])];

/// What containers are created from.
pub(crate) const CONTAINERS: &[&str] = &["used:1", "ID of docker.io/library/by-id:1"];

/// What another container mounts.
pub(crate) const MOUNTED: &str = "mounted:1";

/// Builds what is not there.
pub(crate) async fn fill(namespace: &NamespaceClient) {
    let there = namespace.images().await.unwrap();
    for (name, of_config) in IMAGES {
        if !there.contains_key(*name) {
            build(namespace, name, name, of_config).await;
        }
    }
    for (name, other) in TAGS {
        if !there.contains_key(*other) {
            let record = namespace.image_record(name).await.unwrap();
            let none = Labels::new();
            namespace
                .create_image(other, &record.target, &none)
                .await
                .unwrap();
        }
    }
    for (seed, of_config) in NAMELESS {
        // Built under a name first, which tells its digest.
        let passing = "docker.io/library/passing:1";
        let digest = build(namespace, passing, seed, of_config).await;
        let name = format!("moby-dangling@{digest}");
        if !there.contains_key(&name) {
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
