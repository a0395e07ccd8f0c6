//! Docker's Engine API, as far as it is about images.
//!
//! [`DockerApi::router`] can be mounted on any server. Real clients depend on bodies, statuses,
//! headers and texts, so these are Docker's; `docs/docker-api.md` lists the routes and where they
//! differ.
//!
//! # When a client disconnects
//!
//! A run belongs to the daemon, not to the connection that started it: it runs to its end, and its
//! report is in the events and in the record of runs. A second prune is refused meanwhile.
//!
//! Source: moby, `daemon/server/`.

mod api;
mod attestations;
mod containers;
mod descriptor;
mod df;
mod engines;
mod error;
mod event_log;
mod events;
pub mod forward;
mod go_json;
mod history;
mod identity;
mod inspect;
mod list;
mod list_filters;
mod manifests;
mod names;
mod options;
mod other_resources;
mod platform;
mod prune;
mod query;
mod removals;
mod remove;
mod respond;
mod route;
mod system;
mod version;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use reclaim_model::EntryPoint;

use crate::access;
use crate::caller::caller;
use api::ApiRequest;
pub use api::DockerApi;
use error::ApiError;
pub use options::DockerOptions;
pub use other_resources::{MissingResource, OtherResource};
use query::Query;
pub use query::filters_of_query;
use respond::{empty_list, error, page_not_found, with_headers};
pub(crate) use route::REQUESTS;
pub use route::{Route, route};
use version::ApiVersion;
pub use version::{NEWEST, OLDEST};

impl DockerApi {
    /// Returns a router that answers every path; unknown paths get 404.
    pub fn router(self) -> Router {
        Router::new().fallback(answer).with_state(self)
    }
}

async fn answer(State(api): State<DockerApi>, request: Request) -> Response {
    let (version, route) = route(request.method(), request.uri().path());
    let allowed = access::check(route.role(), request.extensions());
    if route == Route::Unknown && allowed.is_ok() {
        return page_not_found();
    }
    let version = version.unwrap_or_else(ApiVersion::newest);
    if let Err(refusal) = allowed {
        return with_headers(error(&refusal.into(), &version));
    }
    let result = match version.check() {
        Ok(()) => dispatch(&api, route, &version, request).await,
        Err(unsupported) => Err(ApiError::bad(unsupported.to_string())),
    };
    with_headers(result.unwrap_or_else(|failure| error(&failure, &version)))
}

async fn dispatch(
    api: &DockerApi,
    route: Route,
    version: &ApiVersion,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let caller = caller(EntryPoint::Docker, request.extensions(), &headers);
    let request = ApiRequest {
        caller,
        query: Query::read(request).await?,
        version: version.clone(),
    };
    match route {
        Route::Ping => Ok(system::ping()),
        Route::Version => Ok(system::version(api)),
        Route::Info => system::info(api).await,
        Route::DiskUsage => df::df(api, &request).await,
        Route::Events => events::stream(api, &request, &headers),
        Route::ListImages => list::list(api, &request).await,
        Route::PruneImages => prune::prune(api, &request).await,
        Route::InspectImage(name) => inspect::inspect(api, &name, &request).await,
        Route::ImageHistory(name) => history::history(api, &name, &request).await,
        Route::RemoveImage(name) => remove::remove(api, name, &request).await,
        Route::ImageAttestations(name) => attestations::attestations(api, &name, &request).await,
        Route::ListContainers => containers::list(api, &request).await,
        Route::InspectContainer(id) => containers::inspect(api, &id, &request).await,
        Route::ListNetworks => Ok(empty_list()),
        Route::ListVolumes => Ok(respond::no_volumes()),
        Route::InspectOther(kind, name) => Err(other_resources::missing(kind, &name)),
        Route::PruneOther(resource) => other_resources::prune(resource, &headers),
        Route::Unsupported => Err(other_resources::not_supported()),
        Route::Unknown => Err(ApiError::new(StatusCode::NOT_FOUND, "page not found")),
    }
}
