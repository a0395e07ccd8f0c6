//! The container records of a namespace. Nothing is run.

use std::collections::BTreeMap;

use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, DeleteContainerRequest, ListContainersRequest,
};
use prost_types::Any;
use tonic::Status;
use tonic::transport::Channel;

use super::{MESSAGE_LIMIT, NamespaceClient, wire_labels};
use crate::labels::Labels;

/// The type of an OCI runtime spec in containerd's Go client.
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// A container record to create.
#[derive(Debug, Clone, Default)]
#[must_use = "the record is created by `NamespaceClient::create_container`"]
pub struct NewContainer {
    id: String,
    image: String,
    snapshot: Option<(String, String)>,
    labels: Labels,
    spec_bytes: usize,
    extensions: BTreeMap<String, Any>,
}

impl NewContainer {
    /// Returns a record without image, snapshot and labels, and with a minimal spec.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    /// Sets the image name, which containerd stores and does not read.
    pub fn image(mut self, name: &str) -> Self {
        name.clone_into(&mut self.image);
        self
    }

    /// Sets the snapshot that the record holds.
    pub fn snapshot(mut self, snapshotter: &str, key: &str) -> Self {
        self.snapshot = Some((snapshotter.to_owned(), key.to_owned()));
        self
    }

    /// Adds labels.
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels.extend(labels);
        self
    }

    /// Pads the spec to about `bytes`. Real ones have 20 KB, so lists of containers exceed message
    /// limits.
    pub fn spec_bytes(mut self, bytes: usize) -> Self {
        self.spec_bytes = bytes;
        self
    }

    /// Adds an extension: data of an engine in the record.
    pub fn extension(mut self, name: &str, type_url: &str, value: Vec<u8>) -> Self {
        let type_url = type_url.to_owned();
        self.extensions
            .insert(name.to_owned(), Any { type_url, value });
        self
    }

    fn into_wire(self) -> Container {
        let (snapshotter, snapshot_key) = self.snapshot.unwrap_or_default();
        let spec = serde_json::json!({
            "ociVersion": "1.0.2",
            "annotations": { "padding": "x".repeat(self.spec_bytes) },
        });
        Container {
            id: self.id,
            labels: wire_labels(&self.labels),
            image: self.image,
            runtime: Some(Runtime {
                name: "io.containerd.runc.v2".to_owned(),
                options: None,
            }),
            spec: Some(Any {
                type_url: SPEC_TYPE.to_owned(),
                value: spec.to_string().into_bytes(),
            }),
            snapshotter,
            snapshot_key,
            extensions: self.extensions.into_iter().collect(),
            ..Default::default()
        }
    }
}

/// A container record as containerd lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRecord {
    /// The image name, or another text of the engine.
    pub image: String,
    /// The snapshotter and the key of the container's filesystem.
    pub snapshot: Option<(String, String)>,
    /// The labels of the record.
    pub labels: Labels,
}

impl NamespaceClient {
    fn container_store(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Creates a container record.
    pub async fn create_container(&self, container: NewContainer) -> Result<(), Status> {
        let request = self.request(CreateContainerRequest {
            container: Some(container.into_wire()),
        });
        self.container_store().create(request).await?;
        Ok(())
    }

    /// Deletes a container record. The collector frees its snapshot.
    pub async fn delete_container(&self, id: &str) -> Result<(), Status> {
        let request = self.request(DeleteContainerRequest { id: id.to_owned() });
        self.container_store().delete(request).await?;
        Ok(())
    }

    /// Returns all container records by ID.
    pub async fn containers(&self) -> Result<BTreeMap<String, ContainerRecord>, Status> {
        let request = self.request(ListContainersRequest::default());
        let mut responses = self
            .container_store()
            .list_stream(request)
            .await?
            .into_inner();
        let mut containers = BTreeMap::new();
        while let Some(response) = responses.message().await? {
            if let Some(container) = response.container {
                let snapshot = (container.snapshotter, container.snapshot_key);
                let record = ContainerRecord {
                    image: container.image,
                    snapshot: Some(snapshot).filter(|(_, key)| !key.is_empty()),
                    labels: container.labels.into_iter().collect(),
                };
                containers.insert(container.id, record);
            }
        }
        Ok(containers)
    }
}
