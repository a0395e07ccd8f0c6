//! Commands with `--host`. `same.rs` compares their output with that without a daemon.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use reclaim_testkit::{Layer, NamespaceClient, Registry, Signal, host_platform, image, labels};

use crate::daemon::Daemon;
use crate::prune::wait_until_gone;
use crate::rig::Rig;

/// A rig with a daemon.
pub(crate) async fn hosted(args: &[&str]) -> (Rig, Daemon, String) {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), args).await;
    let host = format!("unix://{}", daemon.socket().display());
    (rig, daemon, host)
}

pub(crate) async fn fill(namespace: &NamespaceClient) {
    for (name, seed) in [("app:1", 1), ("app:2", 2), ("other:1", 3), ("used:1", 4)] {
        let name = format!("docker.io/library/{name}");
        if namespace.images().await.unwrap().contains_key(&name) {
            continue;
        }
        let layers = [Layer::named("base", 2000), Layer::random(seed, 900)];
        image(&name)
            .layers(layers)
            .unpack("native")
            .build(namespace)
            .await
            .unwrap();
    }
}

/// Also where the output is rounded.
#[tokio::test]
async fn a_daemon_gets_the_exact_target_in_bytes() {
    let (rig, _daemon, host) = hosted(&[]).await;
    fill(&rig.namespace).await;
    let all = ["image", "prune", "-a", "--dry-run", "--format", "json"];
    let report = rig.reclaim(&all).exits(0).json();
    let bytes = |of: &str| report["estimate"][of].as_u64().unwrap();
    let total = bytes("content_bytes") + bytes("snapshot_bytes");
    for (target, code) in [(total, 0), (total + 1, 5)] {
        let target = format!("{target}B");
        let target = ["--target-free", &target];
        let alone: Vec<&str> = all.into_iter().chain(target).collect();
        let hosted: Vec<&str> = ["--host", &host].into_iter().chain(alone.clone()).collect();
        rig.reclaim(&alone).exits(code);
        rig.reclaim(&hosted).exits(code);
    }
}

/// A daemon keeps 8 plans, so it cannot keep those of 9 namespaces until the answer.
#[tokio::test]
async fn asks_about_all_namespaces_only_if_the_daemon_keeps_their_plans() {
    let (rig, _daemon, host) = hosted(&[]).await;
    for number in 1..=9 {
        let namespace = rig.containerd.namespace(&format!("n{number}"));
        image("docker.io/library/app:1")
            .layers([Layer::random(number, 100)])
            .build(&namespace)
            .await
            .unwrap();
        if number == 8 {
            let prune = ["--host", &host, "image", "prune", "-aA"];
            let asked = rig.reclaim_with("y\n", &prune).exits(0);
            assert_eq!(asked.stdout.matches("untagged: app:1").count(), 8);
        }
    }
    let prune = ["--host", &host, "image", "prune", "-aA"];
    let refused = rig.reclaim_with("y\n", &prune).exits(1);
    assert_eq!(
        refused.stderr,
        "error: cannot confirm 9 namespaces at once: the daemon keeps 8 plans\n\
         hint: use --force, which does not ask, or --namespace\n"
    );
    let forced = ["--host", &host, "image", "prune", "-aA", "-f"];
    let pruned = rig.reclaim(&forced).exits(0);
    assert_eq!(pruned.stdout.matches("untagged: app:1").count(), 1);
}

/// The exit status is that of the signal.
#[tokio::test]
async fn a_signal_ends_the_command_and_not_the_run() {
    let (rig, _daemon, host) = hosted(&[]).await;
    fill(&rig.namespace).await;
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let prune = Command::new(env!("CARGO_BIN_EXE_reclaim"))
            .env_clear()
            .args(["--host", &host, "image", "prune", "-a", "-f"])
            .args(["--grace", "2s", "--undo-window", "1h"])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_gone(&rig).await;
        reclaim_testkit::signal(&prune, signal);
        let ended = prune.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(status), "{ended:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("the run continues in the daemon"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        // The run can be undone after its end.
        let undo = ["--host", &host, "undo"];
        for _ in 0..600 {
            if rig.reclaim(&undo).code == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(rig.names().await.len(), 4);
    }
}

#[tokio::test]
async fn prunes_undoes_and_releases_through_a_daemon() {
    let (rig, _daemon, host) = hosted(&[]).await;
    fill(&rig.namespace).await;
    let reclaim = |args: &[&str]| {
        let args: Vec<&str> = ["--host", &host]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        rig.reclaim(&args)
    };
    let before = rig.namespace.image_records().await.unwrap();
    let pruned = [
        "image",
        "prune",
        "-a",
        "-f",
        "--undo-window",
        "1h",
        "--grace",
        "10ms",
    ];
    let pruned = reclaim(&pruned).exits(0);
    assert!(pruned.stdout.contains("untagged: app:1"), "{pruned:#?}");
    assert_eq!(rig.names().await.len(), 0);
    let history = reclaim(&["history", "--format", "json"]).exits(0).json();
    assert_eq!(history["runs"].as_array().unwrap().len(), 1, "{history:#}");
    let undone = reclaim(&["undo"]).exits(0);
    assert!(
        undone.stdout.contains("restored: docker.io/library/app:1"),
        "{undone:#?}"
    );
    let after = rig.namespace.image_records().await.unwrap();
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );

    let removed = reclaim(&[
        "image",
        "rm",
        "app:1",
        "--undo-window",
        "1h",
        "--grace",
        "10ms",
    ]);
    removed.exits(0);
    let history = reclaim(&["history", "--format", "json"]).exits(0).json();
    let run = history["runs"][0]["run"].as_str().unwrap().to_owned();
    let released = reclaim(&["release", &run]).exits(0);
    assert_eq!(released.stdout, format!("released: {run}\n"));
    assert_eq!(rig.namespace.leases().await.unwrap().len(), 0);
}

/// Layers come back through the daemon as without it, and its record has no credentials.
#[tokio::test(flavor = "multi_thread")]
async fn restores_through_a_daemon() {
    let (rig, _daemon, host) = hosted(&[]).await;
    let registry = Registry::start().await;
    let layers = || [Layer::random(1, 5000)];
    registry.put("team/app:1", |image| image.layers(layers()));
    let image = image(&registry.name("team/app:1"))
        .platform(&host_platform())
        .layers(layers())
        .build(&rig.namespace)
        .await
        .unwrap();
    let layer = &image.manifests[0].layers[0].digest;
    rig.namespace.delete_blob(layer).await.unwrap();
    let args = [
        "image", "restore", "--format", "json", "--all", "--user", "me",
    ];
    let args = [&["--host", &host][..], &args, &["--password-stdin"]].concat();
    let done = rig.reclaim_with("secret", &args).exits(0);
    assert_eq!(
        done.json()["images"][0]["fetched"][0]["digest"],
        layer.to_string()
    );
    assert!(rig.namespace.blobs().await.unwrap().contains_key(layer));
    let history = ["history", "--all", "--format", "json"];
    let records = rig.reclaim(&[&["--host", &host][..], &history].concat());
    let records = records.exits(0).json();
    let record = records["records"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(record["images"][0]["change"], "completed", "{record:#}");
    assert!(!records.to_string().contains("secret"), "{records:#}");
}

/// The pins and the output are the same as without a daemon.
#[tokio::test]
async fn pins_through_a_daemon() {
    let (rig, _daemon, host) = hosted(&[]).await;
    fill(&rig.namespace).await;
    let reclaim = |args: &[&str]| rig.reclaim(&[&["--host", &host], args].concat());
    let output = reclaim(&["pin", "app:1", "gone"]).exits(1);
    assert_eq!(output.stdout, "Pinned: app:1\n");
    assert_eq!(output.stderr, "error: No such image: gone:latest\n");
    let name = "docker.io/library/app:1";
    let record = rig.namespace.image_record(name).await.unwrap();
    assert_eq!(record.labels["io.cri-containerd.pinned"], "pinned");
    assert!(record.labels.contains_key("reclaim/pinned"));
    let args = ["pin", "--format", "json", "app:1"];
    let through = reclaim(&args).exits(0).json();
    assert_eq!(through, rig.reclaim(&args).exits(0).json());
    assert_eq!(through["images"][0]["unchanged"], serde_json::json!([name]));
    let output = reclaim(&["unpin", "--wait", "app:1"]).exits(0);
    assert_eq!(output.stdout, "Unpinned: app:1\n");
    let pinned = labels([("io.cri-containerd.pinned", "pinned")]);
    let target = record.target;
    rig.namespace
        .update_image(name, &target, &pinned)
        .await
        .unwrap();
    let output = reclaim(&["unpin", "app:1"]).exits(1);
    assert!(
        output.stderr.contains("not pinned by reclaim"),
        "{output:#?}"
    );
    reclaim(&["unpin", "-f", "app:1"]).exits(0);
    let record = rig.namespace.image_record(name).await.unwrap();
    assert!(!record.labels.contains_key("io.cri-containerd.pinned"));
}

/// The daemon applies the plan that is confirmed.
#[tokio::test]
async fn asks_before_a_daemon_removes_images() {
    let (rig, _daemon, host) = hosted(&[]).await;
    fill(&rig.namespace).await;
    let args = [
        "--host", &host, "image", "prune", "--all", "--grace", "10ms",
    ];
    let declined = rig.reclaim_with("n\n", &args).exits(0);
    assert!(declined.stderr.contains("Are you sure"), "{declined:#?}");
    assert_eq!(rig.names().await.len(), 4);
    rig.reclaim_with("y\n", &args).exits(0);
    assert_eq!(rig.names().await.len(), 0);
}

#[tokio::test]
async fn says_why_a_host_cannot_be_used() {
    let rig = Rig::start().await;
    let output = rig.reclaim(&["--host", "/run/x.sock", "df"]).exits(2);
    assert!(
        output.stderr.contains("accepted is unix:///PATH"),
        "{output:#?}"
    );
    let output = rig
        .reclaim(&["--host", "unix:///nowhere.sock", "df"])
        .exits(1);
    assert!(
        output.stderr.contains("is `reclaim serve` running there?"),
        "{output:#?}"
    );
    let output = rig
        .reclaim(&["--host", "unix:///nowhere.sock", "serve"])
        .exits(2);
    assert!(
        output.stderr.contains("cannot use `serve` with --host"),
        "{output:#?}"
    );
}

/// The daemon's configuration names containerd's file, and can turn off the protection of what a
/// node needs.
#[tokio::test]
async fn a_daemon_keeps_the_sandbox_image_of_containerds_configuration() {
    let rig = Rig::start().await;
    let pause = "registry.example/pod-base:1";
    let namespace = rig.containerd.namespace("k8s.io");
    image(pause).build(&namespace).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let containerd = format!("[plugins.cri]\nsandbox_image = '{pause}'");
    fs::write(at("containerd.toml"), containerd).unwrap();
    let named = format!("[containerd]\nconfig = '{}'\n", at("containerd.toml"));
    let free = format!("{named}[protect]\ninfrastructure = false\n");
    for (config, removed) in [(named, 0), (free, 1)] {
        fs::write(at("config.toml"), config).unwrap();
        let args = ["--config", &at("config.toml")];
        let daemon = Daemon::start(rig.containerd.address(), &args).await;
        let host = format!("unix://{}", daemon.socket().display());
        let prune = ["image", "prune", "-a", "--dry-run", "--format", "json"];
        let args = [&["--host", &host, "-n", "k8s.io"], &prune[..]].concat();
        let report = rig.reclaim(&args).exits(0).json();
        let gone = report["removed"].as_array().unwrap().len();
        assert_eq!(gone, removed, "{report:#}");
        assert_eq!(report["warnings"], serde_json::json!([]));
    }
}
