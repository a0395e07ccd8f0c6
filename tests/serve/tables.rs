//! All forms of the filters `until` and `dangling`, and of labels that may be unknown. Each has an
//! effect: an image is removed, or kept.

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::{Descriptor, Labels, Layer, Manifest, image, index, labels};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::rig::Rig;

async fn with_daemon() -> (Rig, Daemon) {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    (rig, daemon)
}

async fn build(rig: &Rig, name: &str) {
    let name = format!("docker.io/library/{name}");
    let built = image(&name).layers([Layer::named(&name, 900)]);
    built.build(&rig.namespace).await.unwrap();
}

/// Times in the past, in every form of Docker's own tests.
const PAST: [&str; 34] = [
    "2006-01-02T15:04:05.999999999+07:00",
    "2006-01-02T15:04:05.999999999Z",
    "2006-01-02T15:04:05.999999999",
    "2006-01-02T15:04:05Z",
    "2006-01-02T15:04:05",
    "2006-01-02T15:04Z",
    "2006-01-02T15:04+00:00",
    "2006-01-02T15:04-00:00",
    "2006-01-02T15:04",
    "2006-01-02T15Z",
    "2006-01-02T15+00:00",
    "2006-01-02T15-00:00",
    "2006-01-02T15",
    "2006-01-02T1Z",
    "2006-01-02T1",
    "2006-01-02+00:00",
    "2006-01-02-00:00",
    "2006-01-02-00:01",
    "2006-01-02Z",
    "2006-01-02",
    "2015-05-13T20:39:09Z",
    "1136073600",
    "1136073600.000000001",
    "1136073600.",
    "1136073600.00000000000000000000",
    "1h",
    "1.5h",
    "1h30m",
    "90m0s",
    "+24h",
    "1h1ms1us1ns",
    "1h1µs",
    "0",
    "10",
];

/// Times in the future.
const FUTURE: [&str; 10] = [
    "-24h",
    "-1m",
    "-1h30m",
    "2099-01-02T15:04:05.999999999+07:00",
    "2099-01-02T15:04:05Z",
    "2099-01-02T15:04",
    "2099-01-02T15-00:00",
    "2099-01-02",
    "4102444800",
    "4102444800.5",
];

/// Texts that are not a time.
const INVALID: [&str; 17] = [
    "2006-01-02T15:04:0Z",
    "2006-01-02T15:04:0",
    "2006-01-02T15:0Z",
    "2006-01-02T15:0",
    "2006-01-02TZ",
    "2006-01-02T",
    "1136073600.000000000000000000000",
    " 1136073600 ",
    "foo.bar",
    "1136073600.bar",
    "1136073600.000000001bar",
    "invalid",
    "",
    " ",
    "1d",
    "-5",
    "2006-01-02T15:04:05+0700",
];

/// A past time keeps a new image, a future time removes it, and other texts are refused.
#[tokio::test]
async fn reads_every_form_of_until() {
    let (rig, daemon) = with_daemon().await;
    let until = |value: &str| json!({"dangling": ["false"], "until": [value]}).to_string();
    build(&rig, "app:1").await;
    for value in PAST {
        let body = daemon.prune(&until(value)).await.done();
        assert_eq!(body["ImagesDeleted"], Value::Null, "{value}");
    }
    for value in INVALID {
        let message = daemon.prune(&until(value)).await.refused(400);
        let begin = "invalid value for 'until' filter: ";
        assert!(message.starts_with(begin), "{value}: {message}");
    }
    assert_eq!(rig.names().await.len(), 1);
    for value in FUTURE {
        let body = daemon.prune(&until(value)).await.done();
        let untagged = &body["ImagesDeleted"][0]["Untagged"];
        assert_eq!(untagged, "app:1", "{value}");
        build(&rig, "app:1").await;
    }
    // An image must match all values.
    let both = r#"{"dangling":["false"],"until":["-24h","1h"]}"#;
    let body = daemon.prune(both).await.done();
    assert_eq!(body["ImagesDeleted"], Value::Null);
}

/// An image that was created at the given time stays, and one that was created before is removed.
/// Tests cannot set the clock of a prune, so the time is absolute, in both forms with nanoseconds.
#[tokio::test]
async fn until_is_exact_to_the_nanosecond() {
    let (rig, daemon) = with_daemon().await;
    let forms: [fn(Timestamp) -> String; 2] = [
        |moment| moment.to_string(),
        |moment| {
            let (seconds, rest) = (moment.as_second(), moment.subsec_nanosecond());
            format!("{seconds}.{rest:09}")
        },
    ];
    for form in forms {
        build(&rig, "app:1").await;
        let name = "docker.io/library/app:1";
        let created = rig.namespace.image_record(name).await.unwrap().created_at;
        let until = |value: String| json!({"dangling": ["false"], "until": [value]}).to_string();
        let body = daemon.prune(&until(form(created))).await.done();
        assert_eq!(body["ImagesDeleted"], Value::Null, "{created}");
        let after = created + SignedDuration::from_nanos(1);
        let body = daemon.prune(&until(form(after))).await.done();
        assert_eq!(body["ImagesDeleted"][0]["Untagged"], "app:1", "{after}");
    }
}

/// Pulling again updates a record. Like Docker, `until` uses the time of its creation.
#[tokio::test]
async fn until_ignores_updates_of_a_record() {
    let (rig, daemon) = with_daemon().await;
    build(&rig, "app:1").await;
    let name = "docker.io/library/app:1";
    let record = rig.namespace.image_record(name).await.unwrap();
    rig.namespace
        .update_image(name, &record.target, &record.labels)
        .await
        .unwrap();
    let updated = rig.namespace.image_record(name).await.unwrap().updated_at;
    let between = record.created_at + SignedDuration::from_nanos(1);
    assert!(between < updated, "{record:?}");
    let filters = json!({"dangling": ["false"], "until": [between.to_string()]}).to_string();
    let body = daemon.prune(&filters).await.done();
    assert_eq!(body["ImagesDeleted"][0]["Untagged"], "app:1");
}

/// Also filters without `dangling`, and no filters.
#[tokio::test]
async fn reads_every_form_of_dangling() {
    let (rig, daemon) = with_daemon().await;
    let only = [
        "",
        "null",
        "{}",
        r#"{"dangling":["true"]}"#,
        r#"{"dangling":["1"]}"#,
        r#"{"dangling":["true","1","true"]}"#,
        r#"{"dangling":["true","potato"]}"#,
        r#"{"dangling":{"true":true}}"#,
        r#"{"dangling":{"1":true}}"#,
    ];
    let all = [
        r#"{"dangling":["false"]}"#,
        r#"{"dangling":["0"]}"#,
        r#"{"dangling":{"false":true}}"#,
        r#"{"dangling":{"0":true,"false":true}}"#,
    ];
    let forms = only.map(|form| (form, 1)).into_iter();
    for (filters, n_left) in forms.chain(all.map(|form| (form, 0))) {
        build(&rig, "app:1").await;
        let passing = image("docker.io/library/passing:1")
            .layers([Layer::named("nameless", 900)])
            .build(&rig.namespace)
            .await
            .unwrap();
        passing.dangling(&rig.namespace).await.unwrap();
        let name = passing.name();
        let deletion = reclaim_testkit::Deletion::Async;
        rig.namespace.delete_image(name, deletion).await.unwrap();
        daemon.prune(filters).await.done();
        assert_eq!(rig.names().await.len(), n_left, "{filters}");
    }
    // No parameter means the same as an empty one.
    build(&rig, "app:1").await;
    daemon.ask("POST", "/images/prune").await.done();
    assert_eq!(rig.names().await.len(), 1);
}

/// Labels of several platforms, of missing platforms and attestations, and of configurations that
/// are missing or invalid. A filter keeps an image if any of its labels may match.
#[tokio::test]
async fn keeps_images_that_may_have_a_protecting_label() {
    let (rig, daemon) = with_daemon().await;
    let part = |platform, labels: Labels| {
        let layer = Layer::named(platform, 900);
        Manifest::new(platform)
            .layers([layer])
            .config_labels(labels)
    };
    let named = |name: &str| format!("docker.io/library/{name}:1");
    broken(&rig, &named("broken")).await;
    let keep = || labels([("keep", "1")]);
    for built in [
        index(&named("multi"))
            .manifest(part("linux/amd64", keep()))
            .manifest(part("linux/arm64", Labels::new())),
        index(&named("partly"))
            .manifest(part("linux/amd64", keep()))
            .manifest(part("linux/s390x", Labels::new()).absent()),
        index(&named("attested")).manifest(part("linux/amd64", keep()).attested()),
    ] {
        built.build(&rig.namespace).await.unwrap();
    }
    let bare = image(&named("bare"))
        .layers([Layer::named("bare", 900)])
        .build(&rig.namespace)
        .await
        .unwrap();
    let config = &bare.manifests[0].config.digest;
    rig.namespace.delete_blob(config).await.unwrap();
    let before = rig.names().await;
    assert_eq!(before.len(), 5);
    let prune = async |filter: &str| {
        let filters = format!(r#"{{"dangling":["false"],{filter}}}"#);
        daemon.prune(&filters).await.done()["ImagesDeleted"].clone()
    };
    for filter in [
        r#""label!":["keep"]"#,
        r#""label!":["keep=1"]"#,
        r#""label!":["x","keep"]"#,
        r#""label":["x"]"#,
        // The first filter alone would remove some.
        r#""label":["keep"],"until":["1h"]"#,
        r#""label":["keep"],"label!":["keep=1"]"#,
    ] {
        assert_eq!(prune(filter).await, Value::Null, "{filter}");
    }
    assert_eq!(rig.names().await, before);
    prune(r#""label":["keep"]"#).await;
    let left = rig.names().await.into_iter().collect::<Vec<_>>();
    assert_eq!(left, [named("bare"), named("broken")]);
}

/// Creates an image whose configuration is not JSON.
async fn broken(rig: &Rig, name: &str) {
    let bytes = b"{\"config\": {";
    let namespace = &rig.namespace;
    let config = namespace.write_blob(bytes, &Labels::new()).await.unwrap();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.to_string(),
            "size": bytes.len(),
        },
        "layers": [],
    })
    .to_string();
    let reference = labels([("containerd.io/gc.ref.content.config", &*config.to_string())]);
    let digest = namespace
        .write_blob(manifest.as_bytes(), &reference)
        .await
        .unwrap();
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest,
        size: manifest.len() as u64,
    };
    namespace
        .create_image(name, &target, &Labels::new())
        .await
        .unwrap();
}
