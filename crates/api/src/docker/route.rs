//! Which request is meant by a method and a path.
//!
//! Names of images contain slashes, so the paths are taken apart here rather than by patterns.
//! What an engine answers and this one does not is told apart from what no engine knows: clients
//! skip the first and stop at the second.
//!
//! Source: moby, `daemon/server/router/`.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::others::Others;
use super::version::ApiVersion;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/_ping`
    Ping,
    /// `GET /version`
    Version,
    /// `GET /info`
    Info,
    /// `GET /system/df`
    DiskUsage,
    /// `GET /events`
    Events,
    /// `GET /images/json`
    ListImages,
    /// `POST /images/prune`
    PruneImages,
    /// `GET /images/{name}/json`
    InspectImage(String),
    /// `GET /images/{name}/history`
    ImageHistory(String),
    /// `DELETE /images/{name}`
    RemoveImage(String),
    /// `GET /containers/json`
    ListContainers,
    /// `GET /networks`: there are none
    ListNetworks,
    /// `GET /volumes`: there are none
    ListVolumes,
    /// A prune of something else
    PruneOthers(Others),
    /// An engine has it, and this one has not.
    Elsewhere,
    /// No engine has it.
    Unknown,
}

/// The first part of the paths of an engine that this one does not have.
const ELSEWHERE: [&str; 18] = [
    "auth",
    "build",
    "commit",
    "configs",
    "containers",
    "distribution",
    "exec",
    "grpc",
    "images",
    "networks",
    "nodes",
    "plugins",
    "secrets",
    "services",
    "session",
    "swarm",
    "tasks",
    "volumes",
];

/// Reads a method and a path: the version in it, if there is one, and what is asked for.
pub fn route(method: &Method, path: &str) -> (Option<ApiVersion>, Route) {
    let (version, rest) = split_version(path);
    (version, unversioned(method, rest))
}

/// Takes `/v1.51` off the beginning. Anything of digits and dots is a version; whether it is one
/// of ours is for the caller.
fn split_version(path: &str) -> (Option<ApiVersion>, &str) {
    let versioned = || {
        let rest = path.strip_prefix("/v")?;
        let end = rest.find('/')?;
        let (version, rest) = rest.split_at(end);
        let is_version = version.bytes().all(|it| it.is_ascii_digit() || it == b'.');
        (is_version && !version.is_empty()).then(|| (ApiVersion::parse(version), rest))
    };
    versioned().map_or((None, path), |(version, rest)| (Some(version), rest))
}

fn unversioned(method: &Method, path: &str) -> Route {
    let is_get = method == Method::GET;
    let is_post = method == Method::POST;
    let route = match path {
        "/_ping" if is_get || method == Method::HEAD => Some(Route::Ping),
        "/version" if is_get => Some(Route::Version),
        "/info" if is_get => Some(Route::Info),
        "/system/df" if is_get => Some(Route::DiskUsage),
        "/events" if is_get => Some(Route::Events),
        "/images/json" if is_get => Some(Route::ListImages),
        "/images/prune" if is_post => Some(Route::PruneImages),
        "/containers/json" if is_get => Some(Route::ListContainers),
        "/networks" if is_get => Some(Route::ListNetworks),
        "/volumes" if is_get => Some(Route::ListVolumes),
        "/containers/prune" if is_post => Some(Route::PruneOthers(Others::Containers)),
        "/networks/prune" if is_post => Some(Route::PruneOthers(Others::Networks)),
        "/volumes/prune" if is_post => Some(Route::PruneOthers(Others::Volumes)),
        "/build/prune" if is_post => Some(Route::PruneOthers(Others::BuildCache)),
        _ => path
            .strip_prefix("/images/")
            .and_then(|rest| of_image(method, rest)),
    };
    route.unwrap_or_else(|| elsewhere(method, path))
}

fn of_image(method: &Method, rest: &str) -> Option<Route> {
    if method == Method::DELETE {
        return Some(Route::RemoveImage(decoded(rest)?));
    }
    if method != Method::GET {
        return None;
    }
    let (name, what) = rest.rsplit_once('/')?;
    match what {
        "json" => Some(Route::InspectImage(decoded(name)?)),
        "history" => Some(Route::ImageHistory(decoded(name)?)),
        _ => None,
    }
}

/// `None` if it is no text.
fn decoded(name: &str) -> Option<String> {
    let decoded = percent_decode_str(name).decode_utf8();
    decoded.ok().map(Cow::into_owned)
}

/// Paths that an engine has in no form by this method are unknown even there: a prune is never
/// asked for by GET.
fn elsewhere(method: &Method, path: &str) -> Route {
    let mut parts = path.split('/').skip(1);
    let first = parts.next().unwrap_or_default();
    let second = parts.next();
    let is_prune_by_other = second == Some("prune") && method != Method::POST;
    if ELSEWHERE.contains(&first) && !is_prune_by_other && !is_listed_by_other(method, path) {
        Route::Elsewhere
    } else {
        Route::Unknown
    }
}

/// Whether the path is one of ours, by a method that no engine has for it.
fn is_listed_by_other(method: &Method, path: &str) -> bool {
    let read_only = matches!(path, "/images/json" | "/containers/json" | "/system/df");
    read_only && *method != Method::GET
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &Method, path: &str) -> Route {
        route(method, path).1
    }

    #[test]
    fn finds_images_whose_names_have_slashes() {
        let name = "registry.example:5000/team/app:1".to_owned();
        for path in [
            "/images/registry.example:5000/team/app:1/json",
            "/v1.51/images/registry.example:5000/team/app:1/json",
            "/images/registry.example%3A5000%2Fteam%2Fapp%3A1/json",
        ] {
            assert_eq!(of(&Method::GET, path), Route::InspectImage(name.clone()));
        }
        let removed = of(&Method::DELETE, "/images/a/b@sha256:00");
        assert_eq!(removed, Route::RemoveImage("a/b@sha256:00".to_owned()));
        let history = of(&Method::GET, "/images/json/history");
        assert_eq!(history, Route::ImageHistory("json".to_owned()));
    }

    /// Cases R23 and A10: the method decides.
    #[test]
    fn a_prune_is_posted() {
        assert_eq!(of(&Method::POST, "/v1.40/images/prune"), Route::PruneImages);
        assert_eq!(of(&Method::GET, "/images/prune"), Route::Unknown);
        let image = Route::RemoveImage("prune".to_owned());
        assert_eq!(of(&Method::DELETE, "/images/prune"), image);
    }

    #[test]
    fn tells_what_engines_have_from_what_none_has() {
        for path in ["/containers/create", "/build", "/v1.51/volumes/create"] {
            assert_eq!(of(&Method::POST, path), Route::Elsewhere, "{path}");
        }
        let others = Route::PruneOthers(Others::BuildCache);
        assert_eq!(of(&Method::POST, "/v1.50/build/prune"), others);
        for path in ["/", "/nothing", "/v1.51", "//images/json", "/IMAGES/json"] {
            assert_eq!(of(&Method::GET, path), Route::Unknown, "{path}");
        }
        assert_eq!(of(&Method::POST, "/images/json"), Route::Unknown);
        assert_eq!(of(&Method::GET, "/images/create"), Route::Elsewhere);
    }

    #[test]
    fn takes_off_a_version() {
        let version = |path| route(&Method::GET, path).0.map(|it| it.to_string());
        assert_eq!(version("/v1.51/info").as_deref(), Some("1.51"));
        assert_eq!(version("/v1.5.1/info").as_deref(), Some("1.5.1"));
        assert_eq!(version("/info"), None);
        assert_eq!(version("/vx/info"), None);
    }
}
