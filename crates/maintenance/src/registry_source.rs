//! Fetches layers from registries for the engine.

use std::path::PathBuf;

use async_trait::async_trait;
use reclaim_engine::{LayerSource, SourceError, blocking, read_registry_hosts};
use reclaim_model::{FetchedPart, RegistryContent, RegistryCredentials};
use reclaim_registry::{FetchError, Registries};
use tokio::sync::mpsc;

/// Registries as a source of layers, by containerd's hosts configuration.
#[derive(Debug, Clone)]
pub struct RegistrySource {
    containerd_config: Option<PathBuf>,
}

impl RegistrySource {
    /// Reads the directories of the hosts from containerd's own configuration file at this path, at
    /// each fetch. Without one, each registry is its own host.
    pub fn new(containerd_config: Option<PathBuf>) -> Self {
        Self { containerd_config }
    }
}

#[async_trait]
impl LayerSource for RegistrySource {
    async fn fetch(
        &self,
        content: &RegistryContent,
        user: Option<&RegistryCredentials>,
        parts: &mpsc::Sender<FetchedPart>,
    ) -> Result<(), SourceError> {
        let registries = match self.containerd_config.clone() {
            Some(path) => Registries::new(blocking(move || read_registry_hosts(&path)).await),
            None => Registries::default(),
        };
        let fetched = registries.fetch(content, user, parts).await;
        fetched.map_err(|error| match error {
            FetchError::Unauthorized(text) => SourceError::Unauthorized(text),
            error @ (FetchError::Failed(_) | FetchError::Closed) => {
                SourceError::Failed(error.to_string())
            }
        })
    }
}
