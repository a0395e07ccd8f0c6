//! Events about a node: what they contain, how they repeat, and a server that refuses them.

use std::sync::Arc;
use std::time::Duration;

use reclaim_fleet::{NodeEvent, NodeEvents};
use reclaim_model::chain;
use reclaim_testkit::{ApiServer, ServerMode};
use tokio::time::advance;

use crate::cluster::client;

const MINUTE: Duration = Duration::from_secs(60);

fn events(server: &ApiServer) -> NodeEvents {
    NodeEvents::new(client(server, &Arc::default()), "node-1".to_owned())
}

fn event(subject: &str) -> NodeEvent {
    NodeEvent {
        reason: "ReclaimRunFailed",
        subject: subject.to_owned(),
        // Longer than the server accepts, and the limit is within a character.
        note: "ä".repeat(600),
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_names_the_node_as_the_kubelet_does() {
    let server = ApiServer::default();
    events(&server).report(event("p")).await.unwrap();
    let sent = server.events();
    assert_eq!(sent.len(), 1);
    let regarding = &sent[0]["regarding"];
    assert_eq!(
        (&regarding["kind"], &regarding["name"], &regarding["uid"]),
        (&"Node".into(), &"node-1".into(), &"node-1".into())
    );
    assert_eq!(sent[0]["note"].as_str().unwrap().len(), 1024);
    assert_eq!(sent[0]["reason"], "ReclaimRunFailed");
}

/// Within five minutes there is one request for each subject, and the next one has the count of all.
#[tokio::test(start_paused = true)]
async fn events_that_repeat_are_counted_and_sent_rarely() {
    let server = ApiServer::default();
    let mut events = events(&server);
    for _ in 0..100 {
        events.report(event("p")).await.unwrap();
    }
    events.report(event("q")).await.unwrap();
    assert_eq!(server.requests(), 2);
    advance(5 * MINUTE).await;
    events.report(event("p")).await.unwrap();
    assert_eq!(server.requests(), 3);
    let counts = |server: &ApiServer| -> Vec<_> {
        let events = server.events();
        let counts = events.iter().map(|event| event["series"]["count"].as_i64());
        counts.collect()
    };
    assert_eq!(counts(&server), [Some(101), None]);
    // Long after the last one, it is another problem.
    advance(30 * MINUTE).await;
    events.report(event("p")).await.unwrap();
    assert_eq!(counts(&server), [Some(101), None, None]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_server_deleted_is_created_again() {
    let server = ApiServer::default();
    let mut events = events(&server);
    events.report(event("p")).await.unwrap();
    server.expire_events();
    advance(5 * MINUTE).await;
    events.report(event("p")).await.unwrap();
    assert_eq!(server.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_the_node_and_the_next_event_is_sent_at_once() {
    let server = ApiServer::default();
    let mut events = events(&server);
    for (mode, text) in [
        (
            ServerMode::Forbidden,
            "create an event about node `node-1` in namespace `default`: leases is forbidden",
        ),
        (
            ServerMode::Silent,
            "create an event about node `node-1`: no answer within 10 s",
        ),
    ] {
        server.set_mode(mode);
        let error = events.report(event("p")).await.unwrap_err();
        assert!(chain(&error).starts_with(text), "{}", chain(&error));
    }
    server.set_mode(ServerMode::Healthy);
    events.report(event("p")).await.unwrap();
    assert_eq!(server.events().len(), 1);
}
