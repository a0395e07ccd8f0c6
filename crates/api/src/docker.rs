//! Docker's Engine API, as far as it is about images.
//!
//! [`DockerApi`] is the counter: mount [`DockerApi::router`] on any server. Real clients are the
//! judge, so bodies, statuses, headers and texts are Docker's; `docs/docker-api.md` lists what is
//! answered and where we differ.
//!
//! # What a client that goes away leaves behind
//!
//! A run belongs to the daemon, not to the connection that asked for it: it goes on to its end,
//! and its report is in the events and in the history. A second prune is refused meanwhile.
//!
//! Source: moby, `daemon/server/`.

mod containers;
mod df;
mod error;
mod events;
mod history;
mod inspect;
mod list;
mod list_filters;
mod names;
mod others;
mod platform;
mod prune;
mod query;
mod removals;
mod remove;
mod respond;
mod route;
mod system;
mod version;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use reclaim_engine::{Engine, RunOptions};
use reclaim_model::Namespace;
use tokio_util::sync::CancellationToken;

use error::ApiError;
use events::Events;
pub use others::Others;
use query::Query;
pub use query::filters_of_query;
use removals::Removals;
use respond::{empty_list, error, page_not_found, with_headers};
pub use route::{Route, route};
use version::ApiVersion;
pub use version::{NEWEST, OLDEST};

/// Docker's Engine API for the images of one namespace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DockerApi {
    shared: Arc<Shared>,
}

/// What the counter works with.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// Whose images.
    pub namespace: Namespace,
    /// How runs go about their work.
    pub run: RunOptions,
    /// Stops runs: they end after the removals under way, and report.
    pub cancel: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    options: DockerOptions,
    events: Events,
    removals: Removals,
}

impl DockerApi {
    /// Opens the counter. It listens to the engine's reports from now on.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(engine: Arc<Engine>, options: DockerOptions) -> Self {
        let events = Events::of(&engine, options.namespace.clone());
        let removals = Removals::new(Arc::clone(&engine), options.clone());
        Self {
            shared: Arc::new(Shared {
                engine,
                options,
                events,
                removals,
            }),
        }
    }

    /// Returns a router that answers every path, those that no engine knows with 404.
    pub fn router(self) -> Router {
        Router::new().fallback(answer).with_state(self)
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }

    fn namespace(&self) -> &Namespace {
        &self.shared.options.namespace
    }
}

/// A request that is understood.
struct Asked {
    version: ApiVersion,
    query: Query,
}

async fn answer(State(api): State<DockerApi>, request: Request) -> Response {
    let (version, route) = route(request.method(), request.uri().path());
    if route == Route::Unknown {
        return page_not_found();
    }
    let version = version.unwrap_or_else(ApiVersion::newest);
    let answered = match version.check() {
        Ok(()) => dispatch(&api, route, &version, request).await,
        Err(refused) => Err(ApiError::bad(refused.to_string())),
    };
    with_headers(answered.unwrap_or_else(|failure| error(&failure, &version)))
}

async fn dispatch(
    api: &DockerApi,
    route: Route,
    version: &ApiVersion,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let asked = Asked {
        query: Query::read(request).await?,
        version: version.clone(),
    };
    match route {
        Route::Ping => Ok(system::ping()),
        Route::Version => Ok(system::version(api)),
        Route::Info => system::info(api).await,
        Route::DiskUsage => df::df(api, &asked).await,
        Route::Events => events::stream(api, &asked, &headers),
        Route::ListImages => list::list(api, &asked).await,
        Route::PruneImages => prune::prune(api, &asked).await,
        Route::InspectImage(name) => inspect::inspect(api, &name, &asked).await,
        Route::ImageHistory(name) => history::history(api, &name, &asked).await,
        Route::RemoveImage(name) => remove::remove(api, name, &asked).await,
        Route::ListContainers => containers::list(api, &asked).await,
        Route::ListNetworks => Ok(empty_list()),
        Route::ListVolumes => Ok(respond::no_volumes()),
        Route::PruneOthers(others) => others::prune(others, &headers),
        Route::Elsewhere => Err(others::not_ours()),
        Route::Unknown => Err(ApiError::new(StatusCode::NOT_FOUND, "page not found")),
    }
}
