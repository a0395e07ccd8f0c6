//! `GET /containers/{id}/json`, and other resources by name.

use reclaim_engine::Container;
use serde_json::Value;

use crate::stage::Stage;

/// `docker inspect NAME` asks for each kind of resource in turn, and goes on after 404.
#[tokio::test]
async fn a_missing_resource_is_not_found() {
    let stage = Stage::set();
    for (path, message) in [
        ("containers/app:1/json", "No such container: app:1"),
        ("networks/app:1", "network app:1 not found"),
        ("volumes/app:1", "get app:1: no such volume"),
        ("plugins/app:1/json", "plugin \"app:1\" not found"),
    ] {
        let answer = stage.ask("GET", &format!("/v1.51/{path}")).await;
        assert_eq!(answer.refused(404), message);
    }
}

/// docker-py requests each container that is in the list.
#[tokio::test]
async fn a_listed_container_can_be_inspected() {
    let stage = Stage::set();
    let created = "2026-01-02T03:04:05Z".parse().unwrap();
    for (id, image) in [("abc1", "app:1"), ("abc2", "")] {
        stage.container(Container {
            id: id.to_owned(),
            image: image.to_owned(),
            created: (id == "abc1").then_some(created),
            ..Container::default()
        });
    }
    let listed = stage.get("/v1.51/containers/json?all=1").await;
    for container in listed.as_array().unwrap() {
        let id = container["Id"].as_str().unwrap();
        let inspected = stage.get(&format!("/v1.51/containers/{id}/json")).await;
        assert_eq!(inspected["Id"], id);
        assert_eq!(inspected["Name"], format!("/{id}"));
        assert_eq!(inspected["Config"]["Image"], container["Image"]);
        assert_eq!(inspected["State"]["Status"], container["State"]);
        // Never 1970.
        assert!(
            container["Created"].as_i64() > Some(1_700_000_000),
            "{container}"
        );
    }
    let first: Value = stage.get("/v1.51/containers/abc1/json").await;
    assert_eq!(first["Created"], "2026-01-02T03:04:05Z");
    assert_eq!(listed[0]["Created"], 1_767_323_045);
    assert_eq!(stage.get("/containers/%2Fabc1/json").await, first);
    let ambiguous = stage.ask("GET", "/containers/abc/json").await;
    assert_eq!(
        ambiguous.refused(400),
        "multiple IDs found with provided prefix: abc"
    );
}
