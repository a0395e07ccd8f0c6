//! Routes: from a method and a path to a request.
//!
//! Names of images contain slashes, so patterns cannot match the paths. Routes that Docker has and
//! this engine does not support are distinguished from unknown ones: clients skip the first (501)
//! and stop at the second (404).
//!
//! Source: moby, `daemon/server/router/`.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::other_resources::{MissingResource, OtherResource};
use super::version::ApiVersion;
use crate::access::Role;

/// A request of the API.
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
    /// `GET /images/{name}/attestations`
    ImageAttestations(String),
    /// `DELETE /images/{name}`
    RemoveImage(String),
    /// `GET /containers/json`
    ListContainers,
    /// `GET /containers/{id}/json`
    InspectContainer(String),
    /// `GET /networks`: always empty
    ListNetworks,
    /// `GET /volumes`: always empty
    ListVolumes,
    /// A request for one resource of a kind that this engine has none of
    InspectOther(MissingResource, String),
    /// A prune of another kind of resource
    PruneOther(OtherResource),
    /// A route of Docker that this engine does not support.
    Unsupported,
    /// Not a route of Docker.
    Unknown,
}

/// Declares the role that each route needs, and requests of each.
macro_rules! roles {
    ($($route:pat => $role:expr, [$($method:ident $path:literal),+];)+) => {
        impl Route {
            /// Returns the role that the route needs; `None` if everyone may request it.
            pub(crate) fn role(&self) -> Option<Role> {
                match self {
                    $($route => $role,)+
                }
            }
        }

        /// Requests of each route, and the role that they need.
        pub(crate) const REQUESTS: &[(Method, &str, Option<Role>)] =
            &[$($((Method::$method, $path, $role),)+)+];

        /// Returns a request that is not one of its route, if there is one.
        #[cfg(test)]
        fn misplaced_request() -> Option<&'static str> {
            $($(
                if !matches!(route(&Method::$method, $path).1, $route) {
                    return Some($path);
                }
            )+)+
            None
        }
    };
}

roles! {
    // Clients ping to find out whether an engine answers.
    Route::Ping => None, [GET "/_ping", HEAD "/_ping"];
    Route::Version => Some(Role::Read), [GET "/version"];
    Route::Info => Some(Role::Read), [GET "/info"];
    Route::DiskUsage => Some(Role::Read), [GET "/system/df"];
    Route::Events => Some(Role::Read), [GET "/events"];
    Route::ListImages => Some(Role::Read), [GET "/images/json"];
    Route::PruneImages => Some(Role::Prune), [POST "/images/prune"];
    Route::InspectImage(_) => Some(Role::Read), [GET "/images/app/json"];
    Route::ImageHistory(_) => Some(Role::Read), [GET "/images/app/history"];
    Route::ImageAttestations(_) => Some(Role::Read), [GET "/images/app/attestations"];
    Route::RemoveImage(_) => Some(Role::Prune), [DELETE "/images/app"];
    Route::ListContainers => Some(Role::Read), [GET "/containers/json"];
    Route::InspectContainer(_) => Some(Role::Read), [GET "/containers/web/json"];
    Route::ListNetworks => Some(Role::Read), [GET "/networks"];
    Route::ListVolumes => Some(Role::Read), [GET "/volumes"];
    Route::InspectOther(..) => Some(Role::Read),
        [GET "/networks/x", GET "/volumes/x", GET "/plugins/x/json"];
    Route::PruneOther(_) => Some(Role::Prune),
        [POST "/containers/prune", POST "/networks/prune", POST "/volumes/prune", POST "/build/prune"];
    // No request for these is carried out.
    Route::Unsupported => Some(Role::Read),
        [POST "/images/load", POST "/images/create", POST "/containers/create"];
    Route::Unknown => Some(Role::Read), [GET "/nothing"];
}

/// The first parts of paths of Docker that this engine does not support.
const UNSUPPORTED: [&str; 18] = [
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

/// Parses a method and a path: the version, if the path has one, and the route.
pub fn route(method: &Method, path: &str) -> (Option<ApiVersion>, Route) {
    let (version, rest) = split_version(path);
    (version, unversioned(method, rest))
}

/// Splits a prefix such as `/v1.51` from the path. Any digits and dots are a version; the caller
/// checks whether it is supported.
pub(super) fn split_version(path: &str) -> (Option<ApiVersion>, &str) {
    let versioned = || {
        let rest = path.strip_prefix("/v")?;
        let end = rest.find('/')?;
        let (version, rest) = rest.split_at(end);
        let is_version = version
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
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
        "/containers/prune" if is_post => Some(Route::PruneOther(OtherResource::Containers)),
        "/networks/prune" if is_post => Some(Route::PruneOther(OtherResource::Networks)),
        "/volumes/prune" if is_post => Some(Route::PruneOther(OtherResource::Volumes)),
        "/build/prune" if is_post => Some(Route::PruneOther(OtherResource::BuildCache)),
        _ => path
            .strip_prefix("/images/")
            .and_then(|rest| image_route(method, rest))
            .or_else(|| is_get.then(|| inspection(path))?),
    };
    route.unwrap_or_else(|| unsupported(method, path))
}

fn image_route(method: &Method, rest: &str) -> Option<Route> {
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
        "attestations" => Some(Route::ImageAttestations(decoded(name)?)),
        _ => None,
    }
}

/// Parses the path of a request for one resource that is not an image. `docker inspect` asks for each
/// kind in turn, and goes on only after 404.
fn inspection(path: &str) -> Option<Route> {
    let (kind, rest) = path.strip_prefix('/')?.split_once('/')?;
    let (name, kind) = match kind {
        "containers" => (rest.strip_suffix("/json")?, None),
        "networks" => (rest, Some(MissingResource::Network)),
        "volumes" => (rest, Some(MissingResource::Volume)),
        "plugins" => (rest.strip_suffix("/json")?, Some(MissingResource::Plugin)),
        _ => return None,
    };
    let name = decoded(name).filter(|name| !name.is_empty())?;
    Some(match kind {
        None => Route::InspectContainer(name),
        Some(kind) => Route::InspectOther(kind, name),
    })
}

/// Returns `None` if the name is not UTF-8.
fn decoded(name: &str) -> Option<String> {
    let decoded = percent_decode_str(name).decode_utf8();
    decoded.ok().map(Cow::into_owned)
}

/// Decides between unsupported and unknown. A path of Docker with a method that Docker does not have
/// for it is unknown: a prune is always a POST.
fn unsupported(method: &Method, path: &str) -> Route {
    let mut parts = path.split('/').skip(1);
    let first = parts.next().unwrap_or_default();
    let second = parts.next();
    let is_wrong_prune = second == Some("prune") && method != Method::POST;
    if UNSUPPORTED.contains(&first) && !is_wrong_prune && !is_wrong_read(method, path) {
        Route::Unsupported
    } else {
        Route::Unknown
    }
}

/// Whether the path is a read-only one with a method other than GET.
fn is_wrong_read(method: &Method, path: &str) -> bool {
    let read_only = matches!(path, "/images/json" | "/containers/json" | "/system/df");
    read_only && *method != Method::GET
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(method: &Method, path: &str) -> Route {
        route(method, path).1
    }

    #[test]
    fn parses_image_names_with_slashes() {
        let name = "registry.example:5000/team/app:1".to_owned();
        for path in [
            "/images/registry.example:5000/team/app:1/json",
            "/v1.51/images/registry.example:5000/team/app:1/json",
            "/images/registry.example%3A5000%2Fteam%2Fapp%3A1/json",
        ] {
            assert_eq!(
                parsed(&Method::GET, path),
                Route::InspectImage(name.clone())
            );
        }
        let removed = parsed(&Method::DELETE, "/images/a/b@sha256:00");
        assert_eq!(removed, Route::RemoveImage("a/b@sha256:00".to_owned()));
        let history = parsed(&Method::GET, "/images/json/history");
        assert_eq!(history, Route::ImageHistory("json".to_owned()));
    }

    #[test]
    fn parses_requests_for_one_resource() {
        let parsed = |path| parsed(&Method::GET, path);
        let container = Route::InspectContainer("web".to_owned());
        assert_eq!(parsed("/v1.51/containers/web/json"), container);
        let of = |kind| Route::InspectOther(kind, "x".to_owned());
        assert_eq!(parsed("/networks/x"), of(MissingResource::Network));
        assert_eq!(parsed("/volumes/x"), of(MissingResource::Volume));
        assert_eq!(parsed("/plugins/x/json"), of(MissingResource::Plugin));
        for path in [
            "/containers//json",
            "/containers/a/logs",
            "/networks/",
            "/plugins/x",
        ] {
            assert_eq!(parsed(path), Route::Unsupported, "{path}");
        }
        let attestations = Route::ImageAttestations("a/b:1".to_owned());
        assert_eq!(parsed("/v1.55/images/a/b:1/attestations"), attestations);
    }

    #[test]
    fn only_post_prunes() {
        assert_eq!(
            parsed(&Method::POST, "/v1.40/images/prune"),
            Route::PruneImages
        );
        assert_eq!(parsed(&Method::GET, "/images/prune"), Route::Unknown);
        let image = Route::RemoveImage("prune".to_owned());
        assert_eq!(parsed(&Method::DELETE, "/images/prune"), image);
    }

    #[test]
    fn distinguishes_unsupported_routes_from_unknown_ones() {
        for path in ["/containers/create", "/build", "/v1.51/volumes/create"] {
            assert_eq!(parsed(&Method::POST, path), Route::Unsupported, "{path}");
        }
        let build_cache = Route::PruneOther(OtherResource::BuildCache);
        assert_eq!(parsed(&Method::POST, "/v1.50/build/prune"), build_cache);
        for path in ["/", "/nothing", "/v1.51", "//images/json", "/IMAGES/json"] {
            assert_eq!(parsed(&Method::GET, path), Route::Unknown, "{path}");
        }
        assert_eq!(parsed(&Method::POST, "/images/json"), Route::Unknown);
        assert_eq!(parsed(&Method::GET, "/images/create"), Route::Unsupported);
    }

    #[test]
    fn the_requests_of_roles_are_of_their_routes() {
        assert_eq!(misplaced_request(), None);
    }

    #[test]
    fn splits_off_a_version() {
        let version = |path| route(&Method::GET, path).0.map(|it| it.to_string());
        assert_eq!(version("/v1.51/info").as_deref(), Some("1.51"));
        assert_eq!(version("/v1.5.1/info").as_deref(), Some("1.5.1"));
        assert_eq!(version("/info"), None);
        assert_eq!(version("/vx/info"), None);
    }
}
