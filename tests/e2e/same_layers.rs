//! Images that differ only in their configuration: which one a container uses, by the digest that
//! its engine noted; and the images that containers mount in addition.

use reclaim_testkit::{BuiltImage, Labels, Layer, NewContainer, image, labels};
use serde_json::{Value, json};

use crate::rig::{Rig, entry, names};

const PRUNE: [&str; 6] = ["image", "prune", "-a", "-f", "--format", "json"];

const OLD: &str = "docker.io/library/lab:1";
const NEW: &str = "docker.io/library/lab:2";

/// Builds an image; all have the same layers.
async fn build(rig: &Rig, name: &str, of_config: Labels) -> BuiltImage {
    let built = image(name)
        .layers([Layer::named("base", 2000), Layer::named("lab", 500)])
        .config_labels(of_config)
        .unpack("overlayfs");
    built.build(&rig.namespace).await.unwrap()
}

/// Builds the old and the new image.
async fn two(rig: &Rig) -> [BuiltImage; 2] {
    let old = build(rig, OLD, labels([("version", "1")])).await;
    let new = build(rig, NEW, labels([("version", "2")])).await;
    [old, new]
}

fn prune(rig: &Rig) -> Value {
    rig.reclaim(&PRUNE).exits(0).json()
}

/// A label with the digest that nerdctl 2.4 writes.
fn digest_label(of: &BuiltImage) -> Labels {
    labels([("nerdctl/image-digest", of.target.digest.to_string())])
}

#[tokio::test]
async fn nerdctls_label_says_which_image_a_container_uses() {
    let rig = Rig::quiet().await;
    let [_, new] = two(&rig).await;
    let more = digest_label(&new);
    rig.namespace
        .nerdctl_container_with("web", &new, more)
        .await
        .unwrap();
    // The tag has moved since: the digest stays exact.
    let none = Labels::new();
    rig.namespace
        .create_image("docker.io/library/kept:1", &new.target, &none)
        .await
        .unwrap();
    let report = prune(&rig);
    assert_eq!(names(&report["removed"]), ["docker.io/library/kept:1", OLD]);
    assert_eq!(entry(&report["kept"], NEW)["holders"][0]["id"], "web");
}

#[tokio::test]
async fn an_image_that_has_the_label_itself_proves_nothing() {
    let rig = Rig::quiet().await;
    let old = build(&rig, OLD, Labels::new()).await;
    let claim = digest_label(&old);
    let new = build(&rig, NEW, claim.clone()).await;
    // Engines copy the labels of the configuration to the container.
    rig.namespace
        .nerdctl_container_with("web", &new, claim)
        .await
        .unwrap();
    // The name moves to the image that the label claims.
    rig.namespace
        .update_image(NEW, &old.target, &Labels::new())
        .await
        .unwrap();
    let by_digest = format!("docker.io/library/lab@{}", new.target.digest);
    rig.namespace
        .create_image(&by_digest, &new.target, &Labels::new())
        .await
        .unwrap();
    let report = prune(&rig);
    assert_eq!(entry(&report["kept"], &by_digest)["reason"], "in_use");
}

#[tokio::test]
async fn the_cri_plugins_metadata_says_which_image_a_container_uses() {
    // As containerd writes it up to 2.3, and since.
    for has_target in [false, true] {
        let rig = Rig::quiet().await;
        let [_, new] = two(&rig).await;
        let mut metadata = json!({"ID": "web", "ImageRef": new.manifests[0].config.digest});
        if has_target {
            metadata["ImageDigest"] = json!(new.target.digest);
            metadata["ImageName"] = json!(NEW);
        }
        let value = json!({"Version": "v1", "Metadata": metadata}).to_string();
        let (snapshotter, top) = new.unpacked();
        let parent = top.to_string();
        rig.namespace
            .prepare(snapshotter, "web", &parent, &Labels::new())
            .await
            .unwrap();
        let container = NewContainer::new("web")
            .snapshot(snapshotter, "web")
            .extension(
                "io.cri-containerd.container.metadata",
                "github.com/containerd/cri/pkg/store/container/Metadata",
                value.into_bytes(),
            );
        rig.namespace.create_container(container).await.unwrap();
        assert_eq!(names(&prune(&rig)["removed"]), [OLD], "{has_target}");
    }
}

#[tokio::test]
async fn an_image_mount_is_held_by_its_container_until_it_leaks() {
    const KEY: &str = "0123456789abcdef-image-mount";
    let rig = Rig::quiet().await;
    let data = image("docker.io/library/data:1")
        .layers([Layer::named("data", 800)])
        .unpack("overlayfs");
    let data = data.build(&rig.namespace).await.unwrap();
    let app = build(&rig, NEW, Labels::new()).await;
    rig.namespace.nerdctl_image_mount(KEY, &data).await.unwrap();
    let mounts = labels([("nerdctl/image-mount-snapshots", json!([KEY]).to_string())]);
    rig.namespace
        .nerdctl_container_with("web", &app, mounts)
        .await
        .unwrap();
    let holder = |report: &Value| entry(&report["kept"], data.name())["holders"][0].clone();
    assert_eq!(holder(&prune(&rig))["id"], "web");
    let df = rig.reclaim(&["df"]).exits(0);
    assert_eq!(df.stderr, "", "{df:#?}");

    rig.namespace.delete_container("web").await.unwrap();
    let leaked = holder(&prune(&rig));
    assert_eq!(leaked["role"], "leaked_image_mount");
    assert_eq!(leaked["id"], format!("overlayfs/{KEY}"));
    let hint = format!("ctr -n default snapshots --snapshotter overlayfs rm {KEY}");
    for args in [&["df"][..], &["why", "data:1"]] {
        let output = rig.reclaim(args).exits(0);
        assert!(output.stderr.contains(&hint), "{output:#?}");
    }
}
