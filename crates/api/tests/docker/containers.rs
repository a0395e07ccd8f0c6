//! `GET /containers/{id}/json`, and other resources by name.

use reclaim_engine::Container;
use serde_json::{Value, json};

use crate::engine::DockerDouble;
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

/// Two containers of an engine. A field that only newer engines have passes, too.
fn of_engine() -> Value {
    json!([
        {"Id": "c0ffee02", "Names": ["/db"], "Image": "db:1", "ImageID": "", "Command": "serve",
         "Created": 1_767_500_000, "Ports": [{"PrivatePort": 80, "Type": "tcp"}], "Labels": {},
         "State": "created", "Status": "Created", "HostConfig": {"NetworkMode": "bridge"},
         "NetworkSettings": {"Networks": {"bridge": {}}}, "Mounts": [{"Type": "volume"}],
         "SizeRw": 5, "SizeRootFs": 9, "Newer": {"than": "us"}},
        {"Id": "c0ffee01", "Names": ["/web"], "Image": "web:1", "ImageID": "",
         "Created": 1_767_000_000, "State": "running", "Status": "Up 2 hours"},
    ])
}

/// What an engine lists is shown as it shows it, and the request is the client's own.
#[tokio::test]
async fn an_engine_shows_its_containers() {
    let double = DockerDouble::start("1.51", &of_engine(), [].into());
    let listed = double
        .stage
        .get("/v1.57/containers/json?all=1&size=1")
        .await;
    assert_eq!(listed, of_engine());
    assert_eq!(double.last(), "/v1.51/containers/json?all=1&size=1");
    double.stage.get("/v1.40/containers/json?limit=2").await;
    assert_eq!(double.last(), "/v1.44/containers/json?limit=2");
    let filters = "filters=%7B%22network%22%3A%5B%22bridge%22%5D%7D";
    let path = format!("/v1.50/containers/json?{filters}");
    double.stage.get(&path).await;
    assert_eq!(double.last(), path);
}

/// Those of containerd are among them by date, without what only an engine knows.
#[tokio::test]
async fn containers_of_other_engines_are_added() {
    let double = DockerDouble::start("1.51", &of_engine(), [].into());
    double.stage.container(Container {
        id: "abc1".to_owned(),
        image: "app:1".to_owned(),
        created: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        ..Container::default()
    });
    let ids = async |query: &str| -> Vec<String> {
        let path = format!("/v1.51/containers/json?{query}");
        let listed = double.stage.get(&path).await;
        let listed = listed.as_array().unwrap().iter();
        listed
            .map(|it| it["Id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("all=1").await, ["c0ffee02", "abc1", "c0ffee01"]);
    assert_eq!(ids("limit=2").await, ["c0ffee02", "abc1"]);
    // Of others, only the image is known.
    let filters = "all=1&filters=%7B%22network%22%3A%5B%22bridge%22%5D%7D";
    assert_eq!(ids(filters).await, ["c0ffee02", "c0ffee01"]);
    // An engine has started it since the containers were listed.
    double.stage.container(Container {
        id: "c0ffee01".to_owned(),
        ..Container::default()
    });
    assert_eq!(ids("all=1").await, ["c0ffee02", "abc1", "c0ffee01"]);
}

/// docker-py requests each container that is in the list, of an engine and of others.
#[tokio::test]
async fn every_listed_container_can_be_inspected() {
    let details =
        json!({"Id": "c0ffee01", "Name": "/web", "Config": {"Env": ["A=1"]}, "Newer": 1.5});
    // The variables may be secrets.
    let shown = json!({"Id": "c0ffee01", "Name": "/web", "Config": {"Env": []}, "Newer": 1.5});
    let error = json!({"message": "the engine's own text"});
    let answers = [
        ("/containers/c0ffee01/json", (200, details.clone())),
        ("/containers/web/json", (200, details.clone())),
        ("/containers/c0/json", (200, details.clone())),
        ("/containers/broken/json", (500, error)),
    ];
    let double = DockerDouble::start("1.51", &of_engine(), answers.into());
    for id in ["abc1", "c0d"] {
        double.stage.container(Container {
            id: id.to_owned(),
            ..Container::default()
        });
    }
    let inspect = async |name: &str| {
        let path = format!("/v1.51/containers/{name}/json?size=1");
        double.stage.ask("GET", &path).await
    };
    for name in ["c0ffee01", "web", "%2Fweb"] {
        assert_eq!(inspect(name).await.done(), shown, "{name}");
        let asked = name.trim_start_matches("%2F");
        assert_eq!(
            double.last(),
            format!("/v1.51/containers/{asked}/json?size=1")
        );
    }
    assert_eq!(inspect("abc1").await.done()["Name"], "/abc1");
    assert_eq!(inspect("ab").await.done()["Id"], "abc1");
    // The beginning of an ID of the engine, and of one that it does not have.
    let ambiguous = inspect("c0").await;
    let message = "multiple IDs found with provided prefix: c0";
    assert_eq!(ambiguous.refused(400), message);
    assert_eq!(
        inspect("nothing").await.refused(404),
        "No such container: nothing"
    );
    assert_eq!(
        inspect("broken").await.refused(500),
        "the engine's own text"
    );
    // No name has such characters, and none becomes part of another path.
    let before = double.requests();
    let path = "/v1.51/containers/..%2Finfo%3F/json";
    let answer = double.stage.ask("GET", path).await;
    assert_eq!(answer.refused(404), "No such container: ../info?");
    assert!(
        double.last().contains("/containers/json"),
        "{}",
        double.last()
    );
    assert!(double.requests() > before);
    double.stop();
}

/// A partial list would look complete.
#[tokio::test]
async fn containers_are_unknown_without_the_engine() {
    let double = DockerDouble::start("1.51", &of_engine(), [].into());
    double.stop();
    tokio::task::yield_now().await;
    for path in ["containers/json", "containers/web/json"] {
        let answer = double.stage.ask("GET", &format!("/v1.51/{path}")).await;
        let message = answer.refused(503);
        assert!(
            message.contains("the Docker Engine at unix://"),
            "{message}"
        );
    }
}
