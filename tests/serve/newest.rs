//! Differences between API 1.52 and 1.51: totals of disk usage, and no empty fields.

use reclaim_testkit::{Layer, image};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::rig::Rig;

/// A daemon with a used and an unused image, which share a layer.
async fn two_images() -> (Rig, Daemon) {
    let rig = Rig::start().await;
    let build = async |name: &str, seed| {
        image(&format!("docker.io/library/{name}:1"))
            .layers([Layer::named("base", 2000), Layer::random(seed, 900)])
            .unpack("native")
            .build(&rig.namespace)
            .await
            .unwrap()
    };
    let used = build("used", 1).await;
    build("unused", 2).await;
    rig.namespace.nerdctl_container("web", &used).await.unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    (rig, daemon)
}

fn keys(object: &Value) -> Vec<&str> {
    let object = object.as_object().unwrap();
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

const LISTS: [&str; 5] = [
    "BuildCache",
    "Containers",
    "Images",
    "LayersSize",
    "Volumes",
];
const SUMS: [&str; 4] = [
    "BuildCacheUsage",
    "ContainerUsage",
    "ImageUsage",
    "VolumeUsage",
];

/// Lists up to 1.51; lists and totals in 1.52; with `verbose`, only totals.
#[tokio::test]
async fn disk_usage_has_the_fields_of_its_api_version() {
    let (_rig, daemon) = two_images().await;
    let df = async |path: &str| daemon.ask("GET", path).await.done();
    let old = df("/v1.51/system/df?verbose=1").await;
    assert_eq!(keys(&old), LISTS);
    let both = df("/v1.52/system/df").await;
    let mut expected = [&LISTS[..], &SUMS].concat();
    expected.sort_unstable();
    assert_eq!(keys(&both), expected);
    let new = df("/v1.52/system/df?verbose=true").await;
    assert_eq!(keys(&new), SUMS);
    for key in LISTS {
        assert_eq!(both[key], old[key], "{key}");
    }
    for key in SUMS {
        assert_eq!(both[key], new[key], "{key}");
    }

    let images = &new["ImageUsage"];
    let items = images["Items"].as_array().unwrap();
    let unused = items
        .iter()
        .find(|image| image["RepoTags"][0] == "unused:1")
        .unwrap();
    let bytes = |key: &str| unused[key].as_i64().unwrap();
    assert!(bytes("SharedSize") > 0, "{unused}");
    assert_eq!(
        images,
        &json!({
            "ActiveCount": 1,
            "Items": old["Images"],
            "Reclaimable": bytes("Size") - bytes("SharedSize"),
            "TotalCount": 2,
            "TotalSize": old["LayersSize"],
        })
    );
    let containers = &new["ContainerUsage"];
    assert_eq!(containers["TotalCount"], 1);
    assert_eq!(containers["Items"], old["Containers"]);
    // Zero values are left out, as by Docker.
    assert_eq!(new["VolumeUsage"], json!({}));
    assert_eq!(new["BuildCacheUsage"], json!({}));
}

/// Fields that are not requested are null up to 1.51, and missing from 1.52 on. Before 1.42 all are
/// returned.
#[tokio::test]
async fn disk_usage_has_the_requested_types() {
    let (_rig, daemon) = two_images().await;
    let df = async |path: &str| daemon.ask("GET", path).await.done();
    let old = df("/v1.51/system/df?type=container").await;
    assert_eq!(keys(&old), LISTS);
    assert_eq!(old["Images"], Value::Null);
    assert_eq!(old["LayersSize"], 0);
    let both = df("/v1.52/system/df?type=container&type=volume").await;
    let expected = ["ContainerUsage", "Containers", "VolumeUsage", "Volumes"];
    assert_eq!(keys(&both), expected);
    let new = df("/v1.52/system/df?type=image&verbose=1").await;
    assert_eq!(keys(&new), ["ImageUsage"]);
    let older = df("/v1.41/system/df?type=container").await;
    assert_eq!(older["Images"].as_array().unwrap().len(), 2);
    let unknown = daemon.ask("GET", "/v1.52/system/df?type=x").await;
    assert_eq!(unknown.refused(400), "unknown object type: x");
}

#[tokio::test]
async fn inspection_leaves_out_empty_fields() {
    let (_rig, daemon) = two_images().await;
    let inspect = async |version: &str| {
        let path = format!("/v{version}/images/used:1/json");
        daemon.ask("GET", &path).await.done()
    };
    let (old, new) = tokio::join!(inspect("1.51"), inspect("1.52"));
    let empty = [
        "Author",
        "Comment",
        "DockerVersion",
        "GraphDriver",
        "Parent",
    ];
    let mut expected = keys(&old);
    expected.retain(|key| !empty.contains(key));
    assert_eq!(keys(&new), expected);
    assert_eq!(old["GraphDriver"]["Name"], "native");
    for key in empty {
        assert_eq!(new.get(key), None, "{key}");
    }
    let config = old["Config"].as_object().unwrap();
    let empty_values = [Value::Null, json!(""), json!([]), json!({})];
    let not_empty: Value = config
        .iter()
        .filter(|(_, value)| !empty_values.contains(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert_eq!(new["Config"], not_empty);
    assert!(config.len() > not_empty.as_object().unwrap().len(), "{old}");
}

/// Events of 1.52 have no redundant fields, and the requested content type.
#[tokio::test]
async fn events_have_the_format_of_their_api_version() {
    let (_rig, daemon) = two_images().await;
    daemon.prune(r#"{"dangling":["false"]}"#).await.done();
    let events = async |version: &str, accept: &str| {
        let until = jiff::Timestamp::now().as_second() + 1;
        let path = format!("/v{version}/events?since=0&until={until}");
        let headers = [("accept", accept)];
        let answer = daemon.ask_with("GET", &path, &headers, "").await;
        let content_type = answer.headers["content-type"].to_str().unwrap().to_owned();
        (content_type, answer.body)
    };
    let first =
        |body: &str| -> Value { serde_json::from_str(body.lines().next().unwrap()).unwrap() };
    let (content_type, body) = events("1.51", "*/*").await;
    assert_eq!(content_type, "application/json");
    let old = first(&body);
    assert_eq!(old["status"], "untag");
    assert_eq!(old["id"], old["Actor"]["ID"]);
    let (content_type, body) = events("1.52", "*/*").await;
    assert_eq!(content_type, "application/jsonl");
    let new = first(&body);
    assert_eq!(
        keys(&new),
        ["Action", "Actor", "Type", "scope", "time", "timeNano"]
    );
    assert_eq!(new["Actor"], old["Actor"]);
    let accept = "application/json-seq, application/x-ndjson;q=0.5";
    let (content_type, body) = events("1.52", accept).await;
    assert_eq!(content_type, "application/json-seq");
    assert!(
        body.lines().all(|line| line.starts_with('\u{1e}')),
        "{body:?}"
    );
    assert_eq!(first(body.trim_start_matches('\u{1e}')), new);
}
