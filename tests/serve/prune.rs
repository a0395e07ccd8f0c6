//! `POST /images/prune`: bodies, statuses, and one run at a time.

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Moment};
use reclaim_testkit::{Layer, Signal, image};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tonic::Code;

use crate::daemon::{CHECKS, Daemon, PAUSE};
use crate::rig::Rig;

const ALL: &str = r#"{"dangling":["false"]}"#;

/// The body is the same as Docker's to the byte.
#[tokio::test]
async fn a_prune_that_removes_nothing_returns_null() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    for path in [
        "/images/prune",
        "/v1.40/images/prune",
        "/v1.51/images/prune",
        "/v1.52/images/prune",
    ] {
        let answer = daemon.ask("POST", path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.headers["api-version"], "1.57");
        assert_eq!(answer.headers["ostype"], "linux");
        assert_eq!(answer.headers["docker-experimental"], "false");
        assert_eq!(
            answer.body,
            "{\"ImagesDeleted\":null,\"SpaceReclaimed\":0}\n"
        );
    }
}

/// The reclaimed space is what `/system/df` shows before.
#[tokio::test]
async fn returns_dockers_rows_and_sends_events() {
    let rig = Rig::start().await;
    let app = image("docker.io/library/app:1")
        .layers([Layer::random(1, 3000)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    app.tag(&rig.namespace, "quay.io/team/app:2").await.unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let before = daemon.ask("GET", "/system/df").await.done()["LayersSize"].clone();
    let answer = daemon.prune(ALL).await;
    let target = app.target.digest.to_string();
    assert_eq!(
        answer.done(),
        json!({
            "ImagesDeleted": [
                {"Untagged": "app:1"},
                {"Untagged": "quay.io/team/app:2"},
                {"Deleted": target},
            ],
            "SpaceReclaimed": before,
        })
    );
    assert_ne!(before, json!(0));
    let run = answer.headers["reclaim-run"].to_str().unwrap().to_owned();
    let after = daemon.ask("GET", "/system/df").await.done();
    assert_eq!(after["LayersSize"], json!(0));
    assert_eq!(rig.names().await.len(), 0);

    // The event of the prune comes after those of the images, and has the same run ID.
    let old = daemon.ask("GET", "/events?since=0&until=1").await;
    assert_eq!(old.body, "", "no event is that old");
    let answer = daemon
        .ask("GET", &format!("/events?since=0&until={}", now()))
        .await;
    let events: Vec<Value> = answer
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let actions: Vec<&str> = events
        .iter()
        .map(|event| event["Action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["untag", "untag", "delete", "prune"]);
    assert_eq!(events[0]["Actor"]["Attributes"]["name"], "app:1");
    assert_eq!(events[2]["Actor"]["ID"], target);
    let attributes = &events[3]["Actor"]["Attributes"];
    assert_eq!(attributes["reclaimed"], before.to_string());
    assert_eq!(attributes["run"], run);
}

/// While a prune runs, others get status 409. It is checked after the JSON of their filters and
/// before the filters themselves.
#[tokio::test]
async fn one_prune_runs_at_a_time() {
    let rig = Rig::start().await;
    image("docker.io/library/app:1")
        .build(&rig.namespace)
        .await
        .unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &["--grace", "3s"]).await;
    let prunes = (0..8).map(|_| daemon.prune(ALL));
    let answers = futures::future::join_all(prunes);
    let bad = async {
        wait_until_gone(&rig).await;
        let wrong = daemon.prune(r#"{"reference":["x"]}"#).await;
        let no_json = daemon.prune("x").await;
        (wrong.refused(409), no_json.refused(400))
    };
    let (answers, (wrong, no_json)) = tokio::join!(answers, bad);
    let busy = "a prune operation is already running";
    assert_eq!((wrong.as_str(), no_json.as_str()), (busy, "invalid filter"));
    let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(done.len(), 1);
    assert_eq!(
        done[0].json()["ImagesDeleted"][0],
        json!({"Untagged": "app:1"})
    );
    for answer in refused {
        assert_eq!(answer.refused(409), busy);
    }
    // Afterwards another prune succeeds.
    daemon.prune(ALL).await.done();
}

#[tokio::test]
async fn finishes_a_run_whose_client_disconnects() {
    let rig = Rig::start().await;
    image("docker.io/library/app:1")
        .build(&rig.namespace)
        .await
        .unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &["--grace", "1s"]).await;
    disconnect_during_prune(&daemon, &rig).await;
    for _ in 0..CHECKS {
        let events = daemon
            .ask("GET", &format!("/events?since=0&until={}", now()))
            .await;
        if events.body.contains("\"prune\"") {
            assert_eq!(rig.namespace.leases().await.unwrap().len(), 0);
            assert_eq!(rig.namespace.blobs().await.unwrap().len(), 0);
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the run does not end");
}

/// After SIGTERM, the daemon ends the run and sends its report.
#[tokio::test]
async fn a_stopped_daemon_answers_its_client() {
    let rig = Rig::start().await;
    image("docker.io/library/app:1")
        .build(&rig.namespace)
        .await
        .unwrap();
    let mut daemon = Daemon::start(rig.containerd.address(), &["--grace", "1s"]).await;
    let pruning = daemon.prune(ALL);
    let stopping = async {
        wait_until_gone(&rig).await;
        daemon.signal(Signal::TERM);
    };
    let (answer, ()) = tokio::join!(pruning, stopping);
    let rows = answer.done()["ImagesDeleted"].clone();
    assert_eq!(rows[0], json!({"Untagged": "app:1"}));
    assert!(daemon.ended().await.success());
    assert_eq!(rig.namespace.leases().await.unwrap().len(), 0);
    assert!(!daemon.socket().exists());
}

#[tokio::test]
async fn a_stopped_daemon_finishes_a_run_whose_client_disconnected() {
    let rig = Rig::start().await;
    image("docker.io/library/app:1")
        .build(&rig.namespace)
        .await
        .unwrap();
    let mut daemon = Daemon::start(rig.containerd.address(), &["--grace", "2s"]).await;
    disconnect_during_prune(&daemon, &rig).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.success());
    assert_eq!(rig.names().await.len(), 0);
    assert_eq!(rig.namespace.leases().await.unwrap().len(), 0);
    assert_eq!(rig.namespace.blobs().await.unwrap().len(), 0);
}

/// The answer has what was removed and what failed. If nothing was removed, it is an error.
#[tokio::test]
async fn reports_failed_removals() {
    let rig = Rig::start().await;
    for name in ["app:1", "app:2"] {
        let name = format!("docker.io/library/{name}");
        let own = Layer::named(&name, 900);
        image(&name)
            .layers([own])
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    let refused = |nth| Fault {
        call: Call {
            method: "images.v1.Images/Delete".to_owned(),
            nth,
        },
        moment: Moment::Before,
        act: Act::Refuse(Code::PermissionDenied),
    };
    {
        let proxy = FaultProxy::start(rig.containerd.socket(), [refused(0), refused(1)]);
        let daemon = Daemon::start(proxy.address(), &[]).await;
        let message = daemon.prune(ALL).await.refused(500);
        for name in ["docker.io/library/app:1: ", "docker.io/library/app:2: "] {
            assert!(message.contains(name), "{message}");
        }
        assert_eq!(rig.names().await.len(), 2);
    }
    let proxy = FaultProxy::start(rig.containerd.socket(), [refused(0)]);
    let daemon = Daemon::start(proxy.address(), &[]).await;
    let body = daemon.prune(ALL).await.done();
    let failed = &body["Failed"][0];
    let left = rig.names().await.into_iter().next().unwrap();
    assert_eq!(failed["Image"], left);
    assert!(
        failed["Error"]
            .as_str()
            .unwrap()
            .contains("permission denied"),
        "{failed}"
    );
    assert_eq!(body["Failed"].as_array().unwrap().len(), 1);
    let untagged = body["ImagesDeleted"][0]["Untagged"].as_str().unwrap();
    assert_ne!(format!("docker.io/library/{untagged}"), left);
    assert!(body["SpaceReclaimed"].as_u64().unwrap() > 900);
}

#[tokio::test]
async fn answers_other_versions_and_paths_like_docker() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let old = daemon.ask("POST", "/v1.39/images/prune").await.refused(400);
    let too_old = "client version 1.39 is too old. Minimum supported API version is 1.40, please \
                   upgrade your client to a newer version";
    assert_eq!(old, too_old);
    let new = daemon.ask("POST", "/v1.99/images/prune").await.refused(400);
    assert_eq!(
        new,
        "client version 1.99 is too new. Maximum supported API version is 1.57"
    );
    let ancient = daemon.ask("POST", "/v1.20/images/prune").await;
    assert_eq!(ancient.status, 400);
    assert_eq!(ancient.headers["content-type"], "text/plain; charset=utf-8");
    assert!(
        ancient.body.starts_with("client version 1.20 is too old."),
        "{ancient:#?}"
    );
    for (method, path) in [
        ("GET", "/images/prune"),
        ("GET", "/nothing"),
        ("POST", "/_ping"),
    ] {
        let answer = daemon.ask(method, path).await;
        assert_eq!(answer.refused(404), "page not found");
        assert!(!answer.headers.contains_key("api-version"), "{answer:#?}");
    }
    let elsewhere = daemon.ask("POST", "/v1.51/containers/prune").await;
    assert_eq!(elsewhere.refused(501), "this engine manages images only");
    let client = ("user-agent", "Docker-Client/28.2.2 (linux)");
    let nothing = daemon
        .ask_with("POST", "/v1.50/containers/prune", &[client], "")
        .await;
    assert_eq!(
        nothing.body,
        "{\"ContainersDeleted\":null,\"SpaceReclaimed\":0}\n"
    );
}

#[tokio::test]
async fn answers_pings() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    for (method, body) in [("GET", "OK"), ("HEAD", "")] {
        let answer = daemon.ask(method, "/_ping").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, body);
        for (name, value) in [
            ("api-version", "1.57"),
            ("builder-version", "2"),
            ("cache-control", "no-cache, no-store, must-revalidate"),
            ("content-type", "text/plain; charset=utf-8"),
            ("pragma", "no-cache"),
            ("swarm", "inactive"),
        ] {
            assert_eq!(answer.headers[name], value, "{method} {name}");
        }
    }
}

/// Starts a prune, and closes the connection when the images are removed.
async fn disconnect_during_prune(daemon: &Daemon, rig: &Rig) {
    let mut client = UnixStream::connect(daemon.socket()).await.unwrap();
    let request = b"POST /images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D \
                    HTTP/1.1\r\nHost: d\r\n\r\n";
    client.write_all(request).await.unwrap();
    wait_until_gone(rig).await;
}

pub(crate) async fn wait_until_gone(rig: &Rig) {
    for _ in 0..CHECKS {
        if rig.names().await.is_empty() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("nothing is removed");
}

/// Returns Unix seconds, rounded up.
fn now() -> i64 {
    jiff::Timestamp::now().as_second() + 1
}
