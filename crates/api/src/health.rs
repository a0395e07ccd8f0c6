//! Health checks: `/live` and `/ready`, and a client for them.
//!
//! Both are served with the metrics and on the sockets of the API. A probe that runs inside the
//! daemon's container uses its Unix socket, which no other pod can reach.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reclaim_engine::Health;
use tokio::net::UnixStream;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4096;

/// A health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The daemon answers.
    Live,
    /// The daemon can work: containerd has answered recently.
    Ready,
}

impl Check {
    /// Returns the path of the check.
    pub fn path(self) -> &'static str {
        match self {
            Self::Live => "/live",
            Self::Ready => "/ready",
        }
    }

    /// Whether a request for this path is a check.
    pub(crate) fn is_at(path: &str) -> bool {
        [Self::Live, Self::Ready]
            .iter()
            .any(|check| check.path() == path)
    }
}

/// Why a health check failed.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The address has an unknown form.
    #[error("`{0}` is not the address of a daemon; use unix:///PATH")]
    Address(String),
    /// No daemon listens there.
    #[error("connect to the daemon at {address}")]
    Connect {
        /// The address of the daemon.
        address: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("check the health of the daemon at {address}")]
    Request {
        /// The address of the daemon.
        address: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon did not answer in time.
    #[error("no answer from the daemon at {address} within {within:?}")]
    NoAnswer {
        /// The address of the daemon.
        address: String,
        /// The deadline.
        within: Duration,
    },
    /// The daemon answered that it is not healthy.
    #[error("{status}: {message}")]
    Unhealthy {
        /// The status of the answer.
        status: StatusCode,
        /// The text of the answer.
        message: String,
    },
}

/// Returns a router with `/live` and `/ready`.
pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route(Check::Live.path(), get(async || "alive\n"))
        .route(Check::Ready.path(), get(ready))
        .with_state(health)
}

async fn ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    if health.is_up() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "containerd does not answer\n",
        )
    }
}

/// Checks the health of the daemon at `address`, which is `unix:///` and a path. Returns the text
/// of the answer.
///
/// # Errors
///
/// [`HealthError`], also if the daemon does not answer `within` that time.
pub async fn check(address: &str, check: Check, within: Duration) -> Result<String, HealthError> {
    let path = address
        .strip_prefix("unix://")
        .map(Path::new)
        .filter(|path| path.is_absolute())
        .ok_or_else(|| HealthError::Address(address.to_owned()))?;
    let (status, message) = tokio::time::timeout(within, request(address, path, check))
        .await
        .map_err(|_| HealthError::NoAnswer {
            address: address.to_owned(),
            within,
        })??;
    if status.is_success() {
        Ok(message)
    } else {
        Err(HealthError::Unhealthy { status, message })
    }
}

async fn request(
    address: &str,
    path: &Path,
    check: Check,
) -> Result<(StatusCode, String), HealthError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| HealthError::Request {
        address: address.to_owned(),
        source,
    };
    let stream = UnixStream::connect(path)
        .await
        .map_err(|source| HealthError::Connect {
            address: address.to_owned(),
            source,
        })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.into()))?;
    let exchange = async {
        let request = Request::get(check.path())
            .header(http::header::HOST, "reclaim")
            .body(Empty::<Bytes>::new())?;
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok((
            parts.status,
            String::from_utf8_lossy(&body).trim().to_owned(),
        ))
    };
    // The connection makes progress only while it is polled, and ends with the exchange.
    let exchanged = tokio::select! {
        exchanged = exchange => exchanged,
        ended = connection => Err(match ended {
            Ok(()) => Box::from("the connection was closed"),
            Err(error) => error.into(),
        }),
    };
    exchanged.map_err(failed)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn gives_up_on_a_daemon_that_does_not_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let address = format!("unix://{}", path.display());
        let missing = check(&address, Check::Live, SOON).await;
        assert!(
            matches!(missing, Err(HealthError::Connect { .. })),
            "{missing:?}"
        );
        let listener = UnixListener::bind(&path).unwrap();
        let silent = check(&address, Check::Live, SOON).await;
        assert!(
            matches!(silent, Err(HealthError::NoAnswer { .. })),
            "{silent:?}"
        );
        let hanging_up = async { while listener.accept().await.is_ok() {} };
        let closed = tokio::select! {
            closed = check(&address, Check::Live, Duration::from_secs(60)) => closed,
            () = hanging_up => unreachable!("it accepts until the check ends"),
        };
        assert!(
            matches!(closed, Err(HealthError::Request { .. })),
            "{closed:?}"
        );
    }

    #[tokio::test]
    async fn refuses_addresses_that_are_not_sockets() {
        for address in ["", "unix://", "unix://relative", "tcp://127.0.0.1:1"] {
            let refused = check(address, Check::Ready, SOON).await;
            assert!(matches!(refused, Err(HealthError::Address(_))), "{address}");
        }
    }
}
