//! The sandbox records of a namespace, which containerd has from 1.7 on.

use std::collections::BTreeMap;

use containerd_client::services::v1::sandbox::store_client::StoreClient;
use containerd_client::services::v1::sandbox::{
    StoreCreateRequest, StoreDeleteRequest, StoreListRequest,
};
use containerd_client::types::{Sandbox, sandbox::Runtime};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{MESSAGE_LIMIT, NamespaceClient, wire_labels};
use crate::labels::Labels;

impl NamespaceClient {
    fn sandbox_store(&self) -> StoreClient<Channel> {
        StoreClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Creates a sandbox record. Before 1.7, containerd returns `Unimplemented`.
    pub async fn create_sandbox(&self, id: &str, labels: &Labels) -> Result<(), Status> {
        let runtime = Runtime {
            name: "io.containerd.runc.v2".to_owned(),
            options: None,
        };
        let request = self.request(StoreCreateRequest {
            sandbox: Some(Sandbox {
                sandbox_id: id.to_owned(),
                runtime: Some(runtime),
                labels: wire_labels(labels),
                ..Default::default()
            }),
        });
        self.sandbox_store().create(request).await?;
        Ok(())
    }

    /// Returns the labels of all sandboxes by ID; none before 1.7.
    pub async fn sandboxes(&self) -> Result<BTreeMap<String, Labels>, Status> {
        let request = self.request(StoreListRequest::default());
        let found = match self.sandbox_store().list(request).await {
            Ok(response) => response.into_inner().list,
            Err(status) if status.code() == Code::Unimplemented => Vec::new(),
            Err(status) => return Err(status),
        };
        Ok(found
            .into_iter()
            .map(|sandbox| (sandbox.sandbox_id, sandbox.labels.into_iter().collect()))
            .collect())
    }

    /// Deletes a sandbox record.
    pub async fn delete_sandbox(&self, id: &str) -> Result<(), Status> {
        let request = self.request(StoreDeleteRequest {
            sandbox_id: id.to_owned(),
        });
        self.sandbox_store().delete(request).await?;
        Ok(())
    }
}
