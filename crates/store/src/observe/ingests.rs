//! Listing blobs that are being written.

use containerd_client::services::v1::ListStatusesRequest;
use containerd_client::services::v1::content_client::ContentClient;
use reclaim_model::{Ingest, Namespace};

use crate::client::{Containerd, MAX_MESSAGE};
use crate::error::StoreError;

impl Containerd {
    /// Lists the blobs that are being written, sorted by reference.
    ///
    /// containerd does not show those that were begun for a digest which another namespace has;
    /// nothing is written for them.
    ///
    /// # Errors
    ///
    /// If the list cannot be had whole.
    pub(super) async fn ingests(&self, namespace: &Namespace) -> Result<Vec<Ingest>, StoreError> {
        const OPERATION: &str = "list ingests";
        let message = ListStatusesRequest::default();
        let request = self.request(OPERATION, Some(namespace), message)?;
        let mut client = ContentClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let answer = client.list_statuses(request).await;
        let answer =
            answer.map_err(|status| StoreError::new(OPERATION, status).within(namespace))?;
        let statuses = answer.into_inner().statuses.into_iter();
        let ingests = statuses.map(|status| Ingest {
            reference: status.r#ref,
            bytes: u64::try_from(status.offset).unwrap_or(0),
        });
        let mut ingests: Vec<Ingest> = ingests.collect();
        ingests.sort_unstable_by(|a, b| a.reference.cmp(&b.reference));
        Ok(ingests)
    }
}
