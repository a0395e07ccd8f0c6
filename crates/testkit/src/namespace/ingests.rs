//! The ingests of a namespace: unfinished writes of blobs.

use std::collections::BTreeSet;

use containerd_client::services::v1::{
    AbortRequest, ListStatusesRequest, WriteAction, WriteContentRequest,
};
use futures::stream;
use tonic::Status;

use super::NamespaceClient;

impl NamespaceClient {
    /// Writes the first bytes of a blob and disconnects, as an interrupted pull does.
    ///
    /// containerd keeps the ingest for a day, or as long as the lease of the handle, if it has one.
    pub async fn begin_ingest(&self, reference: &str, bytes: &[u8]) -> Result<(), Status> {
        let writing = WriteContentRequest {
            action: WriteAction::Write.into(),
            r#ref: reference.to_owned(),
            data: bytes.to_vec(),
            ..Default::default()
        };
        let request = self.request(stream::iter([writing]));
        let mut responses = self.content().write(request).await?.into_inner();
        while responses.message().await?.is_some() {}
        Ok(())
    }

    /// Returns the references of all ingests.
    pub async fn ingests(&self) -> Result<BTreeSet<String>, Status> {
        let request = self.request(ListStatusesRequest::default());
        let response = self.content().list_statuses(request).await?.into_inner();
        Ok(response
            .statuses
            .into_iter()
            .map(|status| status.r#ref)
            .collect())
    }

    /// Aborts an ingest.
    pub async fn abort_ingest(&self, reference: &str) -> Result<(), Status> {
        let request = self.request(AbortRequest {
            r#ref: reference.to_owned(),
        });
        self.content().abort(request).await?;
        Ok(())
    }
}
