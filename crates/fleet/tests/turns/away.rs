//! The API server is away, or says no: there is no turn, and the reason says why.

use std::time::Duration;

use reclaim_fleet::TurnError;
use reclaim_model::chain;
use tokio::time::Instant;

use crate::cluster::{LEASE, Node};
use reclaim_testkit::{ApiServer, ServerMode};

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_away_is_the_reason_that_there_is_no_turn() {
    for (mood, words) in [
        (
            ServerMode::Unavailable,
            "get lease `fleet/reclaim-0`: etcd is unavailable",
        ),
        (
            ServerMode::Silent,
            "get lease `fleet/reclaim-0`: no answer within 5 s",
        ),
    ] {
        let server = ApiServer::default();
        server.set_mode(mood);
        let start = Instant::now();
        let error = Node::new(&server, "a", 1).take().await.unwrap_err();
        assert!(chain(&error).contains(words), "{}", chain(&error));
        let waited = start.elapsed();
        assert!((LEASE..LEASE * 2).contains(&waited), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_not_asked_again() {
    let server = ApiServer::default();
    server.set_mode(ServerMode::Forbidden);
    let error = Node::new(&server, "a", 1).take().await.unwrap_err();
    assert!(matches!(error, TurnError::Forbidden { .. }), "{error:?}");
    assert!(
        chain(&error).contains("the right to get, create and update"),
        "{}",
        chain(&error)
    );
    assert_eq!(server.requests(), 1);

    let server = ApiServer::default();
    server.lose_namespace();
    let error = Node::new(&server, "a", 1).take().await.unwrap_err();
    assert!(
        chain(&error).contains("create lease `fleet/reclaim-0`"),
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
async fn waiting_outlasts_a_server_that_restarts() {
    let server = ApiServer::default();
    server.set_mode(ServerMode::Unavailable);
    let node = Node::new(&server, "a", 1);
    let (turn, ()) = tokio::join!(node.take(), async {
        tokio::time::sleep(LEASE / 2).await;
        server.set_mode(ServerMode::Healthy);
    });
    turn.unwrap().give_back().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_outlasts_a_server_that_restarts() {
    let server = ApiServer::default();
    let turn = Node::new(&server, "a", 1).take().await.unwrap();
    for mood in [
        ServerMode::Unavailable,
        ServerMode::Silent,
        ServerMode::SilentAfterEffect,
    ] {
        server.set_mode(mood);
        tokio::time::sleep(LEASE / 3).await;
        server.set_mode(ServerMode::Healthy);
        tokio::time::sleep(LEASE).await;
        assert!(!turn.lost().is_cancelled(), "{mood:?}");
    }
    turn.give_back().await;
    assert_eq!(server.holders(), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_lost_before_another_node_can_have_it() {
    for mood in [
        ServerMode::Unavailable,
        ServerMode::Silent,
        ServerMode::SilentAfterEffect,
    ] {
        let server = ApiServer::default();
        let turn = Node::new(&server, "a", 1).take().await.unwrap();
        server.set_mode(mood);
        let start = Instant::now();
        turn.lost().cancelled().await;
        let after = start.elapsed();
        assert!(after <= LEASE * 2 / 3, "{mood:?}: {after:?}");
        assert!(after > LEASE / 3, "{mood:?}: {after:?}");
        // Nobody is left waiting by somebody who gives back what he does not have.
        turn.give_back().await;
    }
}

/// A dead cable should cost one node its turn, and the others no more than a lease.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_makes_place_for_the_next() {
    let server = ApiServer::default();
    let (a, b) = (Node::new(&server, "a", 1), Node::new(&server, "b", 1));
    let turn = a.take().await.unwrap();
    let lost = turn.lost();
    a.cut();
    let start = Instant::now();
    let next = b.take().await.unwrap();
    assert!(lost.is_cancelled(), "two have a turn");
    assert!(start.elapsed() < LEASE * 2, "{:?}", start.elapsed());
    a.mend();
    turn.give_back().await;
    assert!(!next.lost().is_cancelled());
    assert_eq!(server.holders(), [Some("b".to_owned())]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!next.lost().is_cancelled());
    next.give_back().await;
}
