//! Containers of a Docker Engine, which containerd does not know.

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::response::Json;
use reclaim_testkit::{BuiltImage, Layer, NamespaceClient, image};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

use crate::daemon::Daemon;
use crate::rig::Rig;

const ALL: &str = r#"{"dangling":["false"]}"#;

/// A server that answers requests for containers like a Docker Engine.
struct Engine {
    serving: AbortHandle,
    address: String,
}

impl Engine {
    /// Starts an engine, which reports `namespace` as the one of its images.
    fn start(directory: &Path, namespace: Option<&str>, containers: Value) -> Self {
        let socket = directory.join("d.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let info = namespace.map_or(
            json!({}),
            |namespace| json!({"Containerd": {"Namespaces": {"Containers": namespace}}}),
        );
        let router = Router::new().fallback(async move |request: Request| {
            let path = request.uri().path();
            Json(if path.ends_with("/containers/json") {
                // The list of a prune has `all=true`, and a client's own is passed on.
                let query = request.uri().query().unwrap();
                let listed = containers.as_array().unwrap().iter();
                let is_all = query.contains("all=");
                let listed = listed.filter(|it| is_all || it["State"] == "running");
                json!(listed.collect::<Vec<_>>())
            } else if path.ends_with("/info") {
                info.clone()
            } else {
                json!({"ApiVersion": "1.51", "Version": "28.5.2"})
            })
        });
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            serving: serving.abort_handle(),
            address: format!("unix://{}", socket.display()),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn built(namespace: &NamespaceClient, name: &str) -> BuiltImage {
    let own = Layer::named(name, 900);
    let built = image(&format!("docker.io/library/{name}:1")).layers([own]);
    built.build(namespace).await.unwrap()
}

async fn names(namespace: &NamespaceClient) -> Vec<String> {
    namespace.images().await.unwrap().into_keys().collect()
}

/// By name, by digest, and by mount.
#[tokio::test]
async fn keeps_images_of_a_docker_engines_containers() {
    let rig = Rig::start().await;
    let moby = rig.containerd.namespace("moby");
    for name in ["by-name", "mounted", "unused"] {
        built(&moby, name).await;
    }
    let by_digest = built(&moby, "by-digest").await.target.digest.to_string();
    let directory = tempfile::tempdir().unwrap();
    let mount = json!({"Type": "image", "Name": "mounted:1", "Source": "/x", "Destination": "/m"});
    let containers = json!([
        {"Id": "aa", "Image": "by-name:1", "ImageID": "", "State": "exited"},
        {"Id": "bb", "Image": by_digest, "ImageID": by_digest, "State": "created"},
        {"Id": "cc", "Image": "gone:1", "State": "running", "Mounts": [mount]},
    ]);
    let engine = Engine::start(directory.path(), Some("moby"), containers);
    let args = ["--docker", &engine.address];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    let listed = daemon.ask("GET", "/containers/json?all=1").await.done();
    let ids: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["Id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["aa", "bb", "cc"]);
    let running = daemon.ask("GET", "/containers/json").await.done();
    assert_eq!(running[0]["Id"], "cc");

    let body = daemon.prune(ALL).await.done();
    assert_eq!(body["ImagesDeleted"][0], json!({"Untagged": "unused:1"}));
    let expected =
        ["by-digest", "by-name", "mounted"].map(|name| format!("docker.io/library/{name}:1"));
    assert_eq!(names(&moby).await, expected);

    // Without an answer of the engine, its containers are unknown.
    drop(engine);
    let message = daemon.prune(ALL).await.refused(503);
    assert!(
        message.contains("containers of the Docker Engine at"),
        "{message}"
    );
    let listed = daemon.ask("GET", "/images/json").await.done();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(listed[0]["Containers"], -1);
    daemon.ask("GET", "/containers/json").await.refused(503);
    let info = daemon.ask("GET", "/info").await.done();
    assert!(
        info["Warnings"][0]
            .as_str()
            .unwrap()
            .starts_with("WARNING: "),
        "{info}"
    );
    assert_eq!(names(&moby).await, expected);
}

#[tokio::test]
async fn ignores_containers_of_an_engine_with_another_namespace() {
    let rig = Rig::start().await;
    built(&rig.namespace, "app").await;
    let directory = tempfile::tempdir().unwrap();
    let containers = json!([{"Id": "aa", "Image": "app:1", "State": "exited"}]);
    let engine = Engine::start(directory.path(), Some("moby"), containers);
    let args = ["--docker", &engine.address, "--namespace", "default"];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    daemon.prune(ALL).await.done();
    assert_eq!(rig.names().await.len(), 0);
}

#[tokio::test]
async fn containers_of_an_engine_without_a_namespace_count_in_every_namespace() {
    let rig = Rig::start().await;
    for name in ["app", "unused"] {
        built(&rig.namespace, name).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let containers = json!([{"Id": "aa", "Image": "app:1", "State": "exited"}]);
    let engine = Engine::start(directory.path(), None, containers);
    let args = ["--docker", &engine.address, "--namespace", "default"];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    daemon.prune(ALL).await.done();
    assert_eq!(names(&rig.namespace).await, ["docker.io/library/app:1"]);
}

#[tokio::test]
async fn each_namespace_of_docker_needs_its_own_engine() {
    let rig = Rig::start().await;
    let remapped = rig.containerd.namespace("moby-1000.1000");
    built(&remapped, "app").await;
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::start(directory.path(), Some("moby"), json!([]));
    let args = ["--docker", &engine.address, "--namespace", "moby-1000.1000"];
    {
        let daemon = Daemon::start(rig.containerd.address(), &args).await;
        let message = daemon.prune(ALL).await.refused(503);
        assert!(message.contains("`moby-1000.1000`"), "{message}");
        assert_eq!(names(&remapped).await.len(), 1);
    }
    drop(engine);
    std::fs::remove_file(directory.path().join("d.sock")).unwrap();
    let engine = Engine::start(directory.path(), Some("moby-1000.1000"), json!([]));
    let args = ["--docker", &engine.address, "--namespace", "moby-1000.1000"];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    daemon.prune(ALL).await.done();
    assert_eq!(names(&remapped).await.len(), 0);
}

#[tokio::test]
async fn removes_from_dockers_namespace_only_with_docker_or_trusted_leases() {
    let rig = Rig::start().await;
    let moby = rig.containerd.namespace("moby");
    let stopped = image("docker.io/library/stopped:1")
        .layers([Layer::named("stopped", 900)])
        .unpack("native")
        .build(&moby)
        .await
        .unwrap();
    let id = "a".repeat(64);
    moby.docker_stopped_container(&id, &stopped).await.unwrap();
    built(&moby, "unused").await;
    {
        let args = ["--namespace", "moby"];
        let daemon = Daemon::start(rig.containerd.address(), &args).await;
        let message = daemon.prune(ALL).await.refused(503);
        assert!(
            message.contains("--docker unix:///run/docker.sock"),
            "{message}"
        );
        assert!(message.contains("--trust-leases"), "{message}");
        let message = daemon.ask("DELETE", "/images/unused:1").await.refused(503);
        assert!(message.contains("--trust-leases"), "{message}");
        assert_eq!(names(&moby).await.len(), 2);
        daemon.ask("GET", "/images/json").await.done();
    }
    let args = ["--namespace", "moby", "--trust-leases"];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    daemon.prune(ALL).await.done();
    assert_eq!(names(&moby).await, ["docker.io/library/stopped:1"]);
}
