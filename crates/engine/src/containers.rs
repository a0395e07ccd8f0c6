//! Stores of containers: containerd's own records, and containers that engines register.
//!
//! An image is in use if a container of any store uses its digest. If a store cannot be read, the run
//! stops: its containers are unknown, and unknown means in use.

mod registered;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use dashmap::DashMap;
use reclaim_model::{Container, Namespace};
use reclaim_store::Containerd;

pub use registered::{
    ListChange, OwnerList, OwnerName, OwnerNameError, RegisterError, RegisteredContainers, Renewed,
    TimeToLive,
};

/// Why a store could not be read.
pub type ContainerStoreError = Box<dyn Error + Send + Sync>;

/// A source of containers that containerd has no record of.
#[async_trait]
pub trait ContainerStore: fmt::Debug + Send + Sync {
    /// Returns the name of the store, for reports and errors.
    fn name(&self) -> &str;

    /// Lists the containers of a namespace, in any state.
    ///
    /// # Errors
    ///
    /// If the list is not complete. An empty list must mean that there are no containers.
    async fn containers(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Container>, ContainerStoreError>;

    /// Returns whether the list also has the stopped containers of an engine that keeps its images in
    /// this namespace. They have no record in containerd.
    fn lists_stopped(&self, _namespace: &Namespace) -> bool {
        false
    }

    /// Returns why containers of a namespace are missing in the list although it is complete, if they are.
    /// Runs on such a namespace refuse.
    fn unlisted(&self, _namespace: &Namespace) -> Option<String> {
        None
    }

    /// Returns warnings about the list, for plans and reports.
    fn warnings(&self, _namespace: &Namespace) -> Vec<String> {
        Vec::new()
    }
}

/// Containers that an engine registers in this process.
///
/// Its methods return owned values, so no lock leaves them.
#[derive(Debug, Default)]
pub struct InMemoryContainers {
    by_key: DashMap<(Namespace, String), Container>,
}

impl InMemoryContainers {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a container, and replaces one with the same ID.
    pub fn upsert(&self, namespace: &Namespace, container: Container) {
        let key = (namespace.clone(), container.id.clone());
        self.by_key.insert(key, container);
    }

    /// Removes a container. Returns it if it was registered.
    pub fn remove(&self, namespace: &Namespace, id: &str) -> Option<Container> {
        let key = (namespace.clone(), id.to_owned());
        self.by_key.remove(&key).map(|(_, container)| container)
    }

    /// Returns the containers of a namespace by ID.
    pub fn registered(&self, namespace: &Namespace) -> BTreeMap<String, Container> {
        let entries = self.by_key.iter();
        let within = entries.filter(|entry| entry.key().0 == *namespace);
        within
            .map(|entry| (entry.key().1.clone(), entry.value().clone()))
            .collect()
    }
}

#[async_trait]
impl ContainerStore for InMemoryContainers {
    fn name(&self) -> &'static str {
        "registered containers"
    }

    async fn containers(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Container>, ContainerStoreError> {
        Ok(self.registered(namespace).into_values().collect())
    }
}

/// The container records of another containerd.
///
/// The containerd that a run prunes is always included and need not be added.
#[derive(Debug)]
pub struct ContainerdContainers {
    store: Containerd,
}

impl ContainerdContainers {
    /// Creates a store for a containerd.
    pub fn new(store: Containerd) -> Self {
        Self { store }
    }
}

#[async_trait]
impl ContainerStore for ContainerdContainers {
    fn name(&self) -> &'static str {
        "containerd"
    }

    async fn containers(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Container>, ContainerStoreError> {
        Ok(self.store.containers(namespace).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_namespaces_apart() {
        let store = InMemoryContainers::new();
        let [here, there] = ["here", "there"].map(|name| name.parse::<Namespace>().unwrap());
        let web = Container {
            id: "web".to_owned(),
            ..Container::default()
        };
        store.upsert(&here, web.clone());
        assert_eq!(store.registered(&there).len(), 0);
        assert_eq!(store.remove(&there, "web"), None);
        assert_eq!(store.registered(&here).get("web"), Some(&web));
        assert_eq!(store.remove(&here, "web"), Some(web));
        assert_eq!(store.registered(&here).len(), 0);
    }
}
