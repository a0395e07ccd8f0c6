//! The state that all routes of Docker's API share, and a parsed request.

use std::sync::Arc;

use reclaim_engine::Engine;
use reclaim_model::{Caller, Namespace};

use super::event_log::EventLog;
use super::options::DockerOptions;
use super::query::Query;
use super::removals::Removals;
use super::version::ApiVersion;

/// Docker's Engine API for the images of one namespace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DockerApi {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    engine: Arc<Engine>,
    pub(super) options: DockerOptions,
    pub(super) events: EventLog,
    pub(super) removals: Removals,
}

impl DockerApi {
    /// Starts recording the engine's reports as events, and starts the queue of removals.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(engine: Arc<Engine>, options: DockerOptions) -> Self {
        let events = EventLog::record(&engine, options.namespace.clone());
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

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.shared.options.namespace
    }
}

/// The sender, the version and the parameters of a request.
pub(super) struct ApiRequest {
    pub(super) caller: Caller,
    pub(super) version: ApiVersion,
    pub(super) query: Query,
}
