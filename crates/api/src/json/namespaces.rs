//! Lists the namespaces: the call and its client.

use std::sync::Arc;

use axum::extract::State;
use reclaim_model::NamespaceList;

use super::client::{HostClient, HostError};
use super::{Served, answer};
use crate::service::{Service, ServiceError};

pub(super) async fn namespaces(State(service): State<Arc<Service>>) -> Served {
    let namespaces = service.parts.engine.namespaces().await;
    answer(namespaces.map_err(ServiceError::from)?).await
}

impl HostClient {
    /// Lists the namespaces, with the number of their images.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn namespaces(&self) -> Result<NamespaceList, HostError> {
        self.get("/namespaces").await
    }
}
