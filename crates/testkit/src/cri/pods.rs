//! Pods that run: the kubelet's requests of the CRI plugin for sandboxes and containers.

use prost::Message;
use tonic::Status;

use super::{Cri, Empty, ImageSpec};

/// A running sandbox, and its configuration, which later requests repeat.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The ID of the sandbox, and of its container in containerd.
    pub id: String,
    config: SandboxConfig,
}

/// `NamespaceMode::NODE`: the Linux namespace of the host.
const NODE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct SandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SecurityContext {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxSandboxConfig {
    #[prost(message, optional, tag = "2")]
    security: Option<SecurityContext>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<SandboxMetadata>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct RunSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox: Option<SandboxConfig>,
}

/// A request for one sandbox or container, or the response with the ID of a new one.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct StopContainerRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int64, tag = "2")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatus {
    #[prost(int32, tag = "3")]
    state: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
}

impl Cri {
    /// Runs the sandbox of a pod, on the host's network.
    pub async fn run_pod(&self, name: &str) -> Result<Pod, Status> {
        let namespaces = NamespaceOption { network: NODE };
        let security = SecurityContext {
            namespaces: Some(namespaces),
        };
        let config = SandboxConfig {
            metadata: Some(SandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-of-{name}"),
                namespace: "default".to_owned(),
            }),
            linux: Some(LinuxSandboxConfig {
                security: Some(security),
            }),
        };
        let request = RunSandboxRequest {
            config: Some(config.clone()),
        };
        let path = "/runtime.v1.RuntimeService/RunPodSandbox";
        let Id { id } = self.call(path, request).await?;
        Ok(Pod { id, config })
    }

    /// Creates a container in a pod, from an image that is named by ID as the kubelet does. Returns
    /// the ID of the container.
    pub async fn create_container(
        &self,
        pod: &Pod,
        name: &str,
        image: &str,
    ) -> Result<String, Status> {
        let metadata = ContainerMetadata {
            name: name.to_owned(),
        };
        let image = ImageSpec {
            image: image.to_owned(),
        };
        let request = CreateContainerRequest {
            pod: pod.id.clone(),
            config: Some(ContainerConfig {
                metadata: Some(metadata),
                image: Some(image),
            }),
            sandbox: Some(pod.config.clone()),
        };
        let path = "/runtime.v1.RuntimeService/CreateContainer";
        let Id { id } = self.call(path, request).await?;
        Ok(id)
    }

    /// Starts a container.
    pub async fn start_container(&self, id: &str) -> Result<(), Status> {
        self.call_by_id("/runtime.v1.RuntimeService/StartContainer", id)
            .await
    }

    /// Returns whether a container runs.
    pub async fn is_running(&self, id: &str) -> Result<bool, Status> {
        /// `CONTAINER_RUNNING`.
        const RUNNING: i32 = 1;
        let path = "/runtime.v1.RuntimeService/ContainerStatus";
        let answer: ContainerStatusResponse = self.call(path, Id { id: id.to_owned() }).await?;
        Ok(answer.status.is_some_and(|status| status.state == RUNNING))
    }

    /// Kills a container, without removing it.
    pub async fn stop_container(&self, id: &str) -> Result<(), Status> {
        let path = "/runtime.v1.RuntimeService/StopContainer";
        let id = id.to_owned();
        let Empty {} = self
            .call(path, StopContainerRequest { id, seconds: 0 })
            .await?;
        Ok(())
    }

    /// Removes a container, even if it is running.
    pub async fn remove_container(&self, id: &str) -> Result<(), Status> {
        self.call_by_id("/runtime.v1.RuntimeService/RemoveContainer", id)
            .await
    }

    /// Stops a pod and its containers, and removes it.
    pub async fn remove_pod(&self, pod: &Pod) -> Result<(), Status> {
        self.call_by_id("/runtime.v1.RuntimeService/StopPodSandbox", &pod.id)
            .await?;
        self.call_by_id("/runtime.v1.RuntimeService/RemovePodSandbox", &pod.id)
            .await
    }

    async fn call_by_id(&self, path: &'static str, id: &str) -> Result<(), Status> {
        let Empty {} = self.call(path, Id { id: id.to_owned() }).await?;
        Ok(())
    }
}
