//! A day of `docker`, buildx and Compose: directly at a Docker Engine, and through a socket that
//! forwards to one.

pub(crate) mod normal;
mod own_tests;
pub(crate) mod script;

use std::path::PathBuf;

use reclaim_testkit::Dockerd;

use crate::built;
use crate::daemon::Daemon;
use crate::side::{ask, socket_of};
use script::{Step, steps};

/// An engine, and the socket that the clients use.
pub(crate) struct Engine {
    pub(crate) dockerd: Dockerd,
    /// The daemon that forwards to it, if there is one.
    daemon: Option<Daemon>,
    files: script::Files,
}

impl Engine {
    async fn direct() -> Self {
        let dockerd = Dockerd::start().await;
        built::build(&dockerd).await;
        Self {
            dockerd,
            daemon: None,
            files: script::Files::create(),
        }
    }

    pub(crate) async fn forwarded(args: &[&str]) -> Self {
        let dockerd = Dockerd::start().await;
        built::build(&dockerd).await;
        let address = dockerd.address();
        let args = [&["--docker", &address, "--forward"], args].concat();
        let daemon = Daemon::start(dockerd.containerd().address(), &args).await;
        Self {
            daemon: Some(daemon),
            ..Self {
                dockerd,
                daemon: None,
                files: script::Files::create(),
            }
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        let ours = self
            .daemon
            .as_ref()
            .map(|daemon| daemon.socket().to_owned());
        ours.unwrap_or_else(|| socket_of(&self.dockerd))
    }

    pub(crate) async fn run(&self, step: &Step) -> script::Answer {
        step.run(&self.files, &self.socket()).await
    }
}

/// Each command prints the same, apart from IDs, times and durations.
#[tokio::test]
async fn clients_work_as_at_the_engine_itself() {
    let (theirs, ours) = tokio::join!(Engine::direct(), Engine::forwarded(&[]));
    for step in steps() {
        let (their_answer, my_answer) = tokio::join!(theirs.run(&step), ours.run(&step));
        assert_eq!(my_answer, their_answer, "{}", step.name);
        assert_eq!(my_answer.code, step.code, "{}: {my_answer:#?}", step.name);
        for text in step.prints {
            assert!(my_answer.prints(text), "{}: {my_answer:#?}", step.name);
        }
    }
}

/// Containers are Docker's to remove, images ours, in Docker's order.
#[tokio::test]
async fn prunes_containers_by_docker_and_images_by_reclaim() {
    let engine = Engine::forwarded(&[]).await;
    let run = async |step: Step| {
        let answer = engine.run(&step).await;
        assert_eq!(answer.code, 0, "{answer:#?}");
        answer
    };
    run(script::import()).await;
    run(Step::new("stopped", "docker create base:1 true")).await;
    run(Step::new("unused", "docker tag base:1 other:1")).await;
    let pruned = run(Step::new("prune", "docker system prune --force --all")).await;
    let containers = pruned.position("Deleted Containers:");
    let images = pruned.position("untagged: ");
    assert!(containers < images, "{pruned:#?}");
    assert!(pruned.prints("untagged: other:1"), "{pruned:#?}");
    let left = run(Step::new("left", "docker image ls --quiet")).await;
    assert!(left.is_silent(), "{left:#?}");

    // Of the same request, the engine has no such header.
    let prune = ask(&engine.socket(), "POST", "/v1.51/images/prune").await;
    assert!(prune.headers.contains_key("reclaim-run"), "{prune:#?}");
    let newer = ask(&engine.socket(), "POST", "/v1.99/images/prune").await;
    assert!(newer.headers.contains_key("reclaim-run"), "{newer:#?}");
    let ping = ask(&engine.socket(), "GET", "/_ping").await;
    assert_eq!(
        ping.headers["server"],
        ask(&socket_of(&engine.dockerd), "GET", "/_ping")
            .await
            .headers["server"]
    );
}

/// With `--forward-except`, the same clients get Reclaim's removals and lists.
#[tokio::test]
async fn answers_the_chosen_requests() {
    let engine = Engine::forwarded(&["--forward-except", "remove,list,inspect,history,df"]).await;
    let imported = engine.run(&script::import()).await;
    assert_eq!(imported.code, 0, "{imported:#?}");
    let socket = engine.socket();
    let is_ours = async |method: &str, path: &str| {
        let answer = ask(&socket, method, path).await;
        let server = answer.headers["server"].to_str().unwrap().to_owned();
        server.starts_with("Reclaim/")
    };
    for (method, path, expected) in [
        ("GET", "/v1.51/images/json", true),
        ("GET", "/v1.51/images/base:1/json", true),
        ("GET", "/v1.51/images/base:1/history", true),
        ("GET", "/v1.51/system/df", true),
        ("GET", "/v1.51/containers/json", false),
        ("GET", "/v1.51/info", false),
        ("DELETE", "/v1.51/images/base:1", true),
    ] {
        assert_eq!(is_ours(method, path).await, expected, "{method} {path}");
    }
}
