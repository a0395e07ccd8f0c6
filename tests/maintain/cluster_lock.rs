//! Daemons on the nodes of a cluster, which coordinate with Leases of its API server.

use std::fs;
use std::net::SocketAddr;

use reclaim_testkit::{ApiServer, ServerMode};
use serde_json::json;

use crate::daemon::{CHECKS, Daemon, PAUSE, with_metrics};
use crate::host::Host;

const MIB: u64 = 1 << 20;

/// Since when a policy waits for the cluster lock.
const WAIT_START: &str = "reclaim_cluster_lock_wait_start_timestamp_seconds";

/// How often the cluster lock could not be acquired.
const LOCK_FAILURES: &str = "reclaim_cluster_lock_failures_total";

/// The Lease of another node.
const LEASE: &str = "reclaim-turn-another";

/// Starts the daemon of a node. Its policy runs every second and removes one image, which is its
/// cap.
fn start(host: &Host, node: &str, cluster: SocketAddr) -> Daemon {
    let fleet = format!("[fleet]\nturns = 1\nlease_duration = \"15s\"\nnode = \"{node}\"\n");
    let policy = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n\
                  max_images = 1\ninterval = \"1s\"\n";
    host.configure(&with_metrics(&format!("{fleet}{policy}")));
    let kubeconfig = host.directory.path().join("kubeconfig");
    let access = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": format!("http://{cluster}") } }],
        "users": [{ "name": "u", "user": {} }],
        "contexts": [{
            "name": "x",
            "context": { "cluster": "c", "user": "u", "namespace": "fleet" },
        }],
        "current-context": "x",
    });
    fs::write(&kubeconfig, access.to_string()).unwrap();
    Daemon::start_with(host, &["maintain"], &[("KUBECONFIG", &kubeconfig)])
}

/// Starts a host with this many unused images.
async fn host(images: u64) -> Host {
    let host = Host::start(64 * MIB).await;
    for number in 0..images {
        host.image(&format!("app:{number}"), number, 1000).await;
    }
    host
}

/// Returns the series that counts the policy's runs with an outcome.
fn ran(outcome: &str) -> String {
    format!("reclaim_runs_total{{policy=\"p\",trigger=\"schedule\",outcome=\"{outcome}\"}}")
}

/// Waits for a condition.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..CHECKS {
        if is_so().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("not in time: {what}");
}

/// A node removes nothing while another node holds the Lease. Then it takes the Lease for its run,
/// and releases it.
#[tokio::test]
async fn a_node_waits_for_the_lease() {
    let server = ApiServer::default();
    let mut n_renewals = 0;
    let mut renew = || {
        n_renewals += 1;
        let spec = json!({
            "holderIdentity": "another",
            "leaseDurationSeconds": 15,
            "renewTime": format!("2026-01-01T00:00:00.{n_renewals:06}Z"),
        });
        server.put(LEASE, &spec);
    };
    renew();
    let host = host(1).await;
    let daemon = start(&host, "this", server.listen().await);
    until("it requests the Lease", async || {
        renew();
        server.requests() >= 4
    })
    .await;
    assert_eq!(host.names().await.len(), 1);
    assert_eq!(daemon.metric(&ran("capped")).await.unwrap_or(0), 0);
    daemon.wait_for(WAIT_START, |value| value > 0).await;

    server.remove(LEASE);
    daemon.wait_for(&ran("capped"), |value| value == 1).await;
    assert_eq!(daemon.metric(WAIT_START).await, Some(0));
    assert_eq!(daemon.metric(LOCK_FAILURES).await, Some(0));
    assert_eq!(host.names().await.len(), 0);
    assert!(daemon.stop().await.success());
    assert!(server.holders().is_empty());
}

/// Each node has images for several runs.
#[tokio::test]
async fn two_nodes_never_prune_at_the_same_time() {
    const IMAGES: u64 = 3;
    /// The guard, which exists as long as a run.
    const GUARD: &str = "reclaim.prune";
    let server = ApiServer::default();
    let cluster = server.listen().await;
    let hosts = [host(IMAGES).await, host(IMAGES).await];
    let daemons = [
        start(&hosts[0], "a", cluster),
        start(&hosts[1], "b", cluster),
    ];
    let guard_of = async |host: &Host| {
        let leases = host.rig.namespace.leases().await.unwrap();
        leases.get(GUARD).cloned()
    };
    let mut seen = [0, 0];
    until("all images are gone", async || {
        let first = guard_of(&hosts[0]).await;
        let second = guard_of(&hosts[1]).await;
        // Read the first again: if it is the same, it also existed when the second was read.
        let is_first_still = first.is_some() && guard_of(&hosts[0]).await == first;
        assert!(!is_first_still || second.is_none(), "both prune");
        seen[0] += usize::from(first.is_some());
        seen[1] += usize::from(second.is_some());
        hosts[0].names().await.is_empty() && hosts[1].names().await.is_empty()
    })
    .await;
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    for daemon in daemons {
        assert!(daemon.stop().await.success());
    }
    assert!(server.holders().is_empty());
}

/// Without an answer of the API server nothing is removed, and the history has the error.
#[tokio::test]
async fn removes_nothing_without_the_lease() {
    let server = ApiServer::default();
    server.set_mode(ServerMode::Forbidden);
    let host = host(1).await;
    let daemon = start(&host, "this", server.listen().await);
    daemon.wait_for(&ran("failed"), |value| value > 0).await;
    assert_eq!(host.names().await.len(), 1);
    server.set_mode(ServerMode::Healthy);
    daemon.wait_for(&ran("capped"), |value| value == 1).await;
    assert_eq!(host.names().await.len(), 0);
    assert!(daemon.stop().await.success());
    let history = host
        .with_state(&["policy", "history", "--format", "json"])
        .exits(0)
        .json();
    let error = history["runs"][0]["error"].as_str().unwrap();
    assert!(
        error.contains("acquire the cluster lock") && error.contains("leases is forbidden"),
        "{error}"
    );
}

/// The Event is what `kubectl describe node` shows. A server that refuses Events changes no run.
#[tokio::test]
async fn a_failed_run_becomes_an_event_about_the_node() {
    let server = ApiServer::default();
    server.set_mode(ServerMode::Forbidden);
    let host = host(1).await;
    let daemon = start(&host, "this", server.listen().await);
    daemon.wait_for(&ran("failed"), |value| value > 0).await;
    daemon.wait_for(LOCK_FAILURES, |value| value > 0).await;
    assert!(server.events().is_empty());
    // The Leases have no namespace, and Events do.
    server.lose_namespace();
    server.set_mode(ServerMode::Healthy);
    until("there is an event", async || !server.events().is_empty()).await;
    let so_far = daemon.metric(&ran("failed")).await.unwrap();
    daemon
        .wait_for(&ran("failed"), |value| value > so_far)
        .await;
    let events = server.events();
    let [event] = &events[..] else {
        panic!("the event repeats: {events:#?}");
    };
    assert_eq!(event["reason"], "ReclaimRunFailed");
    assert_eq!(event["regarding"]["name"], "this");
    let note = event["note"].as_str().unwrap();
    assert!(
        note.starts_with("Policy p failed: acquire the cluster lock: "),
        "{note}"
    );
    assert_eq!(host.names().await.len(), 1);
    assert!(daemon.stop().await.success());
}
