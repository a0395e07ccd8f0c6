//! Limits on connections and requests.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, StatusCode};
use tokio::sync::Semaphore;
use tracing::{Instrument, debug, info_span};
use uuid::Uuid;

use crate::health::Check;

/// The header with the ID of a request, as in the log. The client may choose it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest ID that is accepted from a client.
const MAX_REQUEST_ID: usize = 64;

/// Limits on connections and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Concurrent connections of all Unix sockets, and as many over TCP. Above that, the connection
    /// idle for longest is closed.
    pub connections: usize,
    /// Concurrent connections of one peer: a host, or a local process.
    pub connections_per_peer: usize,
    /// Concurrent connections before the end of their TLS handshake, in addition. Above that, the
    /// oldest is closed.
    pub handshakes: usize,
    /// Concurrent connections of one host before the end of their TLS handshake.
    pub handshakes_per_peer: usize,
    /// How long a connection may be idle: open, without a response under way.
    pub idle_time: Duration,
    /// Whether HTTP/2 is allowed in addition to HTTP/1.
    pub http2: bool,
    /// Whether handlers can take over connections of Unix sockets.
    pub takeover: bool,
    /// Concurrent requests. Above that, all but health checks are refused.
    pub requests: usize,
    /// The most bytes of a request's line and headers.
    pub header_bytes: usize,
    /// How long a client may take to send its first byte, and then the headers.
    pub header_time: Duration,
    /// How long responses under way may take after shutdown has begun.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_peer: 128,
            handshakes: 128,
            handshakes_per_peer: 32,
            idle_time: Duration::from_secs(5 * 60),
            http2: true,
            takeover: false,
            requests: 128,
            header_bytes: 64 << 10,
            header_time: Duration::from_secs(15),
            grace: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Limits for metrics, which any host can request: few connections, and HTTP/1 only.
    pub fn of_metrics() -> Self {
        Self {
            connections: 64,
            connections_per_peer: 16,
            http2: false,
            ..Self::default()
        }
    }

    /// Limits for sockets that forward to a Docker Engine, whose clients may send headers as large as
    /// Go accepts: credentials for many registries.
    pub fn of_forwarding() -> Self {
        Self {
            takeover: true,
            header_bytes: 1 << 20,
            ..Self::default()
        }
    }
}

/// Adds the limit on requests, and an ID for each, to a router.
pub fn limited(router: Router, limits: &Limits) -> Router {
    let permits = Arc::new(Semaphore::new(limits.requests));
    router.layer(from_fn_with_state(permits, limit))
}

async fn limit(
    State(permits): State<Arc<Semaphore>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let id = request_id(&request);
    let span = info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        path = request.uri().path(),
    );
    let response = async {
        // A busy daemon is healthy.
        let is_check = Check::is_at(request.uri().path());
        let permit = permits.try_acquire().ok();
        if permit.is_none() && !is_check {
            return too_many();
        }
        let response = next.run(request).await;
        debug!(status = response.status().as_u16(), "answered");
        response
    };
    let mut response = response.instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Returns the client's ID of the request if it is short and plain, else a new one.
fn request_id(request: &Request<Body>) -> HeaderValue {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let is_accepted = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
    };
    let sent = request.headers().get(&REQUEST_ID).filter(is_accepted);
    sent.cloned().unwrap_or_else(|| {
        let id = Uuid::now_v7().to_string();
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    })
}

fn too_many() -> Response {
    let body = "{\"message\":\"too many requests at once\"}\n";
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_busy_daemon_answers_health_checks() {
        let answered = || get(async || "answered");
        let router = Router::new()
            .route("/live", answered())
            .route("/ready", answered())
            .route("/info", answered());
        let busy = Limits {
            requests: 0,
            ..Limits::default()
        };
        let router = limited(router, &busy);
        for (path, status) in [("/live", 200), ("/ready", 200), ("/info", 503)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{path}");
        }
    }
}
