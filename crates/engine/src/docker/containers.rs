//! The containers of Docker Engines, from the engines themselves.
//!
//! containerd has a record of a Docker container only while it runs. Only the engine lists created and
//! stopped ones.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bollard_stubs::models::{
    ContainerSummary, ContainerSummaryStateEnum, ContainerdInfoNamespaces, MountPoint,
};
use jiff::Timestamp;
use reclaim_model::{Container, ContainerSource, ContainerState, Namespace};

use super::{DockerAddress, DockerEngine, DockerError, LIST_TIME};
use crate::containers::{ContainerStore, ContainerStoreError};
use crate::unlisted::NoDockerEngine;

/// The containers of Docker Engines. It must have all engines on the host.
///
/// It connects to the engines for each list, so they may restart. While an engine does not answer within
/// a minute, the namespace of its images is unknown, and all runs refuse. Runs on a namespace of Docker's
/// that no engine uses refuse, too, and so do runs on the one of an engine's plugins, because an engine
/// does not list what its plugins use.
#[derive(Debug)]
pub struct DockerContainers {
    addresses: Vec<DockerAddress>,
    name: String,
    /// Which namespaces the engines had at the last list.
    reported: Mutex<Reported>,
}

/// The namespaces of engines, as they report them.
#[derive(Debug, Default)]
struct Reported {
    containers: BTreeSet<String>,
    plugins: BTreeSet<String>,
    /// Whether an engine does not report its own, so that any may be.
    is_silent: bool,
}

impl Reported {
    fn add(&mut self, namespaces: &ContainerdInfoNamespaces) {
        self.is_silent |= namespaces.containers.is_none();
        self.containers.extend(namespaces.containers.clone());
        self.plugins.extend(namespaces.plugins.clone());
    }
}

impl DockerContainers {
    /// Creates a store for the engines at `addresses`. It does not connect to them yet.
    pub fn new(addresses: Vec<DockerAddress>) -> Self {
        let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let name = format!("containers of the Docker Engine at {}", names.join(", "));
        Self {
            addresses,
            name,
            reported: Mutex::default(),
        }
    }

    /// Returns the addresses of the engines.
    pub fn addresses(&self) -> &[DockerAddress] {
        &self.addresses
    }

    /// Returns the engines that keep their images in a namespace, and those that do not report where.
    ///
    /// # Errors
    ///
    /// If an engine does not answer within a minute.
    pub async fn engines(&self, namespace: &Namespace) -> Result<Vec<DockerEngine>, DockerError> {
        let mut engines = Vec::new();
        for address in &self.addresses {
            let connecting = async {
                let engine = DockerEngine::connect(address).await?;
                let is_its = is_its(&engine.namespaces().await?, namespace);
                Ok(is_its.then_some(engine))
            };
            engines.extend(address.within(LIST_TIME, Box::pin(connecting)).await?);
        }
        Ok(engines)
    }

    fn reported(&self) -> MutexGuard<'_, Reported> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an engine keeps its images in a namespace. One that does not report where may do so in any.
fn is_its(namespaces: &ContainerdInfoNamespaces, namespace: &Namespace) -> bool {
    let containers = namespaces.containers.as_deref();
    containers.is_none_or(|containers| containers == namespace.as_str())
}

#[async_trait]
impl ContainerStore for DockerContainers {
    fn name(&self) -> &str {
        &self.name
    }

    fn lists_stopped(&self, namespace: &Namespace) -> bool {
        let reported = self.reported();
        reported.is_silent || reported.containers.contains(namespace.as_str())
    }

    fn unlisted(&self, namespace: &Namespace) -> Option<String> {
        let reported = self.reported();
        let name = namespace.as_str();
        let is_of_plugins = reported.plugins.contains(name) && !reported.containers.contains(name);
        is_of_plugins.then(|| {
            format!(
                "namespace `{namespace}` is that of the engine's plugins, and the engine does not list \
                 what they use"
            )
        })
    }

    async fn containers(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Container>, ContainerStoreError> {
        let mut containers = Vec::new();
        let mut reported = Reported::default();
        let mut is_configured = false;
        for address in &self.addresses {
            let listing = async {
                let engine = DockerEngine::connect(address).await?;
                let namespaces = engine.namespaces().await?;
                let listed = if is_its(&namespaces, namespace) {
                    Some(engine.containers().await?)
                } else {
                    None
                };
                Ok((namespaces, listed))
            };
            let (namespaces, listed) = address.within(LIST_TIME, Box::pin(listing)).await?;
            reported.add(&namespaces);
            is_configured |= listed.is_some();
            containers.extend(listed.into_iter().flatten());
        }
        *self.reported() = reported;
        if !is_configured {
            NoDockerEngine::check(namespace)?;
        }
        Ok(containers)
    }
}

impl DockerEngine {
    async fn containers(&self) -> Result<impl Iterator<Item = Container> + use<>, DockerError> {
        let listed = self.containers_with(&[]).await?;
        Ok(listed.into_iter().map(container))
    }

    /// Returns the containerd namespaces of the engine's containers, where its images are, too, and of
    /// its plugins. Before API 1.46 an engine reports neither.
    ///
    /// # Errors
    ///
    /// [`DockerError`] if the engine does not report them.
    pub async fn namespaces(&self) -> Result<ContainerdInfoNamespaces, DockerError> {
        let info = self.info().await?;
        let namespaces = info.containerd.and_then(|containerd| containerd.namespaces);
        let ContainerdInfoNamespaces {
            containers,
            plugins,
        } = namespaces.unwrap_or_default();
        let named = |name: Option<String>| name.filter(|name| !name.is_empty());
        Ok(ContainerdInfoNamespaces {
            containers: named(containers),
            plugins: named(plugins),
        })
    }
}

fn container(summary: ContainerSummary) -> Container {
    let ContainerSummary {
        id,
        image,
        image_id,
        image_manifest_descriptor,
        labels,
        state,
        mounts,
        created,
        ..
    } = summary;
    let manifest = image_manifest_descriptor.and_then(|it| it.digest);
    Container {
        id: id.unwrap_or_default(),
        source: ContainerSource::Docker,
        image: image.unwrap_or_default(),
        image_digest: image_id.and_then(|digest| digest.parse().ok()),
        image_manifest: manifest.and_then(|digest| digest.parse().ok()),
        mounts: mounts
            .into_iter()
            .flatten()
            .filter_map(mounted_image)
            .collect(),
        labels: labels.into_iter().flatten().collect(),
        state: state.map_or(ContainerState::Unknown, container_state),
        created: created.and_then(|second| Timestamp::from_second(second).ok()),
        ..Container::default()
    }
}

/// Returns the source of an image mount, which the engine reports as its name.
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

#[cfg(test)]
mod tests {
    use bollard_stubs::models::OciDescriptor;
    use reclaim_model::Digest;

    use super::*;

    #[test]
    fn takes_the_name_and_the_digests_from_the_list() {
        let [target, manifest] = ["a", "b"].map(|digit| format!("sha256:{}", digit.repeat(64)));
        let digest = |text: &str| text.parse::<Digest>().ok();
        let summary = ContainerSummary {
            id: Some("c0ffee".to_owned()),
            image: Some("app:1".to_owned()),
            image_id: Some(target.clone()),
            image_manifest_descriptor: Some(OciDescriptor {
                digest: Some(manifest.clone()),
                ..OciDescriptor::default()
            }),
            ..ContainerSummary::default()
        };
        let expected = Container {
            id: "c0ffee".to_owned(),
            source: ContainerSource::Docker,
            image: "app:1".to_owned(),
            image_digest: digest(&target),
            image_manifest: digest(&manifest),
            ..Container::default()
        };
        assert_eq!(container(summary), expected);
        // Before API 1.48 there is no manifest.
        let without = ContainerSummary {
            image_id: Some(target.clone()),
            ..ContainerSummary::default()
        };
        let container = container(without);
        assert_eq!(container.image_digest, digest(&target));
        assert_eq!(container.image_manifest, None);
    }
}
