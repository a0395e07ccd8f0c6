//! What was recorded about images over the last weeks: the call and its client.

use std::sync::Arc;

use axum::extract::State;
use reclaim_engine::blocking;
use reclaim_maintenance::Timeline;

use super::client::{HostClient, HostError};
use super::{Served, answer};
use crate::service::{Service, ServiceError};

pub(super) async fn timeline(State(service): State<Arc<Service>>) -> Served {
    let scheduler = service.parts.scheduler.clone();
    let timeline = blocking(move || scheduler.timeline()).await;
    answer(timeline.map_err(ServiceError::Timeline)?).await
}

impl HostClient {
    /// Returns what was recorded about images over the last weeks.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn timeline(&self) -> Result<Timeline, HostError> {
        self.get("/timeline").await
    }
}
