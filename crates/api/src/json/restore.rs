//! Fetches layers that images lack: the call and its client.

use std::sync::Arc;

use axum::extract::State;
use reclaim_model::{RestoreCall, Restores};

use super::client::{HostClient, HostError};
use super::{Received, Served, answer};
use crate::caller::Sender;
use crate::service::Service;

pub(super) async fn restore(
    State(service): State<Arc<Service>>,
    Sender { caller, .. }: Sender,
    Received(body): Received,
) -> Served {
    let call: RestoreCall = service.read(&body, &["request"])?;
    answer(service.restore(call, caller).await?).await
}

impl HostClient {
    /// Fetches layers that images lack.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn restore(&self, call: &RestoreCall) -> Result<Restores, HostError> {
        self.post("/restore", call).await
    }
}
