//! Blobs on their way: writers that nobody has ended.

use std::collections::BTreeSet;

use containerd_client::services::v1::{
    AbortRequest, ListStatusesRequest, WriteAction, WriteContentRequest,
};
use futures::stream;
use tonic::Status;

use super::NamespaceClient;

impl NamespaceClient {
    /// Writes the beginning of a blob and goes away, as a pull that was cut off does.
    ///
    /// containerd keeps it for a day, or as long as the lease of the handle, if it has one.
    pub async fn begin_ingest(&self, reference: &str, bytes: &[u8]) -> Result<(), Status> {
        let writing = WriteContentRequest {
            action: WriteAction::Write.into(),
            r#ref: reference.to_owned(),
            data: bytes.to_vec(),
            ..Default::default()
        };
        let request = self.request(stream::iter([writing]));
        let mut answers = self.content().write(request).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    }

    /// Returns the references of all writers that have not ended.
    pub async fn ingests(&self) -> Result<BTreeSet<String>, Status> {
        let request = self.request(ListStatusesRequest::default());
        let answer = self.content().list_statuses(request).await?.into_inner();
        Ok(answer.statuses.into_iter().map(|it| it.r#ref).collect())
    }

    /// Gives up a blob on its way.
    pub async fn abort_ingest(&self, reference: &str) -> Result<(), Status> {
        let request = self.request(AbortRequest {
            r#ref: reference.to_owned(),
        });
        self.content().abort(request).await?;
        Ok(())
    }
}
