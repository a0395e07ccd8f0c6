//! What API 1.52 answers otherwise than 1.51: sums of disk usage, and nothing that says nothing.

use reclaim_testkit::{Layer, image};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::rig::Rig;

/// A used image and an unused one, which share a layer, and a daemon.
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

/// By version and question: lists, sums, or both.
#[tokio::test]
async fn disk_usage_has_the_form_of_its_version() {
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
        .find(|image| image["RepoTags"][0] == "unused:1");
    let unused = unused.unwrap();
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
    // As Docker leaves out what is zero.
    assert_eq!(new["VolumeUsage"], json!({}));
    assert_eq!(new["BuildCacheUsage"], json!({}));
}

/// What is not asked for is null up to 1.51, and not there from 1.52 on. Before 1.42 nobody could
/// ask.
#[tokio::test]
async fn disk_usage_is_of_what_is_asked_for() {
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

/// An image that says nothing of itself has no keys for that.
#[tokio::test]
async fn inspection_leaves_out_what_is_empty() {
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
    let run = old["Config"].as_object().unwrap();
    let is_empty = |it: &Value| it.is_null() || it == "" || it == &json!([]) || it == &json!({});
    let said = run.iter().filter(|(_, value)| !is_empty(value));
    let said: Value = said
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert_eq!(new["Config"], said);
    assert!(run.len() > said.as_object().unwrap().len(), "{old}");
}

/// Events say nothing twice, and come in the type that is asked for.
#[tokio::test]
async fn events_have_the_form_of_their_version() {
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
    let asked = "application/json-seq, application/x-ndjson;q=0.5";
    let (content_type, body) = events("1.52", asked).await;
    assert_eq!(content_type, "application/json-seq");
    assert!(
        body.lines().all(|line| line.starts_with('\u{1e}')),
        "{body:?}"
    );
    assert_eq!(first(body.trim_start_matches('\u{1e}')), new);
}
