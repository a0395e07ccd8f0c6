//! Docker's namespaces without Docker.

use async_trait::async_trait;
use reclaim_model::{Container, Namespace};

use crate::containers::{ContainerStore, ContainerStoreError};

/// Where Docker keeps its images.
const MOBY: &str = "moby";

/// Where it does if it gives containers other users: this, and `<uid>.<gid>`.
const MOBY_REMAPPED: &str = "moby-";

/// Stands for the containers of a Docker Engine that nobody has named: in Docker's namespaces
/// they are unknown, so runs there refuse.
///
/// containerd has no record of a Docker container that does not run; its lease and its snapshots
/// speak for it, and whoever trusts in these leaves this store out.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnlistedDocker;

/// Nobody has said who knows the stopped containers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "containerd does not list the stopped containers of Docker; name the Docker Engine of \
     `{0}` (--docker unix:///run/docker.sock), or trust their leases and snapshots (--trust-leases)"
)]
pub(crate) struct NoDockerEngine(Namespace);

impl NoDockerEngine {
    /// Returns that a namespace is Docker's, if it is.
    pub(crate) fn check(namespace: &Namespace) -> Result<(), Self> {
        if is_dockers(namespace) {
            Err(Self(namespace.clone()))
        } else {
            Ok(())
        }
    }
}

/// Whether a namespace is one in which Docker keeps its images.
pub(crate) fn is_dockers(namespace: &Namespace) -> bool {
    let name = namespace.as_str();
    name == MOBY || name.starts_with(MOBY_REMAPPED)
}

#[async_trait]
impl ContainerStore for UnlistedDocker {
    fn name(&self) -> &'static str {
        "containers of Docker"
    }

    async fn containers(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Container>, ContainerStoreError> {
        NoDockerEngine::check(namespace)?;
        Ok(Vec::new())
    }
}
