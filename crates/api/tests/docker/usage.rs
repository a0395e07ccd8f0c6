//! `GET /system/df` beside a Docker Engine.

use reclaim_engine::Container;
use serde_json::{Value, json};

use crate::engine::DockerDouble;
use crate::stage::Stage;

fn containers() -> Value {
    json!([{"Id": "c1", "State": "running", "SizeRw": 10}, {"Id": "c2", "State": "exited", "SizeRw": 7}])
}

fn volumes() -> Value {
    let volume = |name: &str, size: i64, uses: i64| json!({"Name": name, "UsageData": {"Size": size, "RefCount": uses}});
    json!([
        volume("used", 100, 1),
        volume("unused", 30, 0),
        volume("unknown", -1, 0)
    ])
}

fn build_cache() -> Value {
    json!([
        {"ID": "a", "Size": 40, "InUse": true, "Shared": false},
        {"ID": "b", "Size": 20, "InUse": false, "Shared": true},
        {"ID": "c", "Size": 5, "InUse": false, "Shared": false},
    ])
}

/// The response of an engine up to 1.51.
fn lists() -> Value {
    json!({"LayersSize": 1, "Images": [{"Id": "theirs"}], "Containers": containers(),
           "Volumes": volumes(), "BuildCache": build_cache(), "BuilderSize": 65})
}

/// The response of an engine from 1.52 on.
fn totals() -> Value {
    let items = |items: Value| json!({"Items": items, "TotalCount": 77});
    json!({"ImageUsage": items(json!([])), "ContainerUsage": items(containers()),
           "VolumeUsage": items(volumes()), "BuildCacheUsage": items(build_cache())})
}

fn start(version: &str, usage: Value) -> DockerDouble {
    let double = DockerDouble::start(version, &json!([]), [("/system/df", (200, usage))].into());
    double.stage.container(Container {
        id: "ours".to_owned(),
        ..Container::default()
    });
    double
}

/// Asserts the three kinds in the form with totals.
fn assert_totals(usage: &Value) {
    let without_items = |kind: &str| {
        let mut totals = usage[kind].clone();
        totals.as_object_mut().unwrap().remove("Items");
        totals
    };
    let containers = json!({"ActiveCount": 2, "TotalCount": 3, "TotalSize": 17, "Reclaimable": 7});
    assert_eq!(without_items("ContainerUsage"), containers);
    let volumes = json!({"ActiveCount": 2, "TotalCount": 3, "TotalSize": 130, "Reclaimable": 30});
    assert_eq!(without_items("VolumeUsage"), volumes);
    let cache = json!({"ActiveCount": 1, "TotalCount": 3, "TotalSize": 65, "Reclaimable": 5});
    assert_eq!(without_items("BuildCacheUsage"), cache);
}

/// Whatever form the engine has, a client gets the form of its version.
#[tokio::test]
async fn the_engine_measures_all_but_images_in_every_version() {
    for (newest, usage) in [("1.51", lists()), ("1.55", totals())] {
        let double = start(newest, usage);
        for (path, verbose) in [
            ("/v1.57/system/df?verbose=1", true),
            ("/v1.57/system/df", false),
        ] {
            let usage = double.stage.get(path).await;
            assert_totals(&usage);
            let items = |kind: &str| usage[kind]["Items"].as_array().unwrap().len();
            assert_eq!([items("VolumeUsage"), items("ContainerUsage")], [3, 3]);
            assert_eq!(usage["Volumes"].is_null(), verbose, "{usage}");
            let types = "type=container&type=volume&type=build-cache";
            let is_new = u8::from(newest == "1.55");
            let asked = double.last_usage();
            assert!(
                asked.ends_with(&format!("/system/df?{types}&verbose={is_new}")),
                "{asked}"
            );
        }
    }
    // An engine has the form of the version in which it is asked.
    let double = start("1.51", lists());
    for version in ["1.44", "1.51"] {
        let usage = double.stage.get(&format!("/v{version}/system/df")).await;
        assert_eq!(usage["Volumes"], volumes());
        assert_eq!(usage["BuildCache"], build_cache());
        assert_eq!(
            usage["Containers"].as_array().unwrap()[..2],
            containers().as_array().unwrap()[..]
        );
        assert_eq!(usage["Containers"][2]["Id"], "ours");
        assert_eq!(usage["Images"], json!([]));
        assert_eq!(usage["VolumeUsage"], Value::Null);
        let asked = double.last_usage();
        assert!(
            asked.starts_with(&format!("/v{version}/system/df?")),
            "{asked}"
        );
    }
    let usage = double.stage.get("/v1.41/system/df").await;
    assert_eq!(usage["BuilderSize"], 65);
}

#[tokio::test]
async fn only_the_requested_kinds_are_requested_from_the_engine() {
    let double = start("1.51", lists());
    let usage = double.stage.get("/v1.51/system/df?type=volume").await;
    assert_eq!(usage["Volumes"], volumes());
    assert_eq!(
        [&usage["Containers"], &usage["BuildCache"]],
        [&Value::Null; 2]
    );
    assert!(
        double.last_usage().contains("?type=volume&verbose=0"),
        "{}",
        double.last_usage()
    );
}

/// As in Docker: a total without what cannot be measured would look complete. Images need no engine.
#[tokio::test]
async fn what_the_engine_cannot_measure_fails_the_request() {
    let error = json!({"message": "a disk usage operation is already running"});
    let answers = [("/system/df", (409, error))];
    let double = DockerDouble::start("1.51", &json!([]), answers.into());
    let answer = double.stage.ask("GET", "/v1.51/system/df").await;
    assert_eq!(
        answer.refused(409),
        "a disk usage operation is already running"
    );
    double.stage.get("/v1.51/system/df?type=image").await;
    double.stop();
    tokio::task::yield_now().await;
    let answer = double.stage.ask("GET", "/v1.51/system/df").await;
    let message = answer.refused(503);
    assert!(
        message.contains("the Docker Engine at unix://"),
        "{message}"
    );
    double.stage.get("/v1.51/system/df?type=image").await;
}

#[tokio::test]
async fn without_an_engine_there_are_no_volumes() {
    let stage = Stage::set();
    let usage = stage.get("/v1.51/system/df").await;
    assert_eq!([&usage["Volumes"], &usage["BuildCache"]], [&json!([]); 2]);
    assert_eq!(usage.get("BuilderSize"), None);
}
