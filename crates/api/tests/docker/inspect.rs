//! `GET /images/{name}/json` and `/images/{name}/history`.

use reclaim_fake::Labels;
use serde_json::{Value, json};

use crate::stage::{CONFIG, LAYER, MANIFEST, Stage, platform};

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn a_platform_is_shown_by_its_own_manifest() {
    let stage = Stage::set();
    let amd64 = stage.platform("linux/amd64");
    let arm64 = stage.platform("linux/arm64");
    let index = stage.index("app:1", &[&amd64, &arm64]);
    let whole = stage.get("/v1.51/images/app:1/json").await;
    assert_eq!(whole["Id"], index);
    assert_eq!(whole["Descriptor"]["digest"], index);
    for of in ["linux/arm64", "linux/aarch64"] {
        let path = format!("/v1.51/images/app:1/json?{}", platform(of));
        let part = stage.get(&path).await;
        assert_eq!(part["Id"], arm64["digest"]);
        assert_eq!(part["Descriptor"], arm64);
        assert_eq!(part["Architecture"], "arm64");
        assert_eq!(part["RepoTags"], json!(["app:1"]));
    }
    // Before 1.49 there is no such parameter.
    let path = format!("/v1.48/images/app:1/json?{}", platform("plan9/mips"));
    assert_eq!(stage.get(&path).await["Id"], index);
}

#[tokio::test]
async fn an_absent_platform_has_empty_fields() {
    let stage = Stage::set();
    let absent = Stage::absent("linux/arm64");
    stage.index("app:1", &[&stage.platform("linux/amd64"), &absent]);
    let path = format!("images/app:1/json?{}", platform("linux/arm64"));
    let shown = stage.get(&format!("/v1.57/{path}")).await;
    assert_eq!(shown["Id"], absent["digest"]);
    assert_eq!(shown["Descriptor"], absent);
    assert_eq!(shown["Architecture"], "");
    assert_eq!(shown["Os"], "");
    assert_eq!(shown["Config"], json!({}));
    assert_eq!(shown["RootFS"], json!({}));
    assert_eq!(shown.get("Created"), None);
    assert_eq!(shown["Size"], 0);
    let path = format!("/v1.51/images/app:1/json?{}", platform("linux/s390x"));
    let lacking = stage.ask("GET", &path).await;
    let message = "image with reference app:1 was found but does not provide the specified \
                   platform (linux/s390x)";
    assert_eq!(lacking.refused(404), message);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_invented() {
    let stage = Stage::set();
    let torn = stage.blob(MANIFEST, b"{\"layers\": 1}", Labels::new());
    stage.record("torn:1", &torn);
    let layer = stage.blob(LAYER, b"files", Labels::new());
    let lost = json!({"mediaType": CONFIG, "digest": format!("sha256:{}", "5".repeat(64)),
                      "size": 100});
    let manifest = json!({"mediaType": MANIFEST, "config": lost, "layers": [layer]});
    stage.record("cut:1", &stage.document(MANIFEST, &manifest));
    for name in ["torn:1", "cut:1"] {
        let shown = stage.get(&format!("/v1.57/images/{name}/json")).await;
        let expected = [
            "Architecture",
            "Config",
            "Descriptor",
            "Id",
            "Metadata",
            "Os",
            "RepoDigests",
            "RepoTags",
            "RootFS",
            "Size",
        ];
        assert_eq!(keys(&shown), expected, "{shown:#}");
        assert_eq!(
            (&shown["Architecture"], &shown["Os"]),
            (&json!(""), &json!(""))
        );
        assert!(shown["Size"].as_u64().unwrap() > 0, "{shown:#}");
        let old = stage.get(&format!("/v1.43/images/{name}/json")).await;
        assert_eq!(old["Created"], "0001-01-01T00:00:00Z");
        let history = stage
            .ask("GET", &format!("/v1.57/images/{name}/history"))
            .await;
        let message =
            format!("image with reference {name} was found but does not provide any platform");
        assert_eq!(history.refused(404), message);
    }
}

/// The images of moby's own tests have no schema version.
#[tokio::test]
async fn a_manifest_is_read_whatever_its_schema_version() {
    let stage = Stage::set();
    let layer = stage.blob(LAYER, b"files", Labels::new());
    let config = json!({"os": "linux", "architecture": "amd64", "config": {"Env": ["A=b"]},
                        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = stage.document(CONFIG, &config);
    for (name, version) in [
        ("zero:1", json!(0)),
        ("one:1", json!(1)),
        ("null:1", Value::Null),
    ] {
        let manifest = json!({"schemaVersion": version, "mediaType": MANIFEST, "config": config,
                              "layers": [layer]});
        stage.record(name, &stage.document(MANIFEST, &manifest));
        let shown = stage.get(&format!("/v1.52/images/{name}/json")).await;
        assert_eq!(shown["Architecture"], "amd64");
        assert_eq!(shown["Config"], json!({"Env": ["A=b"]}));
        assert_eq!(shown["RootFS"]["Layers"], json!([layer["digest"]]));
    }
}

#[tokio::test]
async fn fields_are_those_of_the_version() {
    let stage = Stage::set();
    let amd64 = stage.platform("linux/amd64");
    let index = stage.index("app:1", &[&amd64]);
    let shown = async |version: &str| {
        let path = format!("/v{version}/images/app:1/json");
        stage.get(&path).await
    };
    for (version, has_container) in [("1.40", true), ("1.44", true), ("1.45", false)] {
        let shown = shown(version).await;
        assert_eq!(shown.get("Container").is_some(), has_container, "{version}");
        assert_eq!(
            shown.get("ContainerConfig").is_some(),
            has_container,
            "{version}"
        );
    }
    let newest = shown("1.57").await;
    let old = shown("1.51").await;
    assert_eq!(newest["Created"], "2026-01-02T03:04:05.12Z");
    // The host name of the container that built it is not the image's.
    assert_eq!(
        newest["Config"],
        json!({"Labels": {"platform": "linux/amd64"}, "Cmd": ["x"]})
    );
    assert_eq!(old["Config"].get("Hostname"), None);
    assert_eq!(shown("1.49").await["Config"]["Hostname"], "");
    let size = |shown: &Value| shown["Size"].as_u64().unwrap();
    let index_size = old["Descriptor"]["size"].as_u64().unwrap();
    assert_eq!(old["Id"], index);
    // Nothing is unpacked. Up to 1.55 the index counts.
    assert_eq!(size(&shown("1.55").await), size(&old));
    assert_eq!(size(&newest), size(&old) - index_size);
}

#[tokio::test]
async fn the_history_of_a_platform_is_that_of_a_machine_that_runs_it() {
    let stage = Stage::set();
    let amd64 = stage.platform("linux/amd64");
    let index = stage.index("app", &[&amd64]);
    stage
        .fake
        .change(|state| state.remove_image(crate::stage::NAMESPACE, "docker.io/library/app"));
    let index_descriptor = json!({"mediaType": crate::stage::INDEX, "digest": index, "size": 1});
    stage.record("app:latest", &index_descriptor);
    // The configuration has no history, which is null in Docker.
    assert_eq!(stage.get("/v1.51/images/app/history").await, Value::Null);
    let path = format!("/v1.51/images/app/history?{}", platform("linux/s390x"));
    let lacking = stage.ask("GET", &path).await;
    let message = "image with reference app:latest was found but does not provide the specified \
                   platform (linux/s390x)";
    assert_eq!(lacking.refused(404), message);
    let path = format!("/v1.51/images/app/history?{}", platform("{"));
    let bad = stage.ask("GET", &path).await;
    assert_eq!(
        bad.refused(400),
        "failed to parse platform: unexpected end of JSON input"
    );
    let path = format!("/v1.47/images/app/history?{}", platform("{"));
    assert_eq!(stage.get(&path).await, Value::Null);
}
