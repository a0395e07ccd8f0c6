//! Docker's namespaces without access to the Docker Engine.

use async_trait::async_trait;
use reclaim_model::{Container, Namespace};

use crate::containers::{ContainerStore, ContainerStoreError};

/// Docker's namespace.
const MOBY: &str = "moby";

/// The prefix of Docker's namespace with user namespaces; `<uid>.<gid>` follows.
const MOBY_REMAPPED: &str = "moby-";

/// A store for the unknown containers of a Docker Engine: runs on Docker's namespaces refuse.
///
/// containerd has no record of a stopped Docker container, but its lease and snapshots show it. To
/// trust those, leave this store out.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnlistedDocker;

/// No Docker Engine is configured that lists the stopped containers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "containerd does not list the stopped containers of Docker; name the Docker Engine of \
     `{0}` (--docker unix:///run/docker.sock), or trust their leases and snapshots (--trust-leases)"
)]
pub(crate) struct NoDockerEngine(Namespace);

impl NoDockerEngine {
    /// Returns an error if the namespace is Docker's.
    pub(crate) fn check(namespace: &Namespace) -> Result<(), Self> {
        if is_dockers(namespace) {
            Err(Self(namespace.clone()))
        } else {
            Ok(())
        }
    }
}

/// Returns whether Docker keeps images in a namespace.
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
