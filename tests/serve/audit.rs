//! The audit: each change at each entry point leaves one record with its caller, and its images.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use reclaim_api::grpc::proto;
use reclaim_api::grpc::proto::maintenance_service_client::MaintenanceServiceClient;
use reclaim_testkit::{Deletion, LeaseResource, NewLease};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_stream::StreamExt;

use crate::daemon::Daemon;
use crate::grpc::{all, built, channel, finished, planned, pruner};
use crate::host::fill;
use crate::json::post;
use crate::rig::Rig;

const POLICY: &str = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n";

const PROTOS: [&str; 3] = [
    include_str!("../../proto/reclaim/v1/prune.proto"),
    include_str!("../../proto/reclaim/v1/maintenance.proto"),
    include_str!("../../proto/reclaim/v1/containers.proto"),
];

const JSON_ROUTES: &str = include_str!("../../crates/api/src/json.rs");

const DOCKER_ROUTES: &str = include_str!("../../crates/api/src/docker/route.rs");

/// A header of a client of Docker.
const AGENT: [(&str, &str); 1] = [("User-Agent", "Docker-Client/28.5.2")];

/// The calls that change images. Each of them leaves a record.
const CHANGES: [&str; 22] = [
    "rpc Prune",
    "rpc PruneProject",
    "rpc Apply",
    "rpc Undo",
    "rpc Release",
    "rpc Restore",
    "rpc Pin",
    "rpc Unpin",
    "rpc RunPolicies",
    "POST /plans/{plan}/apply",
    "POST /prune",
    "POST /undo",
    "POST /release",
    "POST /pins",
    "POST /restore",
    "POST /policies/run",
    "docker PruneImages",
    "docker RemoveImage",
    "command image prune",
    "command image rm",
    "command image slim",
    "command image restore",
];

/// The calls that change registrations. Each of them leaves a record without images (`recorded.rs`).
const REGISTRATIONS: [&str; 4] = ["rpc Replace", "rpc Upsert", "rpc Remove", "rpc Forget"];

/// The calls that change nothing.
const OTHERS: [&str; 27] = [
    "rpc Plan",
    "rpc Explain",
    "rpc ListImages",
    "rpc ListProjects",
    "rpc DiskUsage",
    "rpc History",
    "rpc Audit",
    "rpc ExplainPolicies",
    "rpc PolicyHistory",
    "rpc List",
    "POST /plan",
    "docker Ping",
    "docker Version",
    "docker Info",
    "docker DiskUsage",
    "docker Events",
    "docker ListImages",
    "docker InspectImage",
    "docker ImageHistory",
    "docker ImageAttestations",
    "docker ListContainers",
    "docker InspectContainer",
    "docker ListNetworks",
    "docker ListVolumes",
    // Resources other than images, which do not exist here.
    "docker InspectOther",
    "docker PruneOther",
    "docker Unsupported",
];

/// Returns the calls of every API, from their sources.
fn calls() -> BTreeSet<String> {
    let between = |text: &str, from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        Some(rest.split_once(to)?.0.to_owned())
    };
    let rpcs = PROTOS.iter().flat_map(|proto| proto.lines());
    let rpcs = rpcs.filter_map(|line| between(line, "  rpc ", "("));
    let posts = JSON_ROUTES.lines();
    let posts = posts.filter_map(|line| between(line, "        .post(\"", "\""));
    let routes = between(DOCKER_ROUTES, "pub enum Route {", "\n}").unwrap();
    let routes = routes.lines().filter_map(|line| {
        let name = line.trim().trim_end_matches(',');
        let name = name.split('(').next().unwrap_or_default();
        let is_name = !name.is_empty() && name.chars().all(char::is_alphanumeric);
        is_name.then(|| format!("docker {name}"))
    });
    let rpcs = rpcs.map(|name| format!("rpc {name}"));
    let posts = posts.map(|path| format!("POST {path}"));
    rpcs.chain(posts).chain(routes).collect()
}

#[test]
fn every_call_of_every_api_is_in_one_of_the_tables() {
    let tables = CHANGES.iter().chain(&REGISTRATIONS).chain(&OTHERS);
    let listed: BTreeSet<String> = tables
        .filter(|call| !call.starts_with("command "))
        .map(ToString::to_string)
        .collect();
    let mut calls = calls();
    assert!(calls.remove("docker Unknown"));
    assert_eq!(listed, calls);
}

/// A daemon with a policy, and the directory of its configuration.
pub(crate) struct Stage {
    pub(crate) rig: Rig,
    pub(crate) daemon: Daemon,
    folder: TempDir,
}

impl Stage {
    async fn start() -> Self {
        Self::start_with("", &[]).await
    }

    /// Starts it with further keys of the policy, and further arguments of the daemon.
    pub(crate) async fn start_with(keys: &str, further: &[&str]) -> Self {
        let rig = Rig::start().await;
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        let config = folder.path().join("config.toml");
        let state = state.to_str().unwrap();
        let text = format!("[state]\ndirectory = '{state}'\n{POLICY}{keys}");
        fs::write(&config, text).unwrap();
        let args = ["--config", config.to_str().unwrap(), "--state", state];
        let args = [&args[..], further].concat();
        Self {
            daemon: Daemon::start(rig.containerd.address(), &args).await,
            rig,
            folder,
        }
    }

    /// Calls a command without the daemon, with its configuration.
    pub(crate) fn reclaim(&self, args: &[&str]) -> crate::rig::CommandOutput {
        let config = self.folder.path().join("config.toml");
        let with_config = [&["--config", config.to_str().unwrap()], args].concat();
        self.rig.reclaim(&with_config)
    }

    /// Returns the records, which the command reads, and both APIs too.
    pub(crate) async fn records(&self) -> Vec<Value> {
        let args = ["history", "--all", "--format", "json"];
        let found = self.reclaim(&args).exits(0).json();
        let host = format!("unix://{}", self.daemon.socket().display());
        let hosted = self.rig.reclaim(&[&["--host", &host][..], &args].concat());
        assert_eq!(hosted.exits(0).json(), found);
        let mut client = pruner(&self.daemon).await;
        let answer = client.audit(proto::AuditRequest::default());
        let answer = answer.await.unwrap().into_inner();
        let records = found["records"].as_array().unwrap();
        assert_eq!(answer.records.len(), records.len());
        records.clone()
    }

    /// Fills the store; for what needs one, also with a run that can be undone.
    async fn prepare(&self, call: &str) {
        self.rig
            .namespace
            .delete_lease("layers", Deletion::Async)
            .await
            .ok();
        fill(&self.rig.namespace).await;
        if call.to_lowercase().ends_with("restore") {
            self.unlabel().await;
        }
        if call.to_lowercase().ends_with("undo") || call.to_lowercase().ends_with("release") {
            let request = json!({
                "request": {"selection": {"filters": {"dangling": ["false"]}}},
                "options": {"undo_window": "1h"},
            });
            assert_eq!(post(&self.daemon, "/prune", &request).await.status, 200);
        }
        if call.to_lowercase().contains("policies") {
            // A policy keeps images that were pulled again.
            built(
                &self.rig,
                if call.starts_with("rpc") {
                    "new:1"
                } else {
                    "new:2"
                },
            )
            .await;
        }
        if call.starts_with("docker") || call.starts_with("command") {
            let request = json!({"action": "unpin", "names": ["app:1"]});
            assert_eq!(post(&self.daemon, "/pins", &request).await.status, 200);
        }
        if call.ends_with("Unpin") {
            let request = json!({"action": "pin", "names": ["app:1"]});
            assert_eq!(post(&self.daemon, "/pins", &request).await.status, 200);
        }
    }

    /// Takes the labels of layers off an image, whose layers stay.
    async fn unlabel(&self) {
        let namespace = &self.rig.namespace;
        namespace
            .create_lease(NewLease::new("layers"))
            .await
            .unwrap();
        let manifest = &namespace.images().await.unwrap()["docker.io/library/app:1"];
        for (key, digest) in namespace.blob_labels(manifest).await.unwrap() {
            if key.starts_with("containerd.io/gc.ref.content.l.") {
                let layer = LeaseResource::content(&digest.parse().unwrap());
                namespace
                    .add_lease_resource("layers", &layer)
                    .await
                    .unwrap();
                namespace.set_blob_label(manifest, &key, "").await.unwrap();
            }
        }
    }

    /// Makes a call that changes images.
    async fn make(&self, call: &str) {
        let daemon = &self.daemon;
        match call.split_once(' ').unwrap() {
            ("POST", path) => self.make_post(path).await,
            ("command", "image prune") => {
                drop(
                    self.reclaim(&["image", "prune", "--all", "--force"])
                        .exits(0),
                );
            }
            ("command", "image slim") => {
                let slim = self.reclaim(&["image", "slim", "--all", "--force"]);
                drop(slim.exits(0));
            }
            ("command", "image restore") => {
                drop(self.reclaim(&["image", "restore", "app:1"]).exits(0));
            }
            ("command", "image rm") => drop(self.reclaim(&["image", "rm", "app:1"]).exits(0)),
            ("docker", "PruneImages") => {
                let path = "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D";
                daemon.ask_with("POST", path, &AGENT, "").await.done();
            }
            ("docker", "RemoveImage") => {
                let path = "/images/app:1";
                daemon.ask_with("DELETE", path, &AGENT, "").await.done();
            }
            ("rpc", method) if method.contains("Prun") || method == "Apply" => {
                self.make_prune(method).await;
            }
            ("rpc", method) => self.make_rpc(method).await,
            _ => panic!("no test makes the call {call}"),
        }
    }

    async fn make_post(&self, path: &str) {
        let daemon = &self.daemon;
        let selection = json!({"selection": {"filters": {"dangling": ["false"]}}});
        let (path, body) = match path {
            "/plans/{plan}/apply" => {
                let plan = post(daemon, "/plan", &selection).await.json();
                let plan = plan["plan"].as_str().unwrap();
                (format!("/plans/{plan}/apply"), json!({}))
            }
            "/prune" => (path.to_owned(), json!({"request": selection})),
            "/restore" => (path.to_owned(), json!({"request": {"names": ["app:1"]}})),
            "/pins" => (
                path.to_owned(),
                json!({"action": "pin", "names": ["app:1"]}),
            ),
            _ => (path.to_owned(), json!({})),
        };
        let answer = post(daemon, &path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:#?}");
    }

    /// Makes a call whose answer is a run.
    async fn make_prune(&self, method: &str) {
        let request = Some(all());
        let mut client = pruner(&self.daemon).await;
        let events = match method {
            "Prune" => {
                let request = proto::PruneRequest {
                    request,
                    options: None,
                };
                client.prune(request).await
            }
            "PruneProject" => {
                let service = proto::project_images::Service {
                    image: "app:1".to_owned(),
                };
                let images = proto::ProjectImages {
                    project: "shop".to_owned(),
                    services: [("web".to_owned(), service)].into(),
                    mode: "all".to_owned(),
                    ..proto::ProjectImages::default()
                };
                let request = proto::PruneProjectRequest {
                    images: Some(images),
                    ..proto::PruneProjectRequest::default()
                };
                client.prune_project(request).await
            }
            "Apply" => {
                let plan = planned(&mut client).await.plan;
                let request = proto::ApplyRequest {
                    plan,
                    options: None,
                };
                client.apply(request).await
            }
            _ => panic!("no test makes the call {method}"),
        };
        finished(events.unwrap().into_inner()).await.unwrap();
    }

    /// Makes another call over gRPC.
    async fn make_rpc(&self, method: &str) {
        let daemon = &self.daemon;
        let mut client = pruner(daemon).await;
        let names = || vec!["app:1".to_owned()];
        match method {
            "Undo" => drop(client.undo(proto::UndoRequest::default()).await.unwrap()),
            "Release" => drop(
                client
                    .release(proto::ReleaseRequest::default())
                    .await
                    .unwrap(),
            ),
            "Restore" => {
                let request = proto::RestoreRequest {
                    images: names(),
                    ..proto::RestoreRequest::default()
                };
                drop(client.restore(request).await.unwrap());
            }
            "Pin" => {
                let request = proto::PinRequest {
                    images: names(),
                    ..proto::PinRequest::default()
                };
                drop(client.pin(request).await.unwrap());
            }
            "Unpin" => {
                let request = proto::UnpinRequest {
                    images: names(),
                    ..proto::UnpinRequest::default()
                };
                drop(client.unpin(request).await.unwrap());
            }
            "RunPolicies" => {
                let mut client = MaintenanceServiceClient::new(channel(daemon.socket()).await);
                let request = proto::RunPoliciesRequest::default();
                let mut runs = client.run_policies(request).await.unwrap().into_inner();
                while let Some(run) = runs.next().await {
                    run.unwrap();
                }
            }
            _ => panic!("no test makes the call {method}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_leaves_one_record_with_its_caller_and_its_images() {
    let stage = Stage::start().await;
    for call in CHANGES {
        stage.prepare(call).await;
        let before = stage.records().await;
        stage.make(call).await;
        let records = stage.records().await;
        assert_eq!(records.len(), before.len() + 1, "{call}: {records:#?}");
        let record = records.last().unwrap();
        let caller = &record["caller"];
        let entry_point = match call.split_once(' ').unwrap().0 {
            "rpc" => "grpc",
            "POST" => "json",
            "docker" => "docker",
            _ => "command_line",
        };
        assert_eq!(caller["entry_point"], entry_point, "{call}: {record:#?}");
        let process = &caller["process"];
        let own = std::process::id();
        assert_eq!(process["uid"], 0, "{call}: {record:#?}");
        if entry_point == "command_line" {
            assert_eq!(process["command"], "reclaim", "{call}: {record:#?}");
        } else {
            assert_eq!(process["pid"], own, "{call}: {record:#?}");
            assert!(process["command"].is_string(), "{call}: {record:#?}");
        }
        let is_docker = entry_point == "docker";
        let agent = is_docker.then_some("Docker-Client/28.5.2");
        assert_eq!(
            caller["user_agent"].as_str().filter(|_| is_docker),
            agent,
            "{call}"
        );
        let policy = call.to_lowercase().contains("policies").then_some("p");
        assert_eq!(caller["policy"].as_str(), policy, "{call}: {record:#?}");
        assert_eq!(record["outcome"], "done", "{call}: {record:#?}");
        let images = record["images"].as_array().unwrap();
        assert!(!images.is_empty(), "{call}: {record:#?}");
        assert_eq!(record["changed"], images.len(), "{call}: {record:#?}");
        for image in images {
            let is_removal = image["change"] == "removed";
            assert_eq!(
                image["reason"].is_string(),
                is_removal,
                "{call}: {image:#?}"
            );
            assert_eq!(
                image["bytes"].as_u64() > Some(900),
                is_removal,
                "{call}: {image:#?}"
            );
        }
        let [began, ended] = ["began", "ended"].map(|key| record[key].as_str().unwrap());
        assert!(began <= ended, "{call}: {record:#?}");
    }
    // A dry run, a prune without a candidate, and a pin that exists already, change nothing.
    stage.prepare("rpc Unpin").await;
    let before = stage.records().await.len();
    stage.reclaim(&["pin", "app:1"]).exits(0);
    stage.reclaim(&["pin", "missing:1"]).exits(1);
    stage
        .reclaim(&["image", "prune", "--all", "--dry-run"])
        .exits(0);
    stage.reclaim(&["image", "prune", "--force"]).exits(0);
    assert_eq!(stage.records().await.len(), before);
    let earlier = stage.reclaim(&["history", "--until", "24h", "--format", "json"]);
    assert_eq!(earlier.exits(0).json()["records"], json!([]));
    let text = stage.reclaim(&["history", "--since", "1h"]).exits(0).stdout;
    assert!(text.contains("by Docker's API, user 0, process "), "{text}");
    assert!(text.contains("  removed: app:1, "), "{text}");
    let wrong = stage
        .reclaim(&["history", "--since", "yesterday"])
        .exits(2)
        .stderr;
    assert!(wrong.starts_with("error: since: "), "{wrong}");
}

/// The record of a run that is killed has its caller and its request. The next run restores the
/// images, and has a record of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_leaves_a_record() {
    let stage = Stage::start().await;
    fill(&stage.rig.namespace).await;
    let config = stage.folder.path().join("config.toml");
    let mut killed = std::process::Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .args(["--address", stage.rig.containerd.address(), "--config"])
        .arg(config)
        .args(["image", "prune", "-a", "-f", "--max-deletes-per-second=1"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while stage.rig.names().await.len() == 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = killed.id();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let records = stage.records().await;
    let [record] = &records[..] else {
        panic!("{records:#?}");
    };
    assert_eq!(record["outcome"], "begun", "{record:#?}");
    assert_eq!(record["ended"], Value::Null, "{record:#?}");
    assert_eq!(record["caller"]["process"]["pid"], pid, "{record:#?}");
    let dangling = &record["request"]["prune"]["selection"]["filters"]["dangling"];
    assert_eq!(*dangling, json!({"false": true}), "{record:#?}");
    stage.reclaim(&["image", "prune", "-f"]).exits(0);
    let records = stage.records().await;
    assert_eq!(records.len(), 2, "{records:#?}");
    let recovery = &records[1];
    assert_eq!(recovery["request"]["recover"]["run"], record["run"]);
    assert_eq!(recovery["images"][0]["change"], "restored", "{recovery:#?}");
    let text = stage.reclaim(&["history", "--all"]).exits(0).stdout;
    assert!(
        text.contains("cut off; what it removed was restored"),
        "{text}"
    );
}
