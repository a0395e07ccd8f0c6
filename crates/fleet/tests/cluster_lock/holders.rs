//! Who has a turn, and for how long.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use reclaim_fleet::TurnError;

use crate::cluster::{Census, LEASE, Node};
use reclaim_testkit::ApiServer;

#[tokio::test(start_paused = true)]
async fn many_nodes_race_and_never_more_than_so_many_have_a_turn() {
    for at_once in [1, 3] {
        let server = ApiServer::default();
        let census = Arc::new(Census::default());
        let mut nodes = JoinSet::new();
        for number in 0..40_u64 {
            let (server, census) = (server.clone(), Arc::clone(&census));
            nodes.spawn(async move {
                let node = Node::new(&server, &format!("node-{number}"), at_once);
                for round in 0..3 {
                    let turn = node.take().await.unwrap();
                    let time = Duration::from_secs(1 + (number * 7 + round * 13) % 90);
                    census.work(&turn, time).await;
                    turn.give_back().await;
                }
            });
        }
        nodes.join_all().await;
        assert_eq!(census.turns(), 120);
        assert_eq!(census.most(), at_once as usize);
        assert_eq!(server.holders(), vec![None; at_once as usize]);
    }
}

/// A turn should last for as long as its holder works, however long the others wait.
#[tokio::test(start_paused = true)]
async fn a_turn_is_renewed_while_it_is_held() {
    let server = ApiServer::default();
    let (a, b) = (Node::new(&server, "a", 1), Node::new(&server, "b", 1));
    let turn = a.take().await.unwrap();
    let waiter = tokio::time::timeout(LEASE * 20, b.take());
    assert!(waiter.await.is_err(), "b has a turn while a has it");
    assert!(!turn.lost().is_cancelled());
    turn.give_back().await;
    drop(b.take().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_died_loses_its_turn_when_its_lease_was_seen_unchanged_for_its_duration() {
    // By the clock of the dead, or by ours, it is long over or far ahead: that proves nothing.
    for renewed in ["2001-01-01T00:00:00.000000Z", "2101-01-01T00:00:00.000000Z"] {
        let server = ApiServer::default();
        let dead = json!({
            "holderIdentity": "dead", "leaseDurationSeconds": 60, "leaseTransitions": 4,
            "acquireTime": renewed, "renewTime": renewed,
        });
        server.put("reclaim-0", &dead);
        let start = Instant::now();
        let turn = Node::new(&server, "a", 1).take().await.unwrap();
        let waited = start.elapsed();
        assert!(waited >= LEASE, "{waited:?}");
        assert!(waited < LEASE * 2, "{waited:?}");
        let lease = server.lease("reclaim-0");
        assert_eq!(lease["spec"]["holderIdentity"], "a");
        assert_eq!(lease["spec"]["leaseTransitions"], 5);
        drop(turn);
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_was_restarted_finds_its_turn_at_once() {
    let server = ApiServer::default();
    let now = "2026-01-01T00:00:00.000000Z";
    let own = json!({
        "holderIdentity": "a", "leaseDurationSeconds": 60, "leaseTransitions": 4,
        "acquireTime": now, "renewTime": now,
    });
    server.put("reclaim-0", &own);
    let start = Instant::now();
    let turn = Node::new(&server, "a", 1).take().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(server.lease("reclaim-0")["spec"]["leaseTransitions"], 4);
    turn.give_back().await;
    assert_eq!(
        server.lease("reclaim-0")["spec"]["holderIdentity"],
        Value::Null
    );
}

/// A write of somebody else to the lease is not the loss of the turn.
#[tokio::test(start_paused = true)]
async fn a_turn_survives_that_its_lease_is_labelled() {
    let server = ApiServer::default();
    let turn = Node::new(&server, "a", 1).take().await.unwrap();
    for _ in 0..5 {
        server.annotate("reclaim-0");
        tokio::time::sleep(LEASE).await;
    }
    assert!(!turn.lost().is_cancelled());
    server.annotate("reclaim-0");
    turn.give_back().await;
    assert_eq!(server.holders(), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_another_took_by_force_is_lost() {
    let server = ApiServer::default();
    let turn = Node::new(&server, "a", 1).take().await.unwrap();
    server.put(
        "reclaim-0",
        &json!({ "holderIdentity": "b", "leaseDurationSeconds": 60 }),
    );
    tokio::time::timeout(LEASE, turn.lost().cancelled())
        .await
        .unwrap();
    turn.give_back().await;
    assert_eq!(server.holders(), [Some("b".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn one_node_never_counts_for_two() {
    let server = ApiServer::default();
    let node = Node::new(&server, "a", 5);
    let first = node.take().await.unwrap();
    let second = tokio::time::timeout(LEASE * 3, node.take());
    assert!(second.await.is_err());
    first.give_back().await;
    node.take().await.unwrap().give_back().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_turn_gives_it_back() {
    let server = ApiServer::default();
    let (a, b) = (Node::new(&server, "a", 1), Node::new(&server, "b", 1));
    drop(a.take().await.unwrap());
    let start = Instant::now();
    b.take().await.unwrap().give_back().await;
    assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_holds_nothing() {
    let server = ApiServer::default();
    let (a, b) = (Node::new(&server, "a", 1), Node::new(&server, "b", 1));
    let turn = a.take().await.unwrap();
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(b.turns.take(&cancel), async {
        tokio::time::sleep(LEASE / 2).await;
        cancel.cancel();
    });
    assert!(matches!(outcome, Err(TurnError::Cancelled)), "{outcome:?}");
    turn.give_back().await;
    assert_eq!(server.holders(), [None]);
    let outcome = b.turns.take(&cancel).await;
    assert!(matches!(outcome, Err(TurnError::Cancelled)), "{outcome:?}");
    assert_eq!(server.holders(), [None]);
}

/// Nodes that wait should not be a load: a minute of a thousand is a few thousand requests.
#[tokio::test(start_paused = true)]
async fn waiting_asks_ever_less_often() {
    let server = ApiServer::default();
    let turn = Node::new(&server, "holder", 1).take().await.unwrap();
    let node = Node::new(&server, "waiter", 1);
    let before = server.requests();
    let waiter = tokio::time::timeout(LEASE * 60, node.take());
    assert!(waiter.await.is_err());
    // The holder renews six times a lease, the waiter looks twice.
    let asked = server.requests() - before;
    assert!((460..500).contains(&asked), "{asked}");
    turn.give_back().await;
}
