//! Which nodes hold the lock, and for how long.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use reclaim_fleet::ClusterLockError;

use crate::cluster::{Census, LEASE, Node};
use reclaim_testkit::ApiServer;

#[tokio::test(start_paused = true)]
async fn of_many_nodes_no_more_than_allowed_hold_the_lock() {
    for max_holders in [1, 3] {
        let server = ApiServer::default();
        let census = Arc::new(Census::default());
        let mut nodes = JoinSet::new();
        for number in 0..40_u64 {
            let (server, census) = (server.clone(), Arc::clone(&census));
            nodes.spawn(async move {
                let node = Node::new(&server, &format!("node-{number}"), max_holders);
                for round in 0..3 {
                    let guard = node.acquire().await.unwrap();
                    let time = Duration::from_secs(1 + (number * 7 + round * 13) % 90);
                    census.work(&guard, time).await;
                    guard.release().await;
                }
            });
        }
        nodes.join_all().await;
        assert_eq!(census.total(), 120);
        assert_eq!(census.most(), max_holders as usize);
        assert!(server.holders().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_lock_lasts_as_long_as_its_holder_works() {
    let server = ApiServer::default();
    let (a, b) = (Node::new(&server, "a", 1), Node::new(&server, "b", 1));
    let guard = a.acquire().await.unwrap();
    let waiter = tokio::time::timeout(LEASE * 20, b.acquire());
    assert!(waiter.await.is_err(), "b has the lock while a holds it");
    assert!(!guard.lost().is_cancelled());
    guard.release().await;
    drop(b.acquire().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_loses_its_lease_once_it_was_observed_unchanged_for_its_duration() {
    // Its renewal time, long ago or far ahead, does not matter.
    for renewed in ["2001-01-01T00:00:00.000000Z", "2101-01-01T00:00:00.000000Z"] {
        let server = ApiServer::default();
        let dead = json!({
            "holderIdentity": "dead", "leaseDurationSeconds": 60,
            "acquireTime": renewed, "renewTime": renewed,
        });
        server.put("reclaim-dead", &dead);
        let start = Instant::now();
        let guard = Node::new(&server, "a", 1).acquire().await.unwrap();
        let waited = start.elapsed();
        assert!(waited >= LEASE, "{waited:?}");
        assert!(waited < LEASE * 2, "{waited:?}");
        // Only the node itself can write its lease.
        assert_eq!(server.holders(), ["a", "dead"]);
        drop(guard);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_daemon_takes_its_own_lease_at_once() {
    let server = ApiServer::default();
    let now = "2026-01-01T00:00:00.000000Z";
    let own = json!({
        "holderIdentity": "a", "leaseDurationSeconds": 60,
        "acquireTime": now, "renewTime": now,
    });
    server.put("reclaim-a", &own);
    let start = Instant::now();
    let guard = Node::new(&server, "a", 1).acquire().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(server.holders(), ["a"]);
    guard.release().await;
    assert!(server.holders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_annotation_of_the_lease_does_not_lose_the_lock() {
    let server = ApiServer::default();
    let guard = Node::new(&server, "a", 1).acquire().await.unwrap();
    for _ in 0..5 {
        server.annotate("reclaim-a");
        tokio::time::sleep(LEASE).await;
    }
    assert!(!guard.lost().is_cancelled());
    server.annotate("reclaim-a");
    guard.release().await;
    assert!(server.holders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_lost_if_its_lease_is_taken_or_deleted() {
    type Act = fn(&ApiServer);
    let taken: Act = |server| {
        let spec = json!({ "holderIdentity": "b", "leaseDurationSeconds": 60 });
        server.put("reclaim-a", &spec);
    };
    let deleted: Act = |server| server.remove("reclaim-a");
    for act in [taken, deleted] {
        let server = ApiServer::default();
        let guard = Node::new(&server, "a", 1).acquire().await.unwrap();
        act(&server);
        tokio::time::timeout(LEASE, guard.lost().cancelled())
            .await
            .unwrap();
        guard.release().await;
    }
}

/// What the lease of one node says, whatever it is, takes one place of the lock and no more.
#[tokio::test(start_paused = true)]
async fn the_lease_of_one_node_holds_one_place() {
    let server = ApiServer::default();
    let renew = |second: u64| {
        let time = format!("2026-01-01T00:00:00.{second:06}Z");
        let spec = json!({
            "holderIdentity": "everyone", "leaseDurationSeconds": i32::MAX,
            "acquireTime": time, "renewTime": time,
        });
        server.put("reclaim-evil", &spec);
    };
    renew(0);
    let node = Node::new(&server, "a", 2);
    for second in 1..20 {
        node.acquire().await.unwrap().release().await;
        renew(second);
    }
    let alone = Node::new(&server, "a", 1);
    let waiting = tokio::time::timeout(LEASE * 3, alone.acquire());
    assert!(waiting.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn one_node_never_holds_two_leases() {
    let server = ApiServer::default();
    let node = Node::new(&server, "a", 5);
    let first = node.acquire().await.unwrap();
    let second = tokio::time::timeout(LEASE * 3, node.acquire());
    assert!(second.await.is_err());
    first.release().await;
    node.acquire().await.unwrap().release().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_guard_releases_the_lock() {
    let server = ApiServer::default();
    let (a, b) = (Node::new(&server, "a", 1), Node::new(&server, "b", 1));
    drop(a.acquire().await.unwrap());
    let start = Instant::now();
    b.acquire().await.unwrap().release().await;
    assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_holds_no_lease() {
    let server = ApiServer::default();
    let (a, b) = (Node::new(&server, "a", 1), Node::new(&server, "b", 1));
    let guard = a.acquire().await.unwrap();
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(b.lock.acquire(&cancel), async {
        tokio::time::sleep(LEASE / 2).await;
        cancel.cancel();
    });
    assert!(
        matches!(outcome, Err(ClusterLockError::Cancelled)),
        "{outcome:?}"
    );
    guard.release().await;
    assert!(server.holders().is_empty());
    let outcome = b.lock.acquire(&cancel).await;
    assert!(
        matches!(outcome, Err(ClusterLockError::Cancelled)),
        "{outcome:?}"
    );
    assert!(server.holders().is_empty());
}

/// Waiting nodes must not load the server: a thousand of them make a few thousand requests a minute.
#[tokio::test(start_paused = true)]
async fn a_waiting_node_makes_ever_fewer_requests() {
    let server = ApiServer::default();
    let guard = Node::new(&server, "holder", 1).acquire().await.unwrap();
    let node = Node::new(&server, "waiter", 1);
    let before = server.requests();
    let waiter = tokio::time::timeout(LEASE * 60, node.acquire());
    assert!(waiter.await.is_err());
    // In the duration of a lease the holder renews six times, and the waiter lists almost three times.
    let n_requests = server.requests() - before;
    assert!((500..540).contains(&n_requests), "{n_requests}");
    guard.release().await;
}
