//! The containers of a Docker Engine, as the engine itself lists them.
//!
//! containerd has a record of a Docker container only while it runs. What the created and the
//! stopped ones need is told by the engine alone.

use std::fmt;

use async_trait::async_trait;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, MountPoint};
use bollard::query_parameters::ListContainersOptions;
use reclaim_model::{Container, ContainerState, Namespace};

use super::{DockerEngine, DockerError};
use crate::containers::{ContainerStore, ContainerStoreError};

/// Where an engine keeps its images unless it is told otherwise.
const DEFAULT_NAMESPACE: &str = "moby";

/// The containers of a Docker Engine.
///
/// The engine is asked anew each time, so that it may be restarted. While it does not answer,
/// runs on its namespace refuse.
pub struct DockerContainers {
    address: String,
    name: String,
}

impl fmt::Debug for DockerContainers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("DockerContainers");
        debug
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl DockerContainers {
    /// Lists from the engine at `address`, as `DOCKER_HOST` has it.
    ///
    /// # Errors
    ///
    /// [`DockerError::BadAddress`]. Whether the engine answers is not asked yet.
    pub fn new(address: &str) -> Result<Self, DockerError> {
        super::check_address(address)?;
        Ok(Self {
            address: address.to_owned(),
            name: format!("containers of the Docker Engine at {address}"),
        })
    }
}

#[async_trait]
impl ContainerStore for DockerContainers {
    fn name(&self) -> &str {
        &self.name
    }

    async fn containers(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Container>, ContainerStoreError> {
        let engine = DockerEngine::connect(&self.address).await?;
        if engine.namespace().await? != namespace.as_str() {
            return Ok(Vec::new());
        }
        let options = ListContainersOptions {
            all: true,
            ..ListContainersOptions::default()
        };
        let listed = engine.docker.list_containers(Some(options)).await;
        let listed = listed.map_err(|source| DockerError::Call {
            operation: "list containers",
            source,
        })?;
        Ok(listed.into_iter().map(container).collect())
    }
}

impl DockerEngine {
    /// Returns the namespace of containerd in which the engine keeps its images.
    async fn namespace(&self) -> Result<String, DockerError> {
        let info = self
            .docker
            .info()
            .await
            .map_err(|source| DockerError::Call {
                operation: "ask where the images are",
                source,
            })?;
        let namespaces = info.containerd.and_then(|it| it.namespaces);
        let namespace = namespaces.and_then(|it| it.containers);
        let namespace = namespace.filter(|it| !it.is_empty());
        Ok(namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()))
    }
}

fn container(summary: ContainerSummary) -> Container {
    let ContainerSummary {
        id,
        image,
        image_id,
        labels,
        state,
        mounts,
        ..
    } = summary;
    Container {
        id: id.unwrap_or_default(),
        image: image.unwrap_or_default(),
        image_digest: image_id.and_then(|digest| digest.parse().ok()),
        mounts: mounts
            .into_iter()
            .flatten()
            .filter_map(mounted_image)
            .collect(),
        labels: labels.into_iter().flatten().collect(),
        state: state.map_or(ContainerState::Unknown, container_state),
        ..Container::default()
    }
}

/// What the user gave as the source; the engine has it as the name.
fn mounted_image(mount: MountPoint) -> Option<String> {
    let is_image = mount.typ.as_deref() == Some("image");
    let name = mount.name.filter(|name| !name.is_empty());
    name.or(mount.source).filter(|_| is_image)
}

fn container_state(state: ContainerSummaryStateEnum) -> ContainerState {
    match state {
        ContainerSummaryStateEnum::EMPTY => ContainerState::Unknown,
        ContainerSummaryStateEnum::RUNNING
        | ContainerSummaryStateEnum::PAUSED
        | ContainerSummaryStateEnum::RESTARTING
        | ContainerSummaryStateEnum::STOPPING => ContainerState::Running,
        ContainerSummaryStateEnum::CREATED
        | ContainerSummaryStateEnum::EXITED
        | ContainerSummaryStateEnum::REMOVING
        | ContainerSummaryStateEnum::DEAD => ContainerState::Stopped,
    }
}
