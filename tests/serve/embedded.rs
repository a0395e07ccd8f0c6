//! The example of an engine that mounts the routes of Docker's API.

#[path = "../../crates/api/examples/docker_api.rs"]
#[expect(dead_code, reason = "an example has a main of its own")]
mod docker_api;

use std::time::Duration;

use reclaim_testkit::{Layer, image};
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use crate::daemon::{Answer, ask_on};
use crate::rig::Rig;

const PRUNE: &str = "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D";

#[tokio::test]
async fn an_engine_that_embeds_reclaim_keeps_images_of_its_containers() {
    let rig = Rig::start().await;
    for name in ["used:1", "unused:1"] {
        let name = format!("docker.io/library/{name}");
        let own = Layer::named(&name, 900);
        image(&name)
            .layers([own])
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("engine.sock");
    let socket = socket.to_str().unwrap();
    let ask = async |method: &str, path: &str| -> Answer {
        let stream = UnixStream::connect(socket).await.unwrap();
        ask_on(stream, method, path, &[], "").await.unwrap()
    };
    let test = async {
        while UnixStream::connect(socket).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let created = ask("PUT", "/containers/web?image=used:1").await;
        assert_eq!(created.status, 201, "{created:#?}");
        let body = ask("POST", PRUNE).await.done();
        assert_eq!(body["ImagesDeleted"][0]["Untagged"], "unused:1");
        let listed = ask("GET", "/containers").await.done();
        assert_eq!(listed, serde_json::json!([["web", "used:1"]]));
        assert_eq!(ask("DELETE", "/containers/web").await.status, 204);
        ask("POST", PRUNE).await.done();
        assert_eq!(rig.names().await.len(), 0);
    };
    // Its future is not `Send`.
    let local = LocalSet::new();
    local
        .run_until(async {
            tokio::select! {
                served = docker_api::serve(rig.containerd.address(), "default", socket) => {
                    panic!("{served:?}");
                }
                () = test => {}
            }
        })
        .await;
}
