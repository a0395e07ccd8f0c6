//! Prunes of resources that this engine does not have.
//!
//! `docker system prune` prunes each kind of resource in turn. From 29 on it skips those that are
//! answered with 501; before, it stops there, ahead of the images. Older clients get the response
//! of a prune that removed nothing, which is true.
//!
//! Source: docker/cli, `cli/command/system/prune.go`; the change is docker/cli#6236.

use axum::response::Response;
use http::header::USER_AGENT;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::error::ApiError;
use super::respond;

/// The user agent of Docker's own client, before its version.
const CLIENT: &str = "Docker-Client/";

/// The first version that skips 501.
const SKIPS_501_SINCE: u64 = 29;

/// A kind of resource, other than images, that Docker prunes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherResource {
    /// `POST /containers/prune`
    Containers,
    /// `POST /networks/prune`
    Networks,
    /// `POST /volumes/prune`
    Volumes,
    /// `POST /build/prune`
    BuildCache,
}

/// A kind of resource that this engine has none of, and that clients inspect by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingResource {
    /// `GET /networks/{id}`
    Network,
    /// `GET /volumes/{name}`
    Volume,
    /// `GET /plugins/{name}/json`
    Plugin,
}

/// Returns Docker's error for a resource that does not exist.
pub(super) fn missing(resource: MissingResource, name: &str) -> ApiError {
    let message = match resource {
        MissingResource::Network => format!("network {name} not found"),
        MissingResource::Volume => format!("get {name}: no such volume"),
        MissingResource::Plugin => format!("plugin \"{name}\" not found"),
    };
    ApiError::new(StatusCode::NOT_FOUND, message)
}

pub(super) fn prune(resource: OtherResource, headers: &HeaderMap) -> Result<Response, ApiError> {
    if stops_at_501(headers) {
        return Ok(respond::json(StatusCode::OK, &nothing_pruned(resource)));
    }
    Err(not_supported())
}

/// Returns the error of routes that are not about images.
pub(super) fn not_supported() -> ApiError {
    let message = "this engine manages images only";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, message)
}

fn nothing_pruned(resource: OtherResource) -> Value {
    match resource {
        OtherResource::Containers => json!({"ContainersDeleted": null, "SpaceReclaimed": 0}),
        OtherResource::Networks => json!({"NetworksDeleted": null}),
        OtherResource::Volumes => json!({"VolumesDeleted": null, "SpaceReclaimed": 0}),
        OtherResource::BuildCache => json!({"CachesDeleted": null, "SpaceReclaimed": 0}),
    }
}

fn stops_at_501(headers: &HeaderMap) -> bool {
    headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok()?.strip_prefix(CLIENT))
        .and_then(major)
        .is_some_and(|major| major < SKIPS_501_SINCE)
}

fn major(version: &str) -> Option<u64> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn recognises_clients_that_stop_at_501() {
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
