//! `reclaim inhibit`: what it refuses, until when, and its exit status.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Hook, Moment, Then};
use reclaim_testkit::{Layer, NewLease, Signal, image, labels, signal};
use serde_json::{Value, json};

use crate::protocol::{SLOWLY, end, rig_with_six_images, start, until_gone};
use crate::rig::{CommandOutput, Rig, call};

const PRUNE: [&str; 4] = ["image", "prune", "-a", "-f"];

async fn build(rig: &Rig, name: &str) {
    image(&format!("docker.io/library/{name}"))
        .layers([Layer::named(name, 500)])
        .build(&rig.namespace)
        .await
        .unwrap();
}

/// Starts `reclaim inhibit` in its own process group: a terminal sends SIGINT to the group of the
/// tests, and `inhibit` would leave it to the terminal.
fn inhibit(rig: &Rig, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("CONTAINERD_ADDRESS", rig.containerd.address())
        .arg("inhibit")
        .args(args)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn inhibitors(rig: &Rig) -> Vec<Value> {
    let output = rig.reclaim(&["inhibit", "--list", "--format", "json"]);
    let list = output.exits(0).json();
    list["inhibitors"].as_array().unwrap().clone()
}

/// Waits until a number of inhibitors is listed.
async fn until_listed(rig: &Rig, number: usize) -> Vec<Value> {
    for _ in 0..600 {
        let found = inhibitors(rig);
        if found.len() == number {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("there are not {number} inhibitors: {:?}", inhibitors(rig));
}

/// Waits for a file that a command creates when it has started.
async fn until_there(path: &Path) {
    for _ in 0..600 {
        if path.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} is not created", path.display());
}

#[tokio::test]
async fn all_refuses_every_removal_until_the_command_ends() {
    let rig = Rig::start().await;
    for name in ["app:1", "app:2", "app:3"] {
        build(&rig, name).await;
    }
    let held = ["image", "rm", "--undo-window", "1h", "app:3"];
    rig.reclaim(&held).exits(0);
    let run = rig.reclaim(&["history", "--format", "json"]).json()["runs"][0]["run"].clone();
    let usage = rig.reclaim(&["df", "-v"]).exits(0).stdout;
    let command = inhibit(&rig, &["--all", "--why", "a backup", "--", "sleep", "600"]);
    let [found] = &until_listed(&rig, 1).await[..] else {
        unreachable!()
    };
    for (key, expected) in [
        ("what", json!("all")),
        ("command", json!("sleep")),
        ("pid", json!(command.id())),
        ("uid", json!(rustix::process::getuid().as_raw())),
        ("why", json!("a backup")),
        ("namespace", json!("default")),
    ] {
        assert_eq!(found[key], expected, "{found:#}");
    }
    let table = rig.reclaim(&["inhibit", "--list"]).exits(0).stdout;
    assert!(
        table.contains("sleep") && table.contains("a backup"),
        "{table}"
    );
    // Its lease keeps no content, and is not listed among those that do.
    assert_eq!(rig.reclaim(&["df", "-v"]).exits(0).stdout, usage);
    let refused: [&[&str]; 4] = [
        &PRUNE,
        &["image", "rm", "app:1"],
        &[
            "-n", "default", "project", "prune", "-p", "p", "--rmi", "all",
        ],
        &["release", run.as_str().unwrap()],
    ];
    for args in refused {
        let output = rig.reclaim(args).exits(4);
        let text = format!(
            "removals are inhibited by `sleep` (process {} of user",
            command.id()
        );
        assert!(output.stderr.contains(&text), "{output:?}");
        assert!(output.stderr.contains(": a backup\nhint: "), "{output:?}");
    }
    assert_eq!(rig.names().await.len(), 2);
    // What removes nothing works.
    for args in [
        &["image", "prune", "-a", "--dry-run"][..],
        &["image", "rm", "--dry-run", "app:1"],
        &["pin", "app:1"],
        &["unpin", "app:1"],
        &["undo"],
    ] {
        rig.reclaim(args).exits(0);
    }
    assert_eq!(rig.names().await.len(), 3);
    signal(&command, Signal::TERM);
    assert_eq!(end(command).code, 143);
    assert_eq!(inhibitors(&rig), [] as [Value; 0]);
    rig.reclaim(&PRUNE).exits(0);
    assert_eq!(rig.names().await.len(), 0);
    let leases = rig.namespace.leases().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}

#[tokio::test]
async fn without_all_only_policies_are_inhibited() {
    let rig = Rig::start().await;
    build(&rig, "app:1").await;
    let command = inhibit(&rig, &["sleep", "600"]);
    let found = until_listed(&rig, 1).await;
    assert_eq!(found[0]["what"], "policies");
    assert_eq!(found[0]["why"], Value::Null);
    rig.reclaim(&PRUNE).exits(0);
    assert_eq!(rig.names().await.len(), 0);
    assert_eq!(inhibitors(&rig).len(), 1);
    signal(&command, Signal::INT);
    assert_eq!(end(command).code, 130);
}

#[tokio::test]
async fn exits_as_the_command_and_passes_signals_on() {
    let rig = Rig::start().await;
    build(&rig, "app:1").await;
    let run = |args: &[&str]| end(inhibit(&rig, args));
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let output = run(&["--", "sh", "-c", script]);
        assert_eq!(output.code, code, "{output:?}");
        assert_eq!(output.stderr, "");
    }
    let output = run(&["echo", "-n", "--all"]);
    assert_eq!((output.code, &*output.stdout), (0, "--all"));
    let missing = run(&["--", "/nowhere/at-all"]).exits(127);
    assert!(
        missing
            .stderr
            .starts_with("error: start `/nowhere/at-all`: "),
        "{missing:?}"
    );
    run(&["--", "/etc/passwd"]).exits(126);
    run(&[]).exits(2);
    run(&["--list", "true"]).exits(2);
    run(&["--why", "", "true"]).exits(2);

    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let script = format!(
        "trap 'exit 9' TERM; trap 'exit 8' INT; touch {}; while :; do sleep 0.05; done",
        ready.display()
    );
    for (sent, code) in [(Signal::TERM, 9), (Signal::INT, 8)] {
        let command = inhibit(&rig, &["--", "sh", "-c", &script]);
        until_there(&ready).await;
        std::fs::remove_file(&ready).unwrap();
        signal(&command, sent);
        assert_eq!(end(command).code, code);
    }
    assert_eq!(inhibitors(&rig), [] as [Value; 0]);
    assert!(rig.namespace.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn without_containerd_the_command_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let args = ["inhibit", "--", "touch", file.to_str().unwrap()];
    let socket = directory.path().join("containerd.sock");
    call(socket.to_str().unwrap(), "", &args).exits(1);
    assert!(!file.exists());
}

#[tokio::test]
async fn creates_no_namespace() {
    let rig = Rig::start().await;
    let output = end(inhibit(
        &rig,
        &["-n", "nowhere", "--", "sh", "-c", "exit 5"],
    ));
    assert_eq!(output.code, 5, "{output:?}");
    let warning = "warning: containerd has no namespace yet, so there is nothing to inhibit\n";
    assert_eq!(output.stderr, warning);
    let namespaces = rig.containerd.namespaces().await.unwrap();
    assert_eq!(namespaces, [] as [String; 0]);

    // Of several, the lease is in the named one if that exists, and inhibits all.
    let docker = rig.containerd.namespace("moby");
    image("docker.io/library/app:1")
        .build(&docker)
        .await
        .unwrap();
    build(&rig, "app:1").await;
    for (named, expected) in [("moby", "moby"), ("nowhere", "default")] {
        let command = inhibit(&rig, &["-n", named, "--all", "sleep", "600"]);
        let found = until_listed(&rig, 1).await;
        assert_eq!(found[0]["namespace"], expected);
        rig.reclaim(&PRUNE).exits(4);
        signal(&command, Signal::TERM);
        end(command);
    }
    let namespaces = rig.containerd.namespaces().await.unwrap();
    assert_eq!(namespaces, ["default", "moby"]);
    rig.reclaim(&PRUNE).exits(0);
}

/// Another process proves that a killed one is gone. Where it cannot, the lease expires.
#[tokio::test]
async fn ends_when_it_is_killed() {
    let rig = Rig::start().await;
    build(&rig, "app:1").await;
    let lifetime = ["--all", "--test-lifetime", "600000", "sleep", "1"];
    let mut command = inhibit(&rig, &lifetime);
    until_listed(&rig, 1).await;
    command.kill().unwrap();
    command.wait().unwrap();
    assert_eq!(inhibitors(&rig), [] as [Value; 0]);
    assert_eq!(rig.namespace.leases().await.unwrap().len(), 1);

    // A lease of a process that cannot be seen from here, and one that has expired.
    let now = jiff::Timestamp::now();
    let inhibits = || labels([("reclaim/inhibits", "all")]);
    let lease = |id: &str, seconds: i64| {
        let until = now + jiff::SignedDuration::from_secs(seconds);
        NewLease::new(id).labels(inhibits()).expires(until)
    };
    let namespace = &rig.namespace;
    namespace.create_lease(lease("expired", -1)).await.unwrap();
    assert_eq!(inhibitors(&rig), [] as [Value; 0]);
    namespace.create_lease(lease("unseen", 2)).await.unwrap();
    rig.reclaim(&PRUNE).exits(4);
    until_listed(&rig, 0).await;
    rig.reclaim(&PRUNE).exits(0);
    assert_eq!(rig.names().await.len(), 0);
}

/// Successors take over long after the first lease has expired.
#[tokio::test]
async fn is_renewed_across_its_expiry() {
    let rig = Rig::start().await;
    build(&rig, "app:1").await;
    let command = inhibit(&rig, &["--all", "--test-lifetime", "3000", "sleep", "600"]);
    let first = until_listed(&rig, 1).await[0].clone();
    let mut last = first.clone();
    for _ in 0..600 {
        let found = inhibitors(&rig);
        assert_eq!(found.len(), 1, "{found:#?}");
        last = found[0].clone();
        rig.namespace.collect().await.unwrap();
        if last["lease"].as_str().unwrap().ends_with(".5") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(last["lease"].as_str().unwrap().ends_with(".5"), "{last:#}");
    assert_eq!(last["since"], first["since"]);
    assert!(last["until"].as_str() > first["until"].as_str(), "{last:#}");
    rig.reclaim(&PRUNE).exits(4);
    signal(&command, Signal::TERM);
    end(command);
    assert!(rig.namespace.leases().await.unwrap().is_empty());
}

/// An inhibitor that comes between the plan and the first removal keeps the run from removing.
#[tokio::test(flavor = "multi_thread")]
async fn a_planned_run_removes_nothing_once_it_is_inhibited() {
    let rig = Rig::start().await;
    build(&rig, "app:1").await;
    let namespace = rig.namespace.clone();
    let hook = Hook::new(move || {
        let namespace = namespace.clone();
        async move {
            let lease = NewLease::new("late").labels(labels([("reclaim/inhibits", "all")]));
            namespace.create_lease(lease).await.unwrap();
            Then::Continue
        }
    });
    let fault = Fault {
        call: Call {
            // The journal of what is to be removed.
            method: "content.v1.Content/Write".to_owned(),
            nth: 0,
        },
        moment: Moment::After,
        act: Act::Run(hook),
    };
    let proxy = FaultProxy::start(rig.containerd.socket(), [fault]);
    let output = call(proxy.address(), "", &PRUNE).exits(4);
    assert_eq!(proxy.struck(), 1);
    assert!(
        output.stderr.contains("removals are inhibited by `late`"),
        "{output:?}"
    );
    assert_eq!(rig.names().await.len(), 1);
    let leases: Vec<String> = rig.namespace.leases().await.unwrap().into_keys().collect();
    assert_eq!(leases, ["late"], "the run has left nothing behind");
}

/// A run that has removed images and not freed them yet restores them.
#[tokio::test]
async fn a_run_under_way_restores_what_it_removed() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    let command = inhibit(&rig, &["--all", "sleep", "600"]);
    let CommandOutput { code, stderr, .. } = end(prune);
    assert_eq!(code, 3, "{stderr}");
    let text = "what the run removed is restored, because removals are inhibited by `sleep`";
    assert!(stderr.contains(text), "{stderr}");
    assert_eq!(rig.names().await.len(), 6);
    signal(&command, Signal::TERM);
    end(command);
    let leases = rig.namespace.leases().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
    rig.reclaim(&PRUNE).exits(0);
    assert_eq!(rig.names().await.len(), 0);
}

/// Stands in for systemd: runs units in the background, and returns when they have notified it.
const SYSTEMD: [(&str, &str); 3] = [
    (
        "systemd-run",
        r#"while case "$1" in --unit=*) unit=${1#--unit=} ;; --*) ;; *) false ;; esac; do shift; done
        rm -f "$UNITS/ready"
        "$@" >/dev/null 2>&1 &
        echo $! >"$UNITS/$unit"
        while ! [ -e "$UNITS/ready" ]; do kill -0 $! || exit 1; sleep 0.05; done"#,
    ),
    ("systemd-notify", r#"touch "$UNITS/ready""#),
    (
        "systemctl",
        r#"pid=$(cat "$UNITS/$2") || exit 5
        kill "$pid"
        rm "$UNITS/$2"
        while grep -q "^State:[^Z]*$" "/proc/$pid/status" 2>/dev/null; do sleep 0.05; done"#,
    ),
];

/// The script of docs/ci-runners.md, without systemd itself.
#[tokio::test]
async fn the_script_for_hooks_inhibits_during_a_job() {
    let rig = Rig::start().await;
    build(&rig, "app:1").await;
    let page = include_str!("../../docs/ci-runners.md");
    let (_, script) = page.split_once("```sh\n#!").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    };
    let hook = write("reclaim-job", &format!("#!{script}"));
    for (name, text) in SYSTEMD {
        write(name, &format!("#!/bin/sh\n{text}\n"));
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_reclaim")).parent().unwrap();
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        directory.path().display(),
        binary.display()
    );
    let call = |args: &[&str]| {
        // By its interpreter: a script that was just written may still be open in a forked process.
        let called = Command::new("/bin/sh")
            .arg(&hook)
            .args(args)
            .env_clear()
            .env("PATH", &path)
            .env("UNITS", directory.path())
            .env("CONTAINERD_ADDRESS", rig.containerd.address())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        called.unwrap().code().unwrap()
    };
    // The second start replaces the unit of a job that has ended without a stop.
    for _ in 0..2 {
        assert_eq!(call(&["start", "job-1"]), 0);
        let found = inhibitors(&rig);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0]["why"], "CI job job-1");
    }
    assert_eq!(call(&["stop", "job-1"]), 0);
    assert_eq!(inhibitors(&rig), [] as [Value; 0]);
    // By the process of the job.
    let mut job = Command::new("sleep").arg("600").spawn().unwrap();
    assert_eq!(call(&["start", "job-2", &job.id().to_string()]), 0);
    assert_eq!(inhibitors(&rig).len(), 1);
    job.kill().unwrap();
    job.wait().unwrap();
    until_listed(&rig, 0).await;
    for wrong in [
        &["start"][..],
        &["start", "a b"],
        &["start", "a", "1;2"],
        &["x", "a"],
    ] {
        assert_eq!(call(wrong), 2, "{wrong:?}");
    }
}
