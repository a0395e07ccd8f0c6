//! Requests and responses without an upgrade.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::fixture::Forwarding;

/// Headers keep their case, and a body of unknown length is not collected.
#[tokio::test]
async fn passes_requests_and_responses_as_they_are() {
    let forwarding = Forwarding::start().await;
    let mut client = forwarding.client().await;
    client
        .send(
            "POST /v1.51/images/load?quiet=1&x=%2F HTTP/1.1\r\nHost: docker\r\nX-Registry-Auth: e30=\r\n\
             Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        )
        .await;
    let mut engine = forwarding.accept().await;
    let head = engine.head().await;
    assert!(
        head.starts_with("POST /v1.51/images/load?quiet=1&x=%2F HTTP/1.1\r\nHost: docker\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nX-Registry-Auth: e30=\r\n"), "{head}");
    assert!(head.contains("\r\nvia: 1.1 reclaim-"), "{head}");
    engine.expect("5\r\nfirst\r\n").await;
    client.send("6\r\nsecond\r\n").await;
    engine.expect("6\r\nsecond\r\n").await;
    client.send("0\r\n\r\n").await;
    engine.expect("0\r\n\r\n").await;
    engine
        .send(
            "HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nOstype: linux\r\nDate: now\r\n\
             Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        )
        .await;
    let head = client.head().await;
    assert!(
        head.contains("\r\nApi-Version: 1.51\r\nOstype: linux\r\nDate: now\r\n"),
        "{head}"
    );
    client.expect("2\r\n{}\r\n").await;
    engine.send("3\r\n{ }\r\n").await;
    client.expect("3\r\n{ }\r\n").await;
    engine.send("0\r\n\r\n").await;
    client.expect("0\r\n\r\n").await;
    // The connection of the client stays, for us and for the engine.
    client
        .send("POST /v1.99/images/prune?a=b HTTP/1.1\r\nHost: d\r\n\r\n")
        .await;
    assert!(client.head().await.contains("\r\nx-request-id: "));
    client
        .expect(&format!(
            "ours /v{}/images/prune?a=b",
            crate::docker::NEWEST
        ))
        .await;
    client.send("HEAD /_ping HTTP/1.1\r\nHost: d\r\n\r\n").await;
    let mut engine = forwarding.accept().await;
    assert!(engine.head().await.starts_with("HEAD /_ping HTTP/1.1\r\n"));
    let ping = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: now\r\n\r\n";
    engine.send(ping).await;
    assert_eq!(client.head().await, ping);
}

#[tokio::test]
async fn passes_trailers_and_answers_an_expectation() {
    let forwarding = Forwarding::start().await;
    let mut client = forwarding.client().await;
    client
        .send(
            "PUT /containers/a/archive?path=/ HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\n\
             TE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    let mut engine = forwarding.accept().await;
    let head = engine.head().await;
    assert!(!head.to_lowercase().contains("expect:"), "{head}");
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n").await;
    engine.expect("1\r\na\r\n0\r\n").await;
    assert_eq!(engine.head().await.to_lowercase(), "x-sum: 1\r\n\r\n");
    engine
        .send(
            "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             1\r\nb\r\n0\r\nX-Sum: 2\r\n\r\n",
        )
        .await;
    assert!(client.head().await.contains("Trailer: X-Sum"));
    client.expect("1\r\nb\r\n0\r\n").await;
    assert_eq!(client.head().await.to_lowercase(), "x-sum: 2\r\n\r\n");
}

/// The engine sees that a client disconnects, before and during the response.
#[tokio::test]
async fn a_client_that_disconnects_ends_the_request() {
    let forwarding = Forwarding::start().await;
    for has_response in [false, true] {
        let mut client = forwarding.client().await;
        client.send("GET /events HTTP/1.1\r\nHost: d\r\n\r\n").await;
        let mut engine = forwarding.accept().await;
        engine.head().await;
        if has_response {
            engine
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            client.head().await;
        }
        drop(client);
        assert_eq!(engine.rest().await, "");
    }
}

/// As from BuildKit's clients of an engine with gRPC on its socket.
#[tokio::test]
async fn forwards_grpc_over_http2() {
    let forwarding = Forwarding::start().await;
    let client = forwarding.client().await.0;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(client))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let engine = async {
        let stream = forwarding.accept().await.0;
        let service =
            hyper::service::service_fn(async |request: Request<hyper::body::Incoming>| {
                let body = request.into_body().collect().await.unwrap();
                let trailers = http::HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    http::HeaderValue::from_static("0"),
                )]);
                let body = Full::new(body.to_bytes())
                    .with_trailers(std::future::ready(Some(Ok(trailers))));
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            });
        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http.serve_connection(TokioIo::new(stream), service).await
    };
    let request = Request::post("http://d/moby.buildkit.v1.Control/Info")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(b"frame")))
        .unwrap();
    let exchange = async {
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().collect().await.unwrap()
    };
    let (answered, served) = tokio::join!(exchange, engine);
    served.unwrap();
    assert_eq!(answered.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(answered.to_bytes(), "frame");
    connection.abort();
}
