//! Prunes of what this engine does not have.
//!
//! `docker system prune` asks for each kind of thing in turn. From 29 on it passes over what is
//! answered with 501; before, it stops there, ahead of the images. Such a client is told that
//! nothing was removed, which is true.
//!
//! Source: docker/cli, `cli/command/system/prune.go`; the change is docker/cli#6236.

use axum::response::Response;
use http::header::USER_AGENT;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::error::ApiError;
use super::respond;

/// What Docker's own client calls itself, before its version.
const CLIENT: &str = "Docker-Client/";

/// The first version that passes over 501.
const PASSES_OVER: u64 = 29;

/// Something else that an engine prunes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// `POST /containers/prune`
    Containers,
    /// `POST /networks/prune`
    Networks,
    /// `POST /volumes/prune`
    Volumes,
    /// `POST /build/prune`
    BuildCache,
}

pub(super) fn prune(others: Others, headers: &HeaderMap) -> Result<Response, ApiError> {
    if stops_at_501(headers) {
        return Ok(respond::json(StatusCode::OK, &nothing(others)));
    }
    Err(not_ours())
}

/// What is said of everything that is not about images.
pub(super) fn not_ours() -> ApiError {
    let message = "this engine manages images only";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, message)
}

fn nothing(others: Others) -> Value {
    match others {
        Others::Containers => json!({"ContainersDeleted": null, "SpaceReclaimed": 0}),
        Others::Networks => json!({"NetworksDeleted": null}),
        Others::Volumes => json!({"VolumesDeleted": null, "SpaceReclaimed": 0}),
        Others::BuildCache => json!({"CachesDeleted": null, "SpaceReclaimed": 0}),
    }
}

fn stops_at_501(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|it| it.to_str().ok());
    let version = agent.and_then(|it| it.strip_prefix(CLIENT));
    version.and_then(major).is_some_and(|it| it < PASSES_OVER)
}

fn major(version: &str) -> Option<u64> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn knows_the_clients_that_stop() {
        let stops = |agent: &'static str| {
            let agent = (USER_AGENT, HeaderValue::from_static(agent));
            stops_at_501(&HeaderMap::from_iter([agent]))
        };
        assert!(stops("Docker-Client/28.2.2 (linux)"));
        assert!(stops("Docker-Client/20.10.24+dfsg1 (linux)"));
        assert!(stops("Docker-Client/28.5.2+dfsg4 (linux)"));
        assert!(!stops("Docker-Client/29.0.0 (darwin)"));
        assert!(!stops("Docker-Client/unknown-version (linux)"));
        assert!(!stops("curl/8.0"));
        assert!(!stops_at_501(&HeaderMap::new()));
    }
}
