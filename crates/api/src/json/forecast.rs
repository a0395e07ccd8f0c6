//! When the filesystems will be full: the call and its client.

use std::sync::Arc;

use axum::extract::State;
use reclaim_maintenance::FillForecast;

use super::client::{HostClient, HostError};
use super::{Served, answer};
use crate::service::{Service, ServiceError};

pub(super) async fn forecast(State(service): State<Arc<Service>>) -> Served {
    let forecast = service.parts.scheduler.fill_forecast().await;
    answer(forecast.map_err(ServiceError::from)?).await
}

impl HostClient {
    /// Returns how full the filesystems are, and when they will be full.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn fill_forecast(&self) -> Result<FillForecast, HostError> {
        self.get("/forecast").await
    }
}
