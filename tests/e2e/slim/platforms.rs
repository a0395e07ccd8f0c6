//! Platforms that are freed by name, and what `image ls` shows before and after slims.

use reclaim_model::Platform;
use reclaim_testkit::{Layer, Manifest, index};
use serde_json::{Value, json};

use super::{LAYERS, NAMED, SLIM, as_promised, pulled, with};
use crate::output::assert_output_snapshot;
use crate::rig::{Rig, entry, names};

const MULTI: &str = "docker.io/library/multi:1";

fn host() -> String {
    Platform::host().to_string()
}

/// Builds an image for three platforms; the host's is unpacked.
async fn multi(rig: &Rig) {
    let manifest = |platform: &str| {
        let layers = [Layer::named("all", 800), Layer::named(platform, 700)];
        Manifest::new(platform).layers(layers)
    };
    let built = index(MULTI)
        .manifest(manifest(&host()).unpack("native"))
        .manifest(manifest("linux/s390x"))
        .manifest(manifest("linux/riscv64"))
        .build(&rig.namespace)
        .await
        .unwrap();
    let source = "containerd.io/distribution.source.docker.io";
    let target = &built.target.digest;
    let label = rig
        .namespace
        .set_blob_label(target, source, "library/multi");
    label.await.unwrap();
    rig.namespace.collect().await.unwrap();
}

fn layers(rig: &Rig, name: &str) -> Vec<Value> {
    let list = rig.reclaim(&["image", "ls", "--format=json"]).exits(0);
    let layers = entry(&list.json()["images"], name)["layers"].clone();
    layers.as_array().unwrap().clone()
}

/// The platforms of an image, sorted.
fn platforms(rig: &Rig) -> Vec<String> {
    let layers = layers(rig, MULTI).into_iter();
    let mut platforms: Vec<String> = layers
        .map(|it| {
            let platform: Platform = serde_json::from_value(it["platform"].clone()).unwrap();
            platform.to_string()
        })
        .collect();
    platforms.sort();
    platforms
}

#[tokio::test]
async fn frees_only_the_named_platform() {
    let rig = Rig::quiet().await;
    multi(&rig).await;
    let mut expected = vec![host(), "linux/riscv64".to_owned(), "linux/s390x".to_owned()];
    expected.sort();
    assert_eq!(platforms(&rig), expected);

    let args = ["--platforms", "--platform", "linux/s390x", "multi:1"];
    let args = with(&NAMED, &args);
    let dry = rig.reclaim(&with(&args, &["--dry-run"])).exits(0);
    let report = as_promised(&dry, &rig.reclaim(&args).exits(0));
    assert_eq!(names(&report["slimmed"]), [MULTI]);
    // Its manifest, its configuration and its own layer.
    assert_eq!(report["reclaimed"]["blobs"], 3);
    expected.retain(|it| it != "linux/s390x");
    assert_eq!(platforms(&rig), expected);

    // The error names what is left; the other names are slimmed nevertheless.
    let again = rig.reclaim(&args).exits(1).json();
    let named = &again["named"][0];
    assert_eq!(named["problem"], "no_such_platform");
    let expected = expected.join(", ");
    let message = format!("multi:1 does not have linux/s390x; its platforms here are {expected}");
    assert_eq!(named["message"], message);
    let text = rig.reclaim(&[
        "image",
        "slim",
        "-f",
        "--platforms",
        "--platform=linux/s390x",
        "multi:1",
    ]);
    let text = text.exits(1);
    assert!(
        text.stderr.starts_with(&format!("error: {message}\n")),
        "{text:#?}"
    );

    // For all images a platform that none has is nothing to free.
    let all = with(&SLIM, &["--platforms", "--platform", "linux/s390x"]);
    let all = rig.reclaim(&all).exits(0).json();
    assert_eq!(all["kept"][0]["reason"], "nothing_to_free");

    // Also one that the machine runs, but not the last one.
    let host = host();
    let both = [
        "--platforms",
        "--platform",
        &host,
        "--platform=linux/riscv64",
        "multi:1",
    ];
    let both = rig.reclaim(&with(&NAMED, &both)).exits(0).json();
    assert_eq!(both["kept"][0]["reason"], "last_platform");
    let one = ["--platforms", "--platform", &host, "multi:1"];
    rig.reclaim(&with(&NAMED, &one)).exits(0);
    assert_eq!(platforms(&rig), ["linux/riscv64"]);
}

/// The list shows both copies, and then the one that is left.
#[tokio::test]
async fn the_list_shows_which_copies_an_image_has() {
    let rig = Rig::quiet().await;
    for name in ["docker.io/library/app:1", "docker.io/library/web:1"] {
        let built = pulled(&rig.namespace, name).await;
        if name.contains("web") {
            rig.namespace
                .nerdctl_container("web", &built)
                .await
                .unwrap();
        }
    }
    multi(&rig).await;
    let app = &layers(&rig, "docker.io/library/app:1")[0];
    assert_eq!(
        [&app["total"], &app["packed"], &app["unpacked"]],
        [&json!(2), &json!(2), &json!({"native": 2})]
    );
    rig.reclaim(&with(&NAMED, &["app:1"])).exits(0);
    rig.reclaim(&with(&with(&NAMED, &LAYERS), &["web:1"]))
        .exits(0);
    let list = rig.reclaim(&["image", "ls"]).exits(0);
    assert_output_snapshot!(list.stdout, @"
    IMAGE  TARGET  CONTENT  UNPACKED  SHARED  CREATED  USED  VERDICT  LAYERS
    app:1  ID  SIZE  SIZE  SIZE  AGE  unknown  unused  packed
    multi:1  ID  SIZE  SIZE  SIZE  AGE  unknown  unused  both
    web:1  ID  SIZE  SIZE  SIZE  AGE  unknown  used  unpacked, 1 of 2 missing
    ");
    let app = &layers(&rig, "docker.io/library/app:1")[0];
    assert_eq!([&app["packed"], &app["unpacked"]], [&json!(2), &json!({})]);
    let web = &layers(&rig, "docker.io/library/web:1")[0];
    assert_eq!(
        [&web["packed"], &web["unpacked"]],
        [&json!(1), &json!({"native": 2})]
    );
}
