//! Connections that become streams of bytes.

use super::fixture::{Forwarding, Raw};
use crate::listen::Limits;

/// What moby sends before a stream.
const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                        Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// What moby sends if the request has no header `Upgrade`.
const SILENT: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";

/// Opens a stream, and returns both ends.
async fn open(forwarding: &Forwarding) -> (Raw, Raw) {
    let mut client = forwarding.client().await;
    client
        .send(
            "POST /v1.51/containers/a/attach?stream=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n\
             Upgrade: tcp\r\n\r\n",
        )
        .await;
    let mut engine = forwarding.accept().await;
    let head = engine.head().await.to_lowercase();
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("\r\nupgrade: tcp\r\n"), "{head}");
    engine.send(UPGRADED).await;
    client.expect(UPGRADED).await;
    (client, engine)
}

/// The end of the input is passed on, and output continues.
#[tokio::test]
async fn an_upgraded_connection_is_half_closed() {
    let forwarding = Forwarding::start().await;
    let (mut client, mut engine) = open(&forwarding).await;
    client.send("input").await;
    engine.expect("input").await;
    engine.send("output").await;
    client.expect("output").await;
    client.end().await;
    assert_eq!(engine.rest().await, "");
    engine.send("more output").await;
    client.expect("more output").await;
    engine.end().await;
    assert_eq!(client.rest().await, "");
}

/// The engine's end comes first, as for a container that does not read its input.
#[tokio::test]
async fn input_continues_after_the_output_has_ended() {
    let forwarding = Forwarding::start().await;
    let (mut client, mut engine) = open(&forwarding).await;
    engine.send("output").await;
    engine.end().await;
    assert_eq!(client.rest().await, "output");
    client.send("input").await;
    engine.expect("input").await;
    drop(client);
    assert_eq!(engine.rest().await, "");
}

/// A client without the header `Upgrade` gets status 200, on a connection that it used before, and may
/// send input before the response.
#[tokio::test]
async fn older_clients_take_the_connection_silently() {
    let forwarding = Forwarding::start().await;
    let mut client = forwarding.client().await;
    client
        .send("POST /v1.24/containers/a/start HTTP/1.1\r\nHost: d\r\n\r\n")
        .await;
    let mut engine = forwarding.accept().await;
    engine.head().await;
    engine.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.head().await;
    client
        .send(
            "POST /v1.24/exec/0f/start HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}early input",
        )
        .await;
    client.end().await;
    let mut engine = forwarding.accept().await;
    assert!(
        engine
            .head()
            .await
            .to_lowercase()
            .contains("\r\nupgrade: tcp\r\n")
    );
    engine.expect("{}").await;
    engine
        .send(&UPGRADED.replace("Connection", "Api-Version: 1.24\r\nConnection"))
        .await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                Api-Version: 1.24\r\n\r\n";
    client.expect(head).await;
    assert_eq!(engine.rest().await, "early input");
    engine.send("output").await;
    drop(engine);
    assert_eq!(client.rest().await, "output");

    let mut client = forwarding.client().await;
    client
        .send("POST /containers/a/attach?stream=1 HTTP/1.1\r\n\r\n")
        .await;
    let mut engine = forwarding.accept().await;
    engine.head().await;
    engine.send(UPGRADED).await;
    client.expect(SILENT).await;
}

/// The connection stays HTTP if the engine does not upgrade it.
#[tokio::test]
async fn a_refused_upgrade_is_a_response() {
    let forwarding = Forwarding::start().await;
    for upgrade in ["Connection: Upgrade\r\nUpgrade: tcp\r\n", ""] {
        let mut client = forwarding.client().await;
        for _ in 0..2 {
            client
                .send(&format!(
                    "POST /exec/0f/start HTTP/1.1\r\nHost: d\r\n{upgrade}\r\n"
                ))
                .await;
            let mut engine = forwarding.accept().await;
            engine.head().await;
            let refusal = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nDate: now\r\n\r\n";
            engine.send(refusal).await;
            engine.send("no").await;
            assert_eq!(client.head().await, refusal);
            client.expect("no").await;
        }
    }
}

/// A client that ended its input and then goes away: a read shows only the end of the input.
#[tokio::test]
async fn the_engine_sees_a_client_that_goes_away() {
    let forwarding = Forwarding::start().await;
    let (mut client, mut engine) = open(&forwarding).await;
    client.end().await;
    assert_eq!(engine.rest().await, "");
    drop(client);
    // Writing fails only once the other end is closed.
    while engine
        .0
        .try_write(b"output")
        .is_ok_and(|written| written > 0)
    {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Open streams and requests under way at the engine leave the limits to other requests.
#[tokio::test]
async fn streams_and_forwarded_requests_count_for_no_limit() {
    let limits = Limits {
        connections: 2,
        connections_per_peer: 2,
        requests: 1,
        ..Limits::of_forwarding()
    };
    let forwarding = Forwarding::start_with(limits).await;
    let mut open_ones = Vec::new();
    for _ in 0..4 {
        open_ones.push(open(&forwarding).await);
    }
    for _ in 0..4 {
        let mut client = forwarding.client().await;
        client.send("GET /events HTTP/1.1\r\nHost: d\r\n\r\n").await;
        let mut engine = forwarding.accept().await;
        engine.head().await;
        open_ones.push((client, engine));
    }
    let mut other = forwarding.client().await;
    other
        .send("POST /images/prune HTTP/1.1\r\nHost: d\r\n\r\n")
        .await;
    assert!(other.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    for (client, engine) in &mut open_ones[..4] {
        engine.send("output").await;
        client.expect("output").await;
    }
}

/// Streams end with the daemon, and do not keep it.
#[tokio::test]
async fn open_streams_end_with_the_daemon() {
    let forwarding = Forwarding::start().await;
    let (mut client, mut engine) = open(&forwarding).await;
    let mut follower = forwarding.client().await;
    follower
        .send("GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        .await;
    let mut events = forwarding.accept().await;
    events.head().await;
    events
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    follower.head().await;
    let mut waiting = forwarding.client().await;
    waiting
        .send("POST /containers/a/stop HTTP/1.1\r\nHost: d\r\n\r\n")
        .await;
    forwarding.accept().await.head().await;
    forwarding.stop.cancel();
    forwarding.serving.await.unwrap();
    assert_eq!(client.rest().await, "");
    assert_eq!(engine.rest().await, "");
    assert_eq!(events.rest().await, "");
    assert_eq!(follower.rest().await, "");
}
