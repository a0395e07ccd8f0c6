//! The API server is unavailable or refuses: the lock is not acquired or lost, with the cause.

use std::time::Duration;

use reclaim_fleet::ClusterLockError;
use reclaim_model::chain;
use tokio::time::Instant;

use crate::cluster::{LEASE, Node};
use reclaim_testkit::{ApiServer, ServerMode};

#[tokio::test(start_paused = true)]
async fn acquire_fails_if_the_server_stays_unavailable() {
    for (mode, words) in [
        (
            ServerMode::Unavailable,
            "list leases `fleet/reclaim-a`: etcd is unavailable",
        ),
        (
            ServerMode::Silent,
            "list leases `fleet/reclaim-a`: no answer within 5 s",
        ),
    ] {
        let server = ApiServer::default();
        server.set_mode(mode);
        let start = Instant::now();
        let error = Node::new(&server, "a", 1).acquire().await.unwrap_err();
        assert!(chain(&error).contains(words), "{}", chain(&error));
        let waited = start.elapsed();
        assert!((LEASE..LEASE * 2).contains(&waited), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn acquire_does_not_retry_after_a_refusal() {
    let server = ApiServer::default();
    server.set_mode(ServerMode::Forbidden);
    let error = Node::new(&server, "a", 1).acquire().await.unwrap_err();
    assert!(
        matches!(error, ClusterLockError::Forbidden { .. }),
        "{error:?}"
    );
    assert!(
        chain(&error)
            .contains("permission to get, list, create, update and delete leases is required"),
        "{}",
        chain(&error)
    );
    assert_eq!(server.requests(), 1);

    let server = ApiServer::default();
    server.lose_namespace();
    let error = Node::new(&server, "a", 1).acquire().await.unwrap_err();
    assert!(
        chain(&error).contains("create lease `fleet/reclaim-a`"),
        "{}",
        chain(&error)
    );
    assert!(
        chain(&error).contains("namespaces \"fleet\" not found"),
        "{}",
        chain(&error)
    );
    assert_eq!(server.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn acquire_outlasts_a_restart_of_the_server() {
    let server = ApiServer::default();
    server.set_mode(ServerMode::Unavailable);
    let node = Node::new(&server, "a", 1);
    let (acquired, ()) = tokio::join!(node.acquire(), async {
        tokio::time::sleep(LEASE / 2).await;
        server.set_mode(ServerMode::Healthy);
    });
    acquired.unwrap().release().await;
}

#[tokio::test(start_paused = true)]
async fn the_lock_outlasts_a_restart_of_the_server() {
    let server = ApiServer::default();
    let guard = Node::new(&server, "a", 1).acquire().await.unwrap();
    for mode in [
        ServerMode::Unavailable,
        ServerMode::Silent,
        ServerMode::SilentAfterEffect,
    ] {
        server.set_mode(mode);
        tokio::time::sleep(LEASE / 3).await;
        server.set_mode(ServerMode::Healthy);
        tokio::time::sleep(LEASE).await;
        assert!(!guard.lost().is_cancelled(), "{mode:?}");
    }
    guard.release().await;
    assert!(server.holders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_lost_before_another_node_can_acquire_it() {
    for mode in [
        ServerMode::Unavailable,
        ServerMode::Silent,
        ServerMode::SilentAfterEffect,
    ] {
        let server = ApiServer::default();
        let guard = Node::new(&server, "a", 1).acquire().await.unwrap();
        server.set_mode(mode);
        let start = Instant::now();
        guard.lost().cancelled().await;
        let after = start.elapsed();
        assert!(after <= LEASE * 2 / 3, "{mode:?}: {after:?}");
        assert!(after > LEASE / 3, "{mode:?}: {after:?}");
        // Releasing a lost lock returns.
        guard.release().await;
    }
}

/// A node that is cut off loses the lock, and the next node waits about the duration of a lease.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_loses_the_lock_to_the_next() {
    let server = ApiServer::default();
    let (a, b) = (Node::new(&server, "a", 1), Node::new(&server, "b", 1));
    let guard = a.acquire().await.unwrap();
    let lost = guard.lost();
    a.cut();
    let start = Instant::now();
    let next = b.acquire().await.unwrap();
    assert!(lost.is_cancelled(), "two nodes hold the lock");
    assert!(start.elapsed() < LEASE * 2, "{:?}", start.elapsed());
    a.mend();
    guard.release().await;
    assert!(!next.lost().is_cancelled());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!next.lost().is_cancelled());
    next.release().await;
    // The lease of the first stays until it acquires the lock again.
    assert_eq!(server.holders(), ["a"]);
    a.acquire().await.unwrap().release().await;
    assert!(server.holders().is_empty());
}
