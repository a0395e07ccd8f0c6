//! Undo windows under a daemon: no clock of containerd ends them, the daemon does.

use reclaim_testkit::Signal;
use serde_json::Value;

use crate::daemon::{CHECKS, Daemon, PAUSE, with_metrics};
use crate::host::Host;

const MIB: u64 = 1 << 20;

/// Returns the labels of the holds, by lease.
async fn holds(host: &Host) -> Vec<(String, Vec<String>)> {
    let leases = host.rig.namespace.leases().await.unwrap();
    let holds = leases.into_iter();
    holds
        .filter(|(id, _)| id.starts_with("reclaim.hold."))
        .map(|(id, labels)| (id, labels.into_keys().collect()))
        .collect()
}

async fn until_held(host: &Host) -> String {
    for _ in 0..CHECKS {
        let mut found = holds(host).await;
        found.retain(|(id, _)| !id.ends_with(".unfinished"));
        if let Some((id, labels)) = found.pop() {
            assert!(!labels.contains(&"containerd.io/gc.expire".to_owned()));
            return id;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("nothing is held");
}

async fn until_freed(host: &Host) {
    for _ in 0..CHECKS {
        if holds(host).await.is_empty() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("still held: {:?}", holds(host).await);
}

fn held_runs(host: &Host) -> Vec<Value> {
    let history = host.reclaim(&["history", "--format", "json"]).exits(0);
    history.json()["runs"].as_array().unwrap().clone()
}

fn warnings(host: &Host) -> String {
    let usage = host.reclaim(&["df", "--format", "json"]).exits(0).json();
    usage["warnings"].to_string()
}

fn policy(window: &str) -> String {
    with_metrics(&format!(
        "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n\
         interval = \"1s\"\nundo_window = \"{window}\"\n"
    ))
}

#[tokio::test]
async fn a_daemon_ends_the_undo_window_of_its_runs() {
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 100_000).await;
    host.configure(&policy("3s"));
    let daemon = Daemon::start_as(&host, &["maintain"]);
    until_held(&host).await;
    assert_eq!(held_runs(&host)[0]["images"][0], "docker.io/library/a:1");
    until_freed(&host).await;
    assert!(host.rig.namespace.blobs().await.unwrap().is_empty());
    assert!(daemon.stop().await.success());
}

/// `df` names the hold of a daemon that was killed; the next one takes it over and ends it. The time
/// without a daemon counts.
#[tokio::test]
async fn the_next_daemon_ends_what_a_killed_one_held() {
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 100_000).await;
    host.configure(&policy("1h"));
    let daemon = Daemon::start_as(&host, &["maintain"]);
    let id = until_held(&host).await;
    let run = held_runs(&host)[0]["run"].as_str().unwrap().to_owned();
    assert_eq!(warnings(&host), "[]");
    daemon.signal(Signal::KILL);
    drop(daemon);
    let warned = warnings(&host);
    let remedy = format!("reclaim release --namespace default {run}");
    assert!(warned.contains(&remedy), "{warned}");

    let daemon = Daemon::start_as(&host, &["maintain"]);
    for _ in 0..CHECKS {
        let found = holds(&host).await;
        if !found.is_empty() && found.iter().all(|(found, _)| *found != id) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    assert_ne!(until_held(&host).await, id);
    assert_eq!(warnings(&host), "[]");
    assert_eq!(held_runs(&host).len(), 1);
    drop(daemon);
    host.reclaim(&["undo"]).exits(0);
    assert_eq!(host.names().await, ["a:1"]);
}

/// The part of the package's script that releases holds, with `ctr` on this containerd.
#[tokio::test]
async fn purging_the_package_releases_what_the_daemon_held() {
    const SCRIPT: &str = include_str!("../../deploy/debian/postrm");
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 100_000).await;
    host.configure(&policy("1h"));
    let daemon = Daemon::start_as(&host, &["maintain"]);
    until_held(&host).await;
    assert!(daemon.stop().await.success());
    let another = reclaim_testkit::NewLease::new("another");
    host.rig.namespace.create_lease(another).await.unwrap();

    let (_, function) = SCRIPT.split_once("release_holds() {").unwrap();
    let (body, _) = function.split_once("\n}").unwrap();
    let status = std::process::Command::new("sh")
        .args(["-ec", body])
        .env("CONTAINERD_ADDRESS", host.rig.containerd.address())
        .status();
    assert!(status.unwrap().success());
    until_freed(&host).await;
    assert!(host.rig.namespace.blobs().await.unwrap().is_empty());
    let leases = host.rig.namespace.leases().await.unwrap();
    assert_eq!(leases.into_keys().collect::<Vec<_>>(), ["another"]);
}

/// A command that ends cannot end a hold later, so containerd does.
#[tokio::test]
async fn a_command_that_ends_leaves_the_window_to_containerd() {
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 100_000).await;
    host.policy("undo_window = \"1h\"");
    host.once(0);
    let found = holds(&host).await;
    let (_, labels) = &found[0];
    assert!(labels.contains(&"containerd.io/gc.expire".to_owned()));
    assert!(!labels.contains(&"reclaim/undo-window".to_owned()));
}
