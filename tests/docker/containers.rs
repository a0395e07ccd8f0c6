//! Containers, volumes and build cache of a Docker Engine, which Reclaim shows as the engine does.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::command::{PATIENCE, docker};
use crate::daemon::Daemon;
use crate::forwarded::Engine;
use crate::forwarded::script::{Step, import};
use crate::side::{ask, socket_of};

/// An engine with containers in two states, a volume in use and one that is not, and a build cache.
async fn engine() -> Engine {
    let engine = Engine::forwarded(&["--forward-except", "df"]).await;
    for step in [
        import(),
        Step::new(
            "volumes",
            "docker volume create used && docker volume create unused",
        ),
        Step::new(
            "created",
            "docker create --name made --network none --volume used:/v base:1 true",
        ),
        Step::new(
            "ended",
            "docker run --name ended --network none base:1 sh -c 'echo x >/written'",
        ),
        Step::new(
            "built",
            "docker build --network none --tag built:1 project >/dev/null 2>&1",
        ),
    ] {
        let answer = engine.run(&step).await;
        assert_eq!(answer.code, 0, "{answer:#?}");
    }
    engine
}

#[tokio::test]
async fn shows_containers_as_the_engine_does() {
    let engine = engine().await;
    let address = engine.dockerd.address();
    let args = ["--docker", &address];
    let daemon = Daemon::start(engine.dockerd.containerd().address(), &args).await;
    let theirs = socket_of(&engine.dockerd);
    let listed = ask(&theirs, "GET", "/v1.51/containers/json?all=1")
        .await
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed:#}");
    let id = listed[0]["Id"].as_str().unwrap();
    let lists = [
        "json?all=1&size=1",
        "json",
        "json?limit=1",
        "json?all=1&filters=%7B%22volume%22%3A%5B%22used%22%5D%7D",
        "json?all=1&filters=%7B%22status%22%3A%5B%22created%22%5D%7D",
        "json?filters=%7B%22since%22%3A%5B%22made%22%5D%7D&all=1",
        "json?filters=%7B%22status%22%3A%5B%22strange%22%5D%7D",
        "made/json?size=1",
        "nothing/json",
    ];
    let lists = lists.map(str::to_owned);
    let details = [format!("{id}/json"), format!("{}/json", &id[..12])];
    for path in lists.iter().chain(&details) {
        for version in ["1.40", "1.43", "1.47", "1.51"] {
            let path = format!("/v{version}/containers/{path}");
            let (their_answer, my_answer) = tokio::join!(
                ask(&theirs, "GET", &path),
                ask(daemon.socket(), "GET", &path)
            );
            assert_eq!(
                my_answer.status, their_answer.status,
                "{path}: {my_answer:#?}"
            );
            let [their_answer, my_answer] = [their_answer, my_answer].map(|it| ageless(it.json()));
            assert_eq!(my_answer, their_answer, "{path}");
        }
    }
    // 28 has nothing newer than 1.51.
    let newer = ask(daemon.socket(), "GET", "/v1.57/containers/json?all=1").await;
    assert_eq!(ageless(newer.json()), ageless(listed));
    let fields = "{{.ID}} {{.Names}} {{.Command}} {{.Image}} {{.Mounts}} {{.Networks}} {{.Ports}} \
                  {{.Size}} {{.State}} {{.CreatedAt}}";
    for args in [
        &["ps", "--all", "--no-trunc", "--format", fields][..],
        &["inspect", "--size", "made", "ended"],
    ] {
        let (their_answer, my_answer) =
            tokio::join!(docker(&theirs, args), docker(daemon.socket(), args));
        assert_eq!(my_answer, their_answer, "{args:?}");
    }
}

/// Leaves out how long ago containers ended, which differs between two requests.
fn ageless(mut list: Value) -> Value {
    for container in list.as_array_mut().into_iter().flatten() {
        if let Some(Value::String(status)) = container.get_mut("Status") {
            let end = status.find(')').map_or(status.len(), |at| at + 1);
            status.truncate(end);
        }
    }
    list
}

/// Requests a disk usage, again while Docker fails: it measures only once at a time, and not while BuildKit
/// removes the snapshots of a build.
pub(crate) async fn measured(socket: &Path, path: &str) -> Value {
    let measuring = async {
        loop {
            let answer = ask(socket, "GET", path).await;
            if answer.status.is_success() {
                return answer.json();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, measuring).await.unwrap()
}

#[tokio::test]
async fn measures_volumes_and_build_cache_as_the_engine_does() {
    let engine = engine().await;
    let theirs = socket_of(&engine.dockerd);
    let ours = engine.socket();
    for version in ["1.40", "1.41", "1.42", "1.51"] {
        let path = format!("/v{version}/system/df");
        let (theirs, mine) = (measured(&theirs, &path).await, measured(&ours, &path).await);
        let [theirs, mine] = [theirs, mine].map(|mut usage| {
            usage["Containers"] = ageless(usage["Containers"].take());
            for kind in ["Volumes", "BuildCache"] {
                // Docker lists these in any order.
                let Some(items) = usage[kind].as_array_mut() else {
                    panic!("{path}: {usage:#}")
                };
                items.sort_by_key(ToString::to_string);
            }
            usage
        });
        for kind in ["Containers", "Volumes", "BuildCache", "BuilderSize"] {
            assert_eq!(mine[kind], theirs[kind], "{path} {kind}");
        }
        assert_eq!(mine["Volumes"].as_array().unwrap().len(), 2, "{mine:#}");
        assert_ne!(mine["BuildCache"].as_array().unwrap().len(), 0, "{mine:#}");
    }
    // Everything but the sizes of images, which count what containers share, too.
    let table = ["system", "df"];
    let rows = |output: crate::command::Output| {
        let rows = output
            .stdout
            .lines()
            .filter(|line| !line.starts_with("Images"));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    let their_answer = docker(&theirs, &table).await;
    assert_eq!(rows(docker(&ours, &table).await), rows(their_answer));
    // In the form of 29, with totals.
    let totals = ask(&ours, "GET", "/v1.57/system/df?verbose=1").await.json();
    assert_eq!(totals["VolumeUsage"]["TotalCount"], 2, "{totals:#}");
    assert_eq!(totals["VolumeUsage"]["ActiveCount"], 1, "{totals:#}");
    assert_eq!(totals["ContainerUsage"]["TotalCount"], 2, "{totals:#}");
    assert_eq!(totals["Volumes"], Value::Null);
}
