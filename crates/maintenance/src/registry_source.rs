//! Fetches layers from registries for the engine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;
use reclaim_engine::{
    LayerSource, SourceError, blocking, read_all_registry_hosts, read_registry_hosts,
};
use reclaim_model::{FetchedPart, LocalMirrors, RegistryContent, RegistryCredentials};
use reclaim_registry::{FetchError, Registries};
use tokio::sync::mpsc;

/// Registries as a source of layers, by containerd's hosts configuration.
#[derive(Debug, Clone)]
pub struct RegistrySource {
    containerd_config: Option<PathBuf>,
    serves_peers: bool,
}

impl RegistrySource {
    /// Reads the directories of the hosts from containerd's own configuration file at this path, at
    /// each fetch. Without one, each registry is its own host.
    pub fn new(containerd_config: Option<PathBuf>) -> Self {
        Self {
            containerd_config,
            serves_peers: false,
        }
    }

    /// Says whether this machine serves images of every registry to other machines, out of
    /// containerd's content, whatever the files of hosts say.
    #[must_use]
    pub fn serving_peers(self, serves_peers: bool) -> Self {
        Self {
            serves_peers,
            ..self
        }
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

    async fn local_mirrors(&self, registries: BTreeSet<String>) -> LocalMirrors {
        let all = |why: &str| {
            let registries = registries.iter();
            registries.map(|it| (it.clone(), why.to_owned())).collect()
        };
        if self.serves_peers {
            return all("containerd.serves_peers");
        }
        let Some(path) = self.containerd_config.clone() else {
            return all("containerd's files of registry hosts cannot be seen from here");
        };
        let (roots, unread) = blocking(move || read_all_registry_hosts(&path)).await;
        if let Some(why) = unread.first() {
            return all(why);
        }
        blocking(move || Registries::new(roots).local_mirrors(&registries)).await
    }
}
