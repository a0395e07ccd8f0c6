//! The JSON API over HTTP, as curl sees it.

use reclaim_testkit::{KubeletDirectory, Layer, image};
use serde_json::{Value, json};

use crate::daemon::{Answer, Daemon};
use crate::host::{fill, hosted};
use crate::rig::Rig;

const ROOT: &str = "/reclaim/v1";

pub(crate) async fn post(daemon: &Daemon, path: &str, body: &Value) -> Answer {
    let path = format!("{ROOT}{path}");
    daemon.ask_with("POST", &path, &[], &body.to_string()).await
}

/// The lines of an answer.
pub(crate) fn lines(body: &str) -> Vec<Value> {
    body.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn removed(report: &Value) -> Vec<&str> {
    let removed = report["removed"].as_array().unwrap();
    removed
        .iter()
        .map(|image| image["name"].as_str().unwrap())
        .collect()
}

fn unused() -> Value {
    json!({"selection": {"filters": {"dangling": ["false"]}}})
}

#[tokio::test]
async fn streams_the_progress_of_a_run_and_then_its_report() {
    let (rig, daemon, _) = hosted(&[]).await;
    fill(&rig.namespace).await;
    let body = json!({"request": unused(), "options": {"grace": "10ms", "undo_window": "1h"}});
    let answer = post(&daemon, "/prune", &body).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines = lines(&answer.body);
    let (last, progress) = lines.split_last().unwrap();
    let phases: Vec<&str> = progress
        .iter()
        .map(|line| line["progress"]["phase"].as_str().unwrap())
        .collect();
    assert_eq!(phases[0], "observing", "{phases:?}");
    assert!(phases.contains(&"removing"), "{phases:?}");
    let report = &last["report"];
    assert_eq!(removed(report).len(), 4);

    let runs = daemon.ask("GET", &format!("{ROOT}/history")).await.done();
    assert_eq!(runs["version"], 1);
    assert_eq!(runs["runs"][0]["run"], report["run"]);
    assert_eq!(runs["runs"][0]["images"].as_array().unwrap().len(), 4);

    let images = json!(["docker.io/library/app:1"]);
    let undone = post(&daemon, "/undo", &json!({"images": images})).await;
    assert_eq!(undone.done()["restored"], images);
    let run = &report["run"];
    let released = post(&daemon, "/release", &json!({"run": run})).await;
    assert_eq!(&released.done()["run"], run);
    assert_eq!(rig.names().await.len(), 1);
}

/// A daemon reads the kubelet's directory of its configuration.
#[tokio::test]
async fn refuses_to_undo_private_images_without_a_pull_record() {
    let rig = Rig::start().await;
    let kubelet = KubeletDirectory::new();
    let config = kubelet.path().join("reclaim.toml");
    let directory = kubelet.path().display();
    let text = format!("[kubernetes]\nkubelet_directory = '{directory}'\n");
    std::fs::write(&config, text).unwrap();
    let globals = ["--config", config.to_str().unwrap(), "-n", "k8s.io"];
    let daemon = Daemon::start_with(rig.containerd.address(), &globals, &[]).await;
    let private = image("registry.example/private:1")
        .layers([Layer::random(1, 900)])
        .build(&rig.containerd.namespace("k8s.io"))
        .await
        .unwrap();
    let id = &private.manifests[0].config.digest;
    kubelet.pulled_with_secret(id);
    let body = json!({"request": unused(), "options": {"grace": "10ms", "undo_window": "1h"}});
    assert_eq!(post(&daemon, "/prune", &body).await.status, 200);
    kubelet.forget(id);
    let names = json!([private.name()]);
    let refused = post(&daemon, "/undo", &json!({})).await.done();
    assert_eq!(
        (&refused["refused"], &refused["restored"]),
        (&names, &json!([]))
    );
    let anyway = post(&daemon, "/undo", &json!({"without_credentials": true})).await;
    assert_eq!(anyway.done()["restored"], names);
}

#[tokio::test]
async fn applies_a_plan_once() {
    let (rig, daemon, _) = hosted(&[]).await;
    fill(&rig.namespace).await;
    let planned = post(&daemon, "/plan", &unused()).await.done();
    assert_eq!(removed(&planned["report"]).len(), 4);
    assert_eq!(planned["report"]["dry_run"], true);
    let apply = format!("/plans/{}/apply", planned["plan"].as_str().unwrap());
    // A request that is refused does not use up the plan.
    let refused = post(&daemon, &apply, &json!({"grace": "2m"})).await;
    assert_eq!(refused.status, 400, "{refused:#?}");
    assert_eq!(
        refused.json()["error"]["message"],
        "grace: accepted are auto and 0s to 1m"
    );
    let applied = post(&daemon, &apply, &json!({"grace": "0s"})).await;
    let lines = lines(&applied.body);
    assert_eq!(removed(&lines.last().unwrap()["report"]).len(), 4);
    let again = post(&daemon, &apply, &json!({})).await;
    assert_eq!(again.status, 404, "{again:#?}");
    assert_eq!(again.json()["error"]["kind"], "not_found");
}

#[tokio::test]
async fn lists_what_the_command_lists() {
    let (rig, daemon, _) = hosted(&[]).await;
    fill(&rig.namespace).await;
    for (path, command) in [
        ("/images", &["image", "ls"][..]),
        ("/projects", &["project", "ls"]),
        ("/df", &["df", "--verbose"]),
        ("/why?thing=app:1", &["why", "app:1"]),
        ("/policies", &["policy", "explain"]),
        ("/policies/history", &["policy", "history"]),
    ] {
        let mut served = daemon.ask("GET", &format!("{ROOT}{path}")).await.done();
        if path == "/images" {
            assert!(served["observed_at"].is_string(), "{served}");
            served.as_object_mut().unwrap().remove("observed_at");
            // Only the daemon records when images were used.
            for image in served["images"].as_array_mut().unwrap() {
                image.as_object_mut().unwrap().remove("last_used");
            }
        }
        let args = [&["--config", "/dev/null"], command, &["--format", "json"]].concat();
        let printed = with_state(&rig, &args);
        assert_eq!(served, printed, "{path}");
    }
}

/// Runs a command, with a state directory of its own where it takes one.
fn with_state(rig: &Rig, args: &[&str]) -> Value {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    let takes_state = args.contains(&"policy");
    let state: &[&str] = if takes_state {
        &["--state", state]
    } else {
        &[]
    };
    rig.reclaim(&[args, state].concat()).exits(0).json()
}

#[tokio::test]
async fn pins_and_unpins_images() {
    let (rig, daemon, _) = hosted(&[]).await;
    fill(&rig.namespace).await;
    for (action, changed) in [("pin", 1), ("pin", 0), ("unpin", 1)] {
        let body = json!({"action": action, "names": ["app:1", "missing"]});
        let pins = post(&daemon, "/pins", &body).await.done();
        assert_eq!(pins["action"], action);
        let images = pins["images"].as_array().unwrap();
        assert_eq!(images[0]["changed"].as_array().unwrap().len(), changed);
        assert_eq!(images[1]["problem"], "no_such_image");
        assert_eq!(images[1]["message"], "No such image: missing:latest");
    }
}

/// Nothing is changed by a request that is refused, and the error names what is wrong.
#[tokio::test]
async fn refuses_what_it_does_not_understand() {
    let (rig, daemon, _) = hosted(&[]).await;
    fill(&rig.namespace).await;
    let request = |selection: Value| json!({"request": {"selection": selection}});
    for (path, body, status, text) in [
        ("/prune", json!({}), 400, "missing field `request`"),
        (
            "/prune",
            request(json!({"filters": {"age": ["1h"]}})),
            400,
            "filters: invalid filter 'age'",
        ),
        (
            "/prune",
            request(json!({"everything": {}})),
            400,
            "unknown variant `everything`",
        ),
        (
            "/prune",
            json!({"request": unused(), "force": true}),
            400,
            "unknown field `force`",
        ),
        (
            "/plan",
            json!({"namespace": "a b", "selection": {"filters": {}}}),
            400,
            "namespace",
        ),
        (
            "/plan",
            json!({"namespace": "none", "selection": {"filters": {}}}),
            404,
            "none",
        ),
        (
            "/pins",
            json!({"action": "nail", "names": []}),
            400,
            "unknown variant `nail`",
        ),
        (
            "/restore",
            json!({"request": {"namespace": "none"}}),
            404,
            "none",
        ),
        ("/policies/run", json!({"names": ["none"]}), 400, "none"),
        ("/undo", json!({"run": "none"}), 404, "none"),
    ] {
        let answer = post(&daemon, path, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {body}: {answer:#?}");
        let error = answer.json()["error"].clone();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(text), "{path} {body}: {message}");
        assert!(!answer.body.contains("report"), "{answer:#?}");
    }
    let unknown = daemon.ask("GET", &format!("{ROOT}/nothing")).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(rig.names().await.len(), 4);
}
