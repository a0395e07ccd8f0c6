//! Daemons on the nodes of a cluster, which take turns at its API server.

use std::fs;
use std::net::SocketAddr;

use reclaim_testkit::{ApiServer, Mood};
use serde_json::json;

use crate::daemon::{Daemon, LOOKS, PAUSE, with_metrics};
use crate::host::Host;

const MIB: u64 = 1 << 20;

/// The one turn that there is.
const LEASE: &str = "reclaim-turn-0";

/// Starts the daemon of a node. Its policy looks every second and takes one image at a time, which
/// is its cap.
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

/// Starts a host with so many images of which none is used.
async fn host(images: u64) -> Host {
    let host = Host::start(64 * MIB).await;
    for number in 0..images {
        host.image(&format!("app:{number}"), number, 1000).await;
    }
    host
}

/// Returns how often the policy ended in some way.
fn ran(outcome: &str) -> String {
    format!("reclaim_runs_total{{policy=\"p\",trigger=\"schedule\",outcome=\"{outcome}\"}}")
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..LOOKS {
        if is_so().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("not in time: {what}");
}

/// While another node has the turn, nothing should be removed; when it is given back this node
/// should have it for as long as its run takes, and give it back.
#[tokio::test]
async fn a_node_waits_for_its_turn() {
    let server = ApiServer::default();
    let mut held_by_another = 0;
    let mut renew = || {
        held_by_another += 1;
        let spec = json!({
            "holderIdentity": "another",
            "leaseDurationSeconds": 15,
            "leaseTransitions": 0,
            "renewTime": format!("2026-01-01T00:00:00.{held_by_another:06}Z"),
        });
        server.put(LEASE, &spec);
    };
    renew();
    let host = host(1).await;
    let daemon = start(&host, "this", server.listen().await);
    until("it asks for the turn", async || {
        renew();
        server.requests() >= 4
    })
    .await;
    assert_eq!(host.names().await.len(), 1);
    assert_eq!(daemon.metric(&ran("capped")).await.unwrap_or(0), 0);

    server.put(LEASE, &json!({ "leaseTransitions": 0 }));
    daemon.wait_for(&ran("capped"), |value| value == 1).await;
    assert_eq!(host.names().await.len(), 0);
    assert_eq!(server.lease(LEASE)["spec"]["leaseTransitions"], 1);
    assert!(daemon.stop().await.success());
    assert_eq!(server.holders(), [None]);
}

/// Of two nodes with work for several runs, never both should be at work.
#[tokio::test]
async fn two_nodes_never_work_at_once() {
    const IMAGES: u64 = 3;
    /// The guard of a run, which is there as long as the run.
    const GUARD: &str = "reclaim.prune";
    let server = ApiServer::default();
    let cluster = server.listen().await;
    let hosts = [host(IMAGES).await, host(IMAGES).await];
    let daemons = [
        start(&hosts[0], "a", cluster),
        start(&hosts[1], "b", cluster),
    ];
    let at_work = async |host: &Host| {
        let leases = host.rig.namespace.leases().await.unwrap();
        leases.get(GUARD).cloned()
    };
    let mut seen = [0, 0];
    until("all images are gone", async || {
        let first = at_work(&hosts[0]).await;
        let second = at_work(&hosts[1]).await;
        // Looked at after the second, too, so that it is known what was at that moment.
        let is_first_still = first.is_some() && at_work(&hosts[0]).await == first;
        assert!(!is_first_still || second.is_none(), "both are at work");
        seen[0] += usize::from(first.is_some());
        seen[1] += usize::from(second.is_some());
        hosts[0].names().await.is_empty() && hosts[1].names().await.is_empty()
    })
    .await;
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    for daemon in daemons {
        assert!(daemon.stop().await.success());
    }
    assert_eq!(server.holders(), [None]);
}

/// Where nobody can say whose turn it is nothing should be removed, and the history say why.
#[tokio::test]
async fn without_a_turn_nothing_is_removed() {
    let server = ApiServer::default();
    server.set_mood(Mood::Forbidding);
    let host = host(1).await;
    let daemon = start(&host, "this", server.listen().await);
    daemon.wait_for(&ran("failed"), |value| value > 0).await;
    assert_eq!(host.names().await.len(), 1);
    server.set_mood(Mood::Well);
    daemon.wait_for(&ran("capped"), |value| value == 1).await;
    assert_eq!(host.names().await.len(), 0);
    assert!(daemon.stop().await.success());
    let history = host.with_state(&["policy", "history", "--format", "json"]);
    let history = history.exits(0).json();
    let error = history["runs"][0]["error"].as_str().unwrap();
    assert!(
        error.contains("no turn for this host") && error.contains("leases is forbidden"),
        "{error}"
    );
}
