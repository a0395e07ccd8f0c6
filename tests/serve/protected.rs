//! `[protect]` of the daemon's configuration, at each entry point, and who may lift it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use reclaim_api::grpc::proto;
use reclaim_api::grpc::proto::named::Outcome;
use reclaim_api::grpc::proto::selection::Which;
use reclaim_testkit::Signal;
use rustix::process::Uid;
use rustix::thread::set_thread_uid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::daemon::{Answer, Daemon, ask_on, serve};
use crate::grpc::{finished, planned, pruner, removed};
use crate::host::fill;
use crate::json::{lines, post};
use crate::prune::wait_until_gone;
use crate::rig::{Rig, entry, names};

const CONFIG: &str = r#"
[protect]
references = ["app:*"]

[[policy]]
name = "all"
all = true
min_age = "0s"
last_copies = true
"#;

const APP: &str = "docker.io/library/app:1";

/// The error of `image rm`, in Docker's words.
const CONFLICT: &str = "conflict: unable to delete app:1 (cannot be forced) - image is protected by \
                        rule protect.references app:*";

/// A daemon with a configuration file, on a containerd with four unused images.
struct Stage {
    rig: Rig,
    daemon: Daemon,
    folder: TempDir,
}

impl Stage {
    async fn start(config: &str, args: &[&str]) -> Self {
        let rig = Rig::start().await;
        fill(&rig.namespace).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, config).unwrap();
        let args = [&["--config", file.to_str().unwrap()], args].concat();
        Self {
            daemon: Daemon::start(rig.containerd.address(), &args).await,
            rig,
            folder,
        }
    }

    /// Prunes, and returns the report.
    async fn prune(&self, request: &Value) -> Value {
        report(&post(&self.daemon, "/prune", request).await)
    }
}

/// The report at the end of a stream.
#[track_caller]
fn report(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:#?}");
    let lines = lines(&answer.body);
    let report = &lines.last().unwrap()["report"];
    assert!(report.is_object(), "{answer:#?}");
    report.clone()
}

fn all(lift: bool) -> Value {
    let filters = json!({"filters": {"dangling": ["false"]}});
    json!({"request": {"selection": filters, "lift_protection": lift}})
}

fn by_name(lift: bool) -> Value {
    let named = json!({"named": {"names": ["app:1"], "force": true, "prune_parents": true}});
    json!({"request": {"selection": named, "lift_protection": lift}})
}

fn by_project() -> Value {
    let project = json!({"name": "shop", "services": {"web": {"image": "app:1"}}});
    let images = json!({"project": project, "mode": "all", "from_containers": false,
                        "remove_orphans": false, "services": null});
    json!({"request": {"selection": {"project": images}}})
}

#[track_caller]
fn assert_kept(report: &Value) {
    assert_eq!(names(&report["removed"]), Vec::<&str>::new());
    let kept = entry(&report["kept"], APP);
    assert_eq!(kept["reason"], "protected", "{report:#}");
    assert_eq!(kept["holders"][0]["id"], "protect.references app:*");
}

#[tokio::test]
async fn every_entry_point_keeps_what_the_configuration_protects() {
    let stage = Stage::start(CONFIG, &[]).await;
    let daemon = &stage.daemon;
    for path in ["/images/app:1", "/v1.51/images/app:1?force=1"] {
        let answer = daemon.ask("DELETE", path).await;
        assert_eq!(answer.refused(409), CONFLICT);
    }
    for request in [by_name(false), by_project()] {
        let report = stage.prune(&request).await;
        assert_kept(&report);
        assert_eq!(report["named"][0]["message"], CONFLICT);
    }
    let mut pruner = pruner(daemon).await;
    let plan = planned(&mut pruner).await.report.unwrap();
    let others = ["docker.io/library/other:1", "docker.io/library/used:1"];
    assert_eq!(removed(&plan), others);
    let named = proto::NamedImages {
        names: vec!["app:1".to_owned()],
        force: true,
        prune_parents: true,
    };
    let named = grpc_request(named, false);
    let (_, report) = finished(pruner.prune(named).await.unwrap().into_inner())
        .await
        .unwrap();
    assert_eq!(removed(&report), Vec::<&str>::new());
    let Some(Outcome::NotRemoved(problem)) = &report.named[0].outcome else {
        panic!("{report:#?}");
    };
    assert_eq!(problem.message, CONFLICT);

    let answer = post(daemon, "/policies/run", &json!({"names": ["all"]})).await;
    let run = &lines(&answer.body)[0]["run"];
    let policys = &run["reports"][0];
    assert_eq!(names(&policys["removed"]), others, "{run:#}");
    assert_eq!(entry(&policys["kept"], APP)["reason"], "protected");

    assert_kept(&stage.prune(&all(false)).await);
    let dockers = daemon.prune(r#"{"dangling":["false"]}"#).await.done();
    assert_eq!(dockers["ImagesDeleted"], Value::Null);
    // Also what only reads calls it protected.
    let why = daemon.ask("GET", "/reclaim/v1/why?thing=app:1").await;
    let why = why.done().to_string();
    assert!(why.contains("protect.references app:*"), "{why}");
    assert_eq!(stage.rig.names().await.len(), 2);
}

/// A configuration that is reloaded protects from then on, also what a run has removed and not yet
/// freed.
#[tokio::test]
async fn a_reloaded_configuration_protects_at_once() {
    let stage = Stage::start("", &["--grace", "5s"]).await;
    let request = all(false);
    let pruning = stage.prune(&request);
    let reloading = async {
        wait_until_gone(&stage.rig).await;
        fs::write(stage.folder.path().join("config.toml"), CONFIG).unwrap();
        stage.daemon.signal(Signal::HUP);
    };
    let (report, ()) = tokio::join!(pruning, reloading);
    let refused = entry(&report["refused"], APP);
    assert_eq!(refused["cause"]["must_stay"]["reason"], "protected");
    assert_eq!(stage.rig.names().await.len(), 2);
    assert_kept(&stage.prune(&by_name(false)).await);
}

fn grpc_request(images: proto::NamedImages, lift: bool) -> proto::PruneRequest {
    proto::PruneRequest {
        request: Some(proto::Request {
            selection: Some(proto::Selection {
                which: Some(Which::Named(images)),
            }),
            lift_protection: lift,
            ..proto::Request::default()
        }),
        options: None,
    }
}

/// Sends a request from a thread of this user.
async fn ask_as(uid: u32, socket: &Path, path: &str, body: &Value) -> Answer {
    let socket = socket.to_owned();
    let connecting = thread::spawn(move || {
        set_thread_uid(Uid::from_raw(uid)).unwrap();
        std::os::unix::net::UnixStream::connect(socket).unwrap()
    });
    let stream = connecting.join().unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = UnixStream::from_std(stream).unwrap();
    let path = format!("/reclaim/v1{path}");
    ask_on(stream, "POST", &path, &[], &body.to_string())
        .await
        .unwrap()
}

/// Other users who may connect can remove images, but not those that are protected.
#[tokio::test]
async fn only_root_lifts_the_protection() {
    let stage = Stage::start(CONFIG, &[]).await;
    let daemon = &stage.daemon;
    // The socket is open to its group, which the thread still has.
    fs::set_permissions(daemon.directory(), Permissions::from_mode(0o750)).unwrap();
    let other_user = 65_534;
    let planned = post(daemon, "/plan", &by_name(true)["request"])
        .await
        .done();
    let apply = format!("/plans/{}/apply", planned["plan"].as_str().unwrap());
    for (path, body) in [
        ("/plan", &by_name(true)["request"]),
        ("/prune", &by_name(true)),
        (&apply, &json!({})),
    ] {
        let answer = ask_as(other_user, daemon.socket(), path, body).await;
        assert_eq!(answer.status, 403, "{answer:#?}");
        let error = &answer.json()["error"];
        assert_eq!(error["kind"], "denied");
        assert_eq!(
            error["message"],
            "lift_protection: accepted only from root on the daemon's Unix socket, and from clients \
             that access.admin lists; this request is from a process of user 65534"
        );
    }
    let answer = ask_as(other_user, daemon.socket(), "/prune", &by_name(false)).await;
    assert_kept(&report(&answer));
    assert_eq!(stage.rig.names().await.len(), 4);

    // The refusal has not used up the plan.
    let applied = report(&post(daemon, &apply, &json!({})).await);
    assert_eq!(names(&applied["removed"]), [APP]);
    let named = proto::NamedImages {
        names: vec!["app:2".to_owned()],
        force: false,
        prune_parents: true,
    };
    let mut pruner = pruner(daemon).await;
    let events = pruner.prune(grpc_request(named, true)).await.unwrap();
    let (_, report) = finished(events.into_inner()).await.unwrap();
    assert_eq!(removed(&report), ["docker.io/library/app:2"]);
    assert_eq!(report.warnings.len(), 1, "{report:#?}");
}

/// The log says who removed which protected image, and in which run.
#[tokio::test]
async fn a_lifted_protection_leaves_a_trace() {
    let rig = Rig::start().await;
    fill(&rig.namespace).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("config.toml"), CONFIG).unwrap();
    let mut command = serve(rig.containerd.address(), &at("r.sock"));
    let child = command
        .arg("--config")
        .arg(at("config.toml"))
        .arg("--state")
        .arg(at("state"))
        .args(["--grace", "10ms", "--log-format", "json"])
        .stderr(File::create(at("log")).unwrap())
        .spawn()
        .unwrap();
    let daemon = Daemon::adopted(child, at("r.sock"), tempfile::tempdir().unwrap());
    while UnixStream::connect(daemon.socket()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let report = report(&post(&daemon, "/prune", &all(true)).await);
    assert_eq!(names(&report["removed"]).len(), 4);
    let warnings = ["app:1", "app:2"].map(|name| {
        format!(
            "image `docker.io/library/{name}` is protected by rule protect.references app:*, and the \
             request lifts the protection"
        )
    });
    assert_eq!(report["warnings"], json!(warnings));
    let log = fs::read_to_string(at("log")).unwrap();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> = lines
        .map(|line| line["fields"].clone())
        .filter(|fields| fields["message"] == "removing a protected image")
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, name) in lines.iter().zip(["app:1", "app:2"]) {
        assert_eq!(line["run"], report["run"]);
        assert_eq!(line["uid"], 0);
        assert_eq!(line["pid"], std::process::id());
        assert_eq!(line["image"], format!("docker.io/library/{name}"));
        assert_eq!(line["rule"], "protect.references app:*");
    }
}

/// With a Docker Engine the command itself keeps what is protected.
#[tokio::test]
async fn a_project_on_a_docker_engine_keeps_what_is_protected() {
    let stage = Stage::start("", &[]).await;
    let engine = format!("unix://{}", stage.daemon.socket().display());
    let at = |name: &str| stage.folder.path().join(name).display().to_string();
    let services = "services: {web: {image: 'app:1'}, db: {image: 'other:1'}}";
    fs::write(at("compose.yaml"), services).unwrap();
    let (compose, config) = (at("compose.yaml"), at("protect.toml"));
    let prune = |text: &str, args: &[&str]| {
        fs::write(&config, text).unwrap();
        let command = ["--config", &config, "project", "prune", "-p", "shop"];
        let project = ["--rmi", "all", "-f", &compose, "--engine", &engine];
        stage.rig.reclaim(&[&command, &project[..], args].concat())
    };
    let kept = prune(CONFIG, &[]).exits(0);
    assert_eq!(kept.stderr, format!("warning: app:1: {CONFLICT}\n"));
    assert_eq!(stage.rig.names().await.len(), 3);
    let wrong = prune("[protekt]", &[]).exits(2);
    assert!(wrong.stderr.contains("--no-config"), "{wrong:?}");
    let digest = stage.rig.namespace.images().await.unwrap()[APP].clone();
    for (text, rule) in [
        (format!("digests = ['{digest}']"), "protect.digests"),
        // The engine reports the namespace of its images.
        (
            "namespaces = ['default']".to_owned(),
            "protect.namespaces default",
        ),
    ] {
        let kept = prune(&format!("[protect]\n{text}"), &["--dry-run"]).exits(0);
        assert!(kept.stderr.contains(rule), "{kept:?}");
    }
    let lifted = prune(CONFIG, &["--lift-protection"]).exits(0);
    let warning = "warning: image `app:1` is protected by rule protect.references app:*, and the \
                   request lifts the protection\n";
    assert_eq!(lifted.stderr, warning);
    assert_eq!(stage.rig.names().await.len(), 2);
}

/// The command sends the option to the daemon.
#[tokio::test]
async fn the_command_lifts_the_protection_of_a_daemon() {
    let stage = Stage::start(CONFIG, &[]).await;
    let host = format!("unix://{}", stage.daemon.socket().display());
    let remove = ["--host", &host, "image", "rm", "app:1"];
    let refused = stage.rig.reclaim(&remove).exits(1);
    assert_eq!(refused.stderr, format!("error: {CONFLICT}\n"));
    let refused = stage.rig.reclaim(&[&["--no-config"], &remove[..]].concat());
    let refused = refused.exits(2);
    assert!(refused.stderr.contains("`--no-config` with --host"));
    let lift = [&remove[..], &["--lift-protection"]].concat();
    let lifted = stage.rig.reclaim(&lift).exits(0);
    assert!(lifted.stderr.contains("lifts the protection"), "{lifted:?}");
    assert_eq!(stage.rig.names().await.len(), 3);
}
