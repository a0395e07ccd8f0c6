//! How the daemon decodes filters, compared with Docker's texts.

use reclaim_testkit::{Labels, Layer, image, labels};

use crate::daemon::Daemon;
use crate::rig::Rig;

#[tokio::test]
async fn refuses_invalid_filters_with_dockers_texts() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let long = "k".repeat(4097);
    let too_long = format!(r#"{{"label":["{long}"]}}"#);
    for (filters, message) in [
        ("anything", "invalid filter"),
        ("['a']", "invalid filter"),
        (r#"{"key":"value"}"#, "invalid filter"),
        (r#"{"dangling":true}"#, "invalid filter"),
        (r#"{"a":["x"],"b":{"y":true}}"#, "invalid filter"),
        ("[]", "invalid filter"),
        (r#"{"reference":["a"]}"#, "invalid filter 'reference'"),
        (r#"{"before":["a"]}"#, "invalid filter 'before'"),
        (r#"{"foo":{}}"#, "invalid filter 'foo'"),
        (r#"{"dangling":{}}"#, "invalid filter 'dangling'"),
        (r#"{"dangling":[]}"#, "invalid filter 'dangling'"),
        (
            r#"{"dangling":["potato"]}"#,
            "invalid filter 'dangling=[potato]'",
        ),
        (
            r#"{"dangling":["True"]}"#,
            "invalid filter 'dangling=[True]'",
        ),
        (
            r#"{"dangling":["true","false"]}"#,
            "invalid filter 'dangling=[false true]'",
        ),
        (
            r#"{"dangling":{"true":false}}"#,
            "invalid filter 'dangling=[true]'",
        ),
        (
            r#"{"until":["1d"]}"#,
            "invalid value for 'until' filter: failed to parse value as time or duration: \
             invalid seconds \"1d\": invalid syntax",
        ),
        (
            r#"{"until":[""]}"#,
            "invalid value for 'until' filter: failed to parse value as time or duration: value \
             is empty",
        ),
        (
            &too_long,
            "label key and value length (4097 bytes) greater than maximum size (4096 bytes), key: \
             kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk: invalid argument",
        ),
    ] {
        assert_eq!(
            daemon.prune(filters).await.refused(400),
            message,
            "{filters}"
        );
    }
}

/// Both forms of a filter, one or several labels, and labels that an image has or lacks.
#[tokio::test]
async fn selects_images_by_label() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let all = |filter: &str| format!(r#"{{"dangling":["false"],{filter}}}"#);
    let objects = |filter: &str| format!(r#"{{"dangling":{{"false":true}},{filter}}}"#);
    for (filters, gone) in [
        (all(r#""label":["x"]"#), vec!["x"]),
        (objects(r#""label":{"x":true}"#), vec!["x"]),
        (objects(r#""label":{"x":false}"#), vec!["x"]),
        (all(r#""label!":["x"]"#), vec!["k", "none"]),
        (all(r#""label":["k="]"#), vec!["k"]),
        (all(r#""label":["k=v"]"#), vec![]),
        (all(r#""label!":["k=v"]"#), vec!["k", "none", "x"]),
        (all(r#""label":["x","k"]"#), vec![]),
        (all(r#""label!":["x","k"]"#), vec!["none"]),
        (all(r#""label":["x"],"until":["24h"]"#), vec![]),
    ] {
        for (name, of_config) in [
            ("x", labels([("x", "1")])),
            ("k", labels([("k", "")])),
            ("none", Labels::new()),
        ] {
            image(&format!("docker.io/library/{name}:latest"))
                .config_labels(of_config)
                .layers([Layer::named(name, 2000)])
                .build(&rig.namespace)
                .await
                .unwrap();
        }
        let body = daemon.prune(&filters).await.done();
        let rows = body["ImagesDeleted"].as_array().into_iter().flatten();
        let untagged = rows.filter_map(|row| row["Untagged"].as_str());
        let gone: Vec<String> = gone.iter().map(|name| format!("{name}:latest")).collect();
        assert_eq!(untagged.collect::<Vec<_>>(), gone, "{filters}");
        assert_eq!(rig.names().await.len(), 3 - gone.len(), "{filters}");
    }
}

/// Like Go's `net/http`, the daemon also reads a form in the body.
#[tokio::test]
async fn reads_filters_from_a_form() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let path = "/images/prune";
    let form = ("content-type", "application/x-www-form-urlencoded");
    let bad = daemon.ask_with("POST", path, &[form], "filters=x").await;
    assert_eq!(bad.refused(400), "invalid filter");
    let plain = ("content-type", "text/plain");
    let ignored = daemon.ask_with("POST", path, &[plain], "filters=x").await;
    ignored.done();
    daemon.ask_with("POST", path, &[plain], "").await.done();
}
