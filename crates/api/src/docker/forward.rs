//! Forwards to a Docker Engine what is not answered here, so that `docker` works as a whole on one
//! socket.
//!
//! Requests pass as they are, apart from the headers that HTTP defines for one connection: bodies and
//! responses as streams, without a limit on their size or duration, upgraded connections as bytes in
//! both directions. Each request has a connection to the engine of its own, which ends with it: the
//! engine sees when a client disconnects.
//!
//! A client of the Docker Engine is root on the host. [`access`] makes sure that no more users can
//! connect to the daemon's sockets than to the engine's.

mod access;
mod answered;
mod engine;
mod exchange;
mod headers;
mod stream;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use reclaim_model::chain;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;
use uuid::Uuid;

use super::error::ApiError;
use super::respond;
use super::route::{Route, route, split_version};
use super::version::{ApiVersion, NEWEST, VersionError};
use access::Gate;
pub use access::{ForwardError, SocketOwner, prepare};
pub use answered::{Answered, UnknownAnswered};
pub use engine::{EngineAddress, EngineAddressError};
use headers::Via;

use crate::access::{Rights, Role, check as check_role};
use crate::health::Check;
use crate::listen::Listener;

/// How long requests under way at the engine may take after a request to stop.
const STOP_TIME: Duration = Duration::from_secs(5);

/// The beginnings of paths that are not Docker's: our JSON and gRPC APIs, and gRPC's own services.
const OWN_PATHS: [&str; 4] = [
    "/reclaim/",
    "/reclaim.",
    "/grpc.health.",
    "/grpc.reflection.",
];

/// Forwards requests to a Docker Engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Forwarder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: EngineAddress,
    /// What is answered here.
    answered: BTreeSet<Answered>,
    gate: Gate,
    via: Via,
    /// Ends requests under way at the engine.
    cut: CancellationToken,
}

impl Forwarder {
    /// Creates a forwarder for requests that arrive at `listeners`. Read-only ones never forward. Prunes are always answered here,
    /// in addition to `answered`. After `stop` is cancelled, requests under way at the engine have a
    /// few seconds to end.
    ///
    /// # Errors
    ///
    /// [`ForwardError`] if more users can connect to a listener than to the engine, or if the engine is
    /// this daemon.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(
        engine: EngineAddress,
        answered: impl IntoIterator<Item = Answered>,
        listeners: &[Listener],
        stop: CancellationToken,
    ) -> Result<Self, ForwardError> {
        let gate = Gate::new(listeners)?;
        gate.check(&engine)?;
        let cut = CancellationToken::new();
        let cutting = cut.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            tokio::time::sleep(STOP_TIME).await;
            cutting.cancel();
        });
        let answered = answered.into_iter().chain([Answered::Prune]).collect();
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                answered,
                gate,
                via: Via::new(Uuid::now_v7()),
                cut,
            }),
        })
    }

    /// Returns a router that answers with `ours` what is answered here, and forwards everything else.
    /// The limits of `ours` do not count what it forwards.
    pub fn router(self, ours: Router) -> Router {
        Router::new().fallback(answer).with_state((self, ours))
    }

    /// Whether a request is answered here.
    ///
    /// The engine decodes a path before it looks for its route, so this does, too. Otherwise
    /// `/images/%70rune` would be a prune by the engine.
    fn answers(&self, method: &Method, path: &str) -> bool {
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        let is_own =
            |path: &str| Check::is_at(path) || OWN_PATHS.iter().any(|own| path.starts_with(own));
        let (_, route) = route(method, &decoded);
        is_own(path)
            || Answered::of(&route).is_some_and(|kind| self.shared.answered.contains(&kind))
    }
}

async fn answer(
    State((forwarder, ours)): State<(Forwarder, Router)>,
    request: Request,
) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let is_read_only = Rights::of(request.extensions()).is_read_only;
    if is_read_only || forwarder.answers(method, path) {
        return match ours.oneshot(with_known_version(request)).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    // A client of the engine is root on the host.
    let is_ping = route(method, &decoded(path)).1 == Route::Ping;
    let needed = (!is_ping).then_some(Role::Admin);
    if let Err(refusal) = check_role(needed, request.extensions()) {
        return respond::error(&refusal.into(), &ApiVersion::newest());
    }
    let (method, uri) = (method.clone(), request.uri().clone());
    let answered = forwarder.forward(request).await;
    let response = answered.unwrap_or_else(|error| error.response());
    let status = response.status().as_u16();
    debug!(%method, path = uri.path(), status, "forwarded");
    response
}

/// Replaces the version in the path if it is newer than all that are known here: the engine, with which
/// the client negotiated it, may be newer. What is answered here has the form of the newest known one.
fn with_known_version(mut request: Request) -> Request {
    let path = request.uri().path();
    let (version, rest) = split_version(path);
    let is_newer = version
        .as_ref()
        .is_some_and(|version| matches!(version.check(), Err(VersionError::TooNew(_))));
    if is_newer {
        let query = request.uri().query();
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        let known = format!("/v{NEWEST}{rest}{query}");
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(known).ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Why a request was not forwarded, or has no response.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    /// The sockets are not as they were at the start.
    #[error(transparent)]
    Refused(#[from] ForwardError),
    #[error("cannot connect to the Docker Engine at {engine}")]
    Connect {
        engine: EngineAddress,
        #[source]
        source: std::io::Error,
    },
    #[error("no response from the Docker Engine at {engine}")]
    NoResponse {
        engine: EngineAddress,
        #[source]
        source: hyper::Error,
    },
    #[error("this request has already passed this daemon: the Docker Engine at {0} forwards to it")]
    Loop(EngineAddress),
    #[error("cannot upgrade this connection: upgrades need HTTP/1.1 on a Unix socket")]
    NoUpgrade,
    #[error("cannot forward a CONNECT request")]
    Connects,
    #[error("read the body of the request")]
    Body(#[source] axum::Error),
    #[error("the daemon is stopping")]
    Stopping,
}

impl Unanswered {
    fn response(&self) -> Response<Body> {
        let status = match self {
            Self::Refused(_) | Self::Connect { .. } | Self::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoResponse { .. } => StatusCode::BAD_GATEWAY,
            Self::Loop(_) => StatusCode::LOOP_DETECTED,
            Self::NoUpgrade | Self::Connects | Self::Body(_) => StatusCode::BAD_REQUEST,
        };
        let error = ApiError::new(status, chain(self));
        respond::error(&error, &ApiVersion::newest())
    }
}

/// Returns a path without the version, with all characters decoded as the engine does.
fn decoded(path: &str) -> String {
    let decoded: Cow<'_, str> = percent_decode_str(path).decode_utf8_lossy();
    split_version(&decoded).1.to_owned()
}

/// Whether the engine answers a request by a stream of bytes in both directions, also if the request
/// does not have the header `Upgrade`.
///
/// Source: moby, `daemon/server/router/container/`: `postContainersAttach`,
/// `postContainerExecStart`.
fn takes_connection(method: &Method, path: &str) -> bool {
    let path = decoded(path);
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let is_stream = matches!(
        parts[..],
        ["containers", _, "attach"] | ["exec", _, "start"]
    );
    method == Method::POST && is_stream
}

#[cfg(test)]
mod tests;
