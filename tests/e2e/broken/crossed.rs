//! An image that misdescribes the documents of another image does not change the other's result.

use reclaim_testkit::{
    BuiltImage, Layer, Manifest, NamespaceClient, digest_of, image, index, labels,
};
use serde_json::json;

use super::{all_agree, import, prune};
use crate::rig::{Rig, entry};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The name of the hostile image.
const EVIL: &str = "docker.io/library/evil:1";

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Where the digest of the hostile index sorts, compared with the victim's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Before,
    After,
}

/// Builds an index of one platform whose configuration has the label `keep`.
async fn build(namespace: &NamespaceClient, name: &str) -> BuiltImage {
    let platform = Manifest::new("linux/amd64")
        .layers([Layer::named("layer", 900)])
        .config_labels(labels([("keep", "yes")]))
        .unpack("native");
    index(name)
        .manifest(platform)
        .build(namespace)
        .await
        .unwrap()
}

/// Imports [`EVIL`], which calls the victim's manifest a configuration.
async fn import_evil(namespace: &NamespaceClient, victim: &BuiltImage, order: Order) {
    let manifest = &victim.manifests[0].manifest;
    let entry = json!({ "mediaType": CONFIG, "digest": manifest.digest, "size": manifest.size });
    let document = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    let mut bytes = document.to_string().into_bytes();
    let is_before = order == Order::Before;
    while (digest_of(&bytes) < victim.target.digest) != is_before {
        bytes.push(b' ');
    }
    let reference = [(
        "containerd.io/gc.ref.content.m.0",
        &*manifest.digest.to_string(),
    )];
    let documents = [(&*bytes, labels(reference))];
    import(namespace, EVIL, INDEX, &documents).await;
}

async fn check_label(order: Order) {
    let rig = Rig::quiet().await;
    let keep = build(&rig.namespace, "docker.io/library/keep:1").await;
    import_evil(&rig.namespace, &keep, order).await;
    all_agree(&rig);
    let report = prune(&rig, &["-f", "--filter", "label!=keep"])
        .exits(0)
        .json();
    assert_eq!(
        entry(&report["kept"], keep.name())["reason"],
        "label_filter"
    );
    // The contents of the hostile image are uncertain, so only its name removes it.
    let report = prune(&rig, &["--dry-run"]).exits(0).json();
    assert_eq!(entry(&report["kept"], EVIL)["reason"], "unreadable");
    rig.reclaim(&["image", "rm", EVIL]).exits(0);
    assert_eq!(rig.names().await, [keep.name().to_owned()].into());
}

#[tokio::test]
async fn a_label_filter_keeps_an_image_that_another_misdescribes_later() {
    check_label(Order::After).await;
}

#[tokio::test]
async fn a_label_filter_keeps_an_image_that_another_misdescribes_first() {
    check_label(Order::Before).await;
}

/// Creates a container whose tag moves to a new image: only its snapshot shows that it uses the
/// old one.
async fn check_user(order: Order) {
    let rig = Rig::quiet().await;
    let app = build(&rig.namespace, "docker.io/library/app:1").await;
    rig.namespace.nerdctl_container("web", &app).await.unwrap();
    let old = app
        .tag(&rig.namespace, "docker.io/library/old:1")
        .await
        .unwrap();
    image("docker.io/library/app:1")
        .layers([Layer::named("new", 800)])
        .build(&rig.namespace)
        .await
        .unwrap();
    import_evil(&rig.namespace, &old, order).await;
    all_agree(&rig);
    let report = prune(&rig, &["-f"]).exits(0).json();
    let kept = entry(&report["kept"], old.name());
    assert_eq!(kept["reason"], "in_use");
    assert_eq!(kept["holders"][0]["id"], "web");
    assert!(rig.names().await.contains(old.name()));
}

#[tokio::test]
async fn a_container_keeps_an_image_that_another_misdescribes_later() {
    check_user(Order::After).await;
}

#[tokio::test]
async fn a_container_keeps_an_image_that_another_misdescribes_first() {
    check_user(Order::Before).await;
}

/// A manifest is read from any namespace, because a digest means the same in each.
#[tokio::test]
async fn a_container_keeps_an_index_whose_manifest_is_in_another_namespace() {
    let rig = Rig::quiet().await;
    let other = rig.containerd.namespace("other");
    let copy = build(&other, "docker.io/library/there:1").await;
    let built = build(&rig.namespace, "docker.io/library/app:1").await;
    assert_eq!(copy.target, built.target);
    rig.namespace
        .nerdctl_container("web", &built)
        .await
        .unwrap();
    let old = built
        .tag(&rig.namespace, "docker.io/library/old:1")
        .await
        .unwrap();
    image("docker.io/library/app:1")
        .layers([Layer::named("new", 800)])
        .build(&rig.namespace)
        .await
        .unwrap();
    let manifest = &built.manifests[0].manifest.digest;
    rig.namespace.delete_blob(manifest).await.unwrap();
    all_agree(&rig);
    let report = prune(&rig, &["-f"]).exits(0).json();
    assert_eq!(entry(&report["kept"], old.name())["reason"], "in_use");
}
