//! `reclaim image slim`: parts of images go, and the images stay.

mod platforms;
mod refusals;
mod starts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reclaim_model::{Digest, Platform};
use reclaim_testkit::{BuiltImage, Labels, Layer, Manifest, NamespaceClient, image, index, labels};
use serde_json::Value;

use crate::output::assert_output_snapshot;
use crate::rig::{CommandOutput, Rig, entry, names};

const APP: &str = "docker.io/library/app:1";
const WEB: &str = "docker.io/library/web:1";

const SLIM: [&str; 6] = ["image", "slim", "--format=json", "--grace=10ms", "-f", "-a"];
const NAMED: [&str; 5] = ["image", "slim", "--format=json", "--grace=10ms", "-f"];
const LAYERS: [&str; 1] = ["--layers"];

/// Builds an image that is unpacked, as if it was pulled from the registry of its name.
async fn pulled(namespace: &NamespaceClient, name: &str) -> BuiltImage {
    let built = image(name)
        .layers([Layer::named("base", 2000), Layer::named(name, 900)])
        .unpack("native")
        .build(namespace)
        .await
        .unwrap();
    let repository = name.strip_prefix("docker.io/").unwrap();
    let (repository, _) = repository.split_once(':').unwrap();
    let source = "containerd.io/distribution.source.docker.io";
    let label = namespace.set_blob_label(&built.target.digest, source, repository);
    label.await.unwrap();
    built
}

/// Starts a containerd with an unused image, and one that a container uses. They share a layer.
async fn rig() -> (Rig, BuiltImage, BuiltImage) {
    let rig = Rig::quiet().await;
    let app = pulled(&rig.namespace, APP).await;
    let web = pulled(&rig.namespace, WEB).await;
    rig.namespace.nerdctl_container("web", &web).await.unwrap();
    rig.namespace.collect().await.unwrap();
    (rig, app, web)
}

fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}

async fn snapshots(rig: &Rig) -> BTreeSet<String> {
    let snapshots = rig.namespace.snapshots("native").await.unwrap();
    snapshots.into_keys().collect()
}

async fn blobs(rig: &Rig) -> BTreeSet<Digest> {
    rig.namespace.blobs().await.unwrap().into_keys().collect()
}

fn config(image: &BuiltImage) -> &Digest {
    &image.manifests[0].config.digest
}

fn top(image: &BuiltImage) -> String {
    image.unpacked().1.to_string()
}

fn layers(image: &BuiltImage) -> BTreeSet<Digest> {
    let layers = image.manifests[0].layers.iter();
    layers.map(|layer| layer.digest.clone()).collect()
}

async fn labels_of(rig: &Rig, blob: &Digest) -> Labels {
    rig.namespace.blob_labels(blob).await.unwrap()
}

/// Returns the reason of each image that stays whole, by name.
fn reasons(report: &Value) -> BTreeMap<&str, &str> {
    let kept = report["kept"].as_array().unwrap().iter();
    kept.map(|kept| {
        (
            kept["name"].as_str().unwrap(),
            kept["reason"].as_str().unwrap(),
        )
    })
    .collect()
}

/// Asserts that a run frees what the dry run before it promises, and returns its report.
fn as_promised(dry: &CommandOutput, run: &CommandOutput) -> Value {
    let (dry, run) = (dry.json(), run.json());
    assert_eq!(run["reclaimed"], dry["estimate"]);
    for key in [
        "slimmed",
        "cuts",
        "kept",
        "blobs",
        "snapshots",
        "removed",
        "rows",
    ] {
        assert_eq!(run[key], dry[key], "{key}");
    }
    run
}

#[tokio::test]
async fn frees_the_snapshots_of_unused_images_and_nothing_else() {
    let (rig, app, web) = rig().await;
    let (blobs_before, snapshots_before) = (blobs(&rig).await, snapshots(&rig).await);
    let dry = rig.reclaim(&with(&SLIM, &["--dry-run"])).exits(0);
    assert_eq!(snapshots(&rig).await, snapshots_before);
    let report = as_promised(&dry, &rig.reclaim(&SLIM).exits(0));

    assert_eq!(names(&report["slimmed"]), [APP]);
    let parts = &report["slimmed"][0]["parts"];
    assert_eq!(parts["snapshots"][0], config(&app).to_string());
    assert_eq!(report["snapshots"][0]["key"], top(&app));
    assert_eq!(report["reclaimed"]["snapshots"], 1, "the base is in use");
    assert_eq!(report["rows"].as_array().unwrap().len(), 0);
    let kept = entry(&report["kept"], WEB);
    assert_eq!(kept["reason"], "in_use");
    assert_eq!(kept["holders"][0]["id"], "web");

    let mut expected = snapshots_before.clone();
    expected.remove(&top(&app));
    assert_eq!(snapshots(&rig).await, expected);
    assert_eq!(blobs(&rig).await, blobs_before);
    assert_eq!(rig.names().await, [APP, WEB].map(str::to_owned).into());
    let label = "containerd.io/gc.ref.snapshot.native";
    assert!(!labels_of(&rig, config(&app)).await.contains_key(label));
    assert!(labels_of(&rig, config(&web)).await.contains_key(label));
    // The first run left nothing to free.
    let again = rig.reclaim(&SLIM).exits(0).json();
    assert_eq!(again["reclaimed"]["snapshots"], 0);
    assert_eq!(reasons(&again)[APP], "nothing_to_free");

    // An engine unpacks the image again when it creates the next container.
    let unpacked = pulled(&rig.namespace, APP).await;
    rig.namespace
        .nerdctl_container("app", &unpacked)
        .await
        .unwrap();
    rig.namespace.collect().await.unwrap();
    assert!(snapshots(&rig).await.is_superset(&snapshots_before));
    assert!(labels_of(&rig, config(&app)).await.contains_key(label));
    assert_eq!(reasons(&rig.reclaim(&SLIM).exits(0).json())[APP], "in_use");
}

/// Pullers and builders write labels with different keys; all with the layer as their value go.
#[tokio::test]
async fn frees_the_layers_of_an_image_in_use() {
    let (rig, app, web) = rig().await;
    let manifest = web.target.digest.clone();
    for (key, layer) in [("", 0), (".0", 0), (".7", 1), ("/odd", 1)] {
        let layer = web.manifests[0].layers[layer].digest.to_string();
        let key = format!("containerd.io/gc.ref.content{key}");
        let setting = rig.namespace.set_blob_label(&manifest, &key, &layer);
        setting.await.unwrap();
    }
    let snapshots_before = snapshots(&rig).await;
    let args = with(&NAMED, &["--layers", "web:1"]);
    let dry = rig.reclaim(&with(&args, &["--dry-run"])).exits(0);
    let report = as_promised(&dry, &rig.reclaim(&args).exits(0));

    assert_eq!(names(&report["slimmed"]), [WEB]);
    assert_eq!(
        report["reclaimed"]["blobs"], 1,
        "the other image needs the base"
    );
    assert_eq!(reasons(&report)[APP], "not_named");
    let own = web.manifests[0].layers[1].digest.clone();
    let found = blobs(&rig).await;
    assert!(!found.contains(&own) && found.contains(config(&web)));
    assert!(layers(&app).is_subset(&found));
    assert_eq!(snapshots(&rig).await, snapshots_before);
    let left = labels_of(&rig, &manifest).await;
    assert!(
        !left.values().any(|value| *value == own.to_string()),
        "{left:?}"
    );
    assert_eq!(
        left["containerd.io/gc.ref.content.config"],
        config(&web).to_string()
    );

    // With the other image's layers the shared one goes, too, also what unused images have.
    let rest = rig.reclaim(&with(&SLIM, &LAYERS)).exits(0).json();
    assert_eq!(names(&rest["slimmed"]), [APP, WEB]);
    let found = blobs(&rig).await;
    assert!(found.is_disjoint(&layers(&app)) && found.is_disjoint(&layers(&web)));
    assert_eq!(snapshots(&rig).await, snapshots_before);
}

#[tokio::test]
async fn undo_restores_the_labels_within_the_window() {
    let (rig, app, web) = rig().await;
    let (blobs_before, snapshots_before) = (blobs(&rig).await, snapshots(&rig).await);
    let whole = [
        labels_of(&rig, config(&app)).await,
        labels_of(&rig, &web.target.digest).await,
    ];
    let window = ["--undo-window=1h"];
    rig.reclaim(&with(&SLIM, &window)).exits(0);
    rig.reclaim(&with(&with(&SLIM, &LAYERS), &window)).exits(0);
    rig.namespace.collect().await.unwrap();
    // The journals of the runs are blobs, too.
    assert!(blobs(&rig).await.is_superset(&blobs_before));
    assert_eq!(snapshots(&rig).await, snapshots_before);
    let history = rig.reclaim(&["history", "--format=json"]).exits(0).json();
    for run in history["runs"].as_array().unwrap() {
        assert_eq!(run["labels"], 1);
        assert_eq!(run["images"].as_array().unwrap().len(), 0);
    }
    for _ in 0..2 {
        let undone = rig.reclaim(&["undo"]).exits(0);
        assert_eq!(undone.stdout, "restored: labels of 1 blob\n");
    }
    let now = [
        labels_of(&rig, config(&app)).await,
        labels_of(&rig, &web.target.digest).await,
    ];
    assert_eq!(now, whole);
    assert_eq!(rig.namespace.leases().await.unwrap().len(), 0);
}

/// A container that is created while the labels are gone gets them back, and nothing is freed.
#[tokio::test]
async fn an_image_that_comes_into_use_during_the_run_stays_whole() {
    let (rig, app, _) = rig().await;
    let (whole, before) = (labels_of(&rig, config(&app)).await, snapshots(&rig).await);
    let slim = crate::protocol::start(&rig, &["image", "slim", "-a", "-f", "--grace=3s"]);
    while labels_of(&rig, config(&app)).await == whole {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.namespace.nerdctl_container("late", &app).await.unwrap();
    let ended = crate::protocol::end(slim).exits(0);
    assert_eq!(ended.stdout, "Total reclaimed space: 0B\n");
    let refused = format!("not slimmed: {APP}: its parts came into use or changed\n");
    assert!(ended.stderr.contains(&refused), "{ended:#?}");
    assert_eq!(labels_of(&rig, config(&app)).await, whole);
    rig.namespace.collect().await.unwrap();
    assert!(snapshots(&rig).await.is_superset(&before));
}

#[tokio::test]
async fn finds_images_by_name_digest_and_id() {
    let (rig, app, _) = rig().await;
    let target = &app.target.digest;
    for name in [
        "app:1".to_owned(),
        format!("app@{target}"),
        target.to_string(),
        config(&app).to_string(),
        config(&app).hex()[..12].to_owned(),
    ] {
        let args = with(&NAMED, &["--dry-run", &name]);
        let report = rig.reclaim(&args).exits(0).json();
        assert_eq!(names(&report["slimmed"]), [APP], "{name}");
        assert_eq!(reasons(&report)[WEB], "not_named", "{name}");
        assert_eq!(report["named"][0]["problem"], Value::Null, "{name}");
    }
}

/// The others are slimmed nevertheless, and a named image that stays whole is not a failure.
#[tokio::test]
async fn reports_unknown_names_and_names_that_stay_whole() {
    let (rig, app, _) = rig().await;
    let args = [
        "image",
        "slim",
        "-f",
        "--grace=10ms",
        "app:1",
        "nothing:1",
        "web:1",
    ];
    let output = rig.reclaim(&args).exits(1);
    let expected =
        format!("error: No such image: nothing:1\nnot slimmed: {WEB}: in use: container web\n");
    assert_eq!(output.stderr, expected);
    assert!(output.stdout.starts_with("Slimmed:\n"), "{output:#?}");
    assert!(!snapshots(&rig).await.contains(&top(&app)));
    rig.reclaim(&["image", "slim", "-f", "web:1"]).exits(0);
    let named = rig.reclaim(&with(&NAMED, &["nothing:1"])).exits(1).json();
    assert_eq!(named["named"][0]["problem"], "no_such_image");
}

/// Needs either names or `--all`, and says so.
#[test]
fn wrong_usage_changes_nothing() {
    for (args, message) in [
        (&[][..], "<--all|IMAGE>"),
        (
            &["--all", "app:1"],
            "'--all' cannot be used with '[IMAGE]...'",
        ),
        (
            &["--build-history", "app:1"],
            "'--build-history' cannot be used with '[IMAGE]...'",
        ),
        (&["--docker-layers", "--all"], "--layers"),
        (&["--all", "--filter", "colour=x"], "accepted filters are"),
        (&["--all", "--platform", "linux/s390x"], "--platforms"),
        (
            &["--all", "--platforms", "--platform", "s390x"],
            "expected OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64",
        ),
    ] {
        let args = with(&["image", "slim"], args);
        let output = crate::rig::call("/nonexistent", "", &args).exits(2);
        assert!(output.stderr.contains(message), "{output:#?}");
    }
}

#[tokio::test]
async fn asks_before_it_frees_anything() {
    let (rig, app, _) = rig().await;
    let args = ["image", "slim", "--all", "--grace=10ms"];
    let before = snapshots(&rig).await;
    let declined = rig.reclaim_with("n\n", &args).exits(0);
    assert_eq!(declined.stdout, "");
    assert_output_snapshot!(declined.stderr, @"
    IMAGE  TARGET  PARTS
    app:1  ID  snapshots

    1 image, SIZE: 0 blobs of SIZE, 1 snapshot of SIZE
    Snapshots: the next container of an image unpacks them again, which needs room and no network
    WARNING! This will free the parts of images above.
    Are you sure you want to continue? [y/N]
    ");
    assert_eq!(snapshots(&rig).await, before);
    let dry = rig
        .reclaim(&with(&args, &["--dry-run", "--layers", "--snapshots"]))
        .exits(0);
    assert_output_snapshot!(dry.stdout, @"
    Would slim:
    IMAGE  TARGET  PARTS
    app:1  ID  snapshots
    web:1  ID  layers

    Would slim 2 images and reclaim SIZE: 1 blob of SIZE, 1 snapshot of SIZE
    Snapshots: the next container of an image unpacks them again, which needs room and no network
    Layers: a push or an export needs them, and a pull does not fetch them while the image is unpacked
    nothing was freed (dry run)
    ");
    let named = with(&args[..2], &["--dry-run", "web:1"]);
    let named = rig.reclaim(&named).exits(0);
    assert_output_snapshot!(named.stdout, @"
    Would stay whole:
    IMAGE  TARGET  REASON
    web:1  ID  in use: container web

    Would slim 0 images and reclaim SIZE: 0 blobs of SIZE, 0 snapshots of SIZE
    nothing was freed (dry run)
    ");
    let done = rig.reclaim_with("y\n", &args).exits(0);
    assert_output_snapshot!(done.stdout, @"
    Slimmed:
    IMAGE  TARGET  PARTS
    app:1  ID  snapshots

    Total reclaimed space: SIZE
    ");
    assert!(!snapshots(&rig).await.contains(&top(&app)));
    // Nothing is left to ask about.
    let nothing = rig.reclaim(&args).exits(0);
    assert_eq!(
        (&*nothing.stdout, &*nothing.stderr),
        ("Total reclaimed space: 0B\n", "")
    );
}

/// The host's platform stays, and so does the image.
#[tokio::test]
async fn frees_platforms_that_the_machine_does_not_run() {
    let rig = Rig::quiet().await;
    let name = "docker.io/library/multi:1";
    let host = Platform::host();
    let host = format!("{}/{}", host.os, host.architecture);
    let manifest = |platform: &str| {
        let layers = [Layer::named("all", 800), Layer::named(platform, 700)];
        Manifest::new(platform).layers(layers)
    };
    let built = index(name)
        .manifest(manifest(&host).unpack("native"))
        .manifest(manifest("linux/s390x"))
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
    let before = snapshots(&rig).await;
    let args = with(&SLIM, &["--platforms"]);
    let dry = rig.reclaim(&with(&args, &["--dry-run"])).exits(0);
    let report = as_promised(&dry, &rig.reclaim(&args).exits(0));
    let parts = &report["slimmed"][0]["parts"];
    assert_eq!(parts["platforms"][0], target.to_string());
    // Its manifest, its configuration and its own layer.
    assert_eq!(report["reclaimed"]["blobs"], 3);
    let found = blobs(&rig).await;
    let [kept, gone] = &built.manifests[..] else {
        panic!("{built:?}");
    };
    assert!(found.contains(&kept.manifest.digest) && found.contains(target));
    assert!(!found.contains(&gone.manifest.digest));
    assert_eq!(snapshots(&rig).await, before);
    assert_eq!(rig.names().await, [name.to_owned()].into());
}

/// A name of others cannot control the terminal or add a line.
#[tokio::test]
async fn prints_no_control_characters() {
    let rig = Rig::quiet().await;
    let name = "docker.io/library/a:1\u{1b}]0;x\u{7}\nforged: line";
    let built = image(name)
        .layers([Layer::named("a", 700)])
        .unpack("native")
        .record_labels(labels([("a", "b")]))
        .build(&rig.namespace);
    if built.await.is_err() {
        // Newer servers refuse the name.
        return;
    }
    let output = rig
        .reclaim(&["image", "slim", "-a", "-f", "--grace=10ms"])
        .exits(0);
    let printed = format!("{}{}", output.stdout, output.stderr);
    assert!(printed.contains("Slimmed:"), "{printed}");
    assert!(
        !printed.lines().any(|line| line.starts_with("forged")),
        "{printed}"
    );
    assert!(!printed.contains('\u{1b}'), "{printed}");
}
