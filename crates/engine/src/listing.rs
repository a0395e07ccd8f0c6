//! What an engine shows of its images and containers.

use std::collections::BTreeMap;

use reclaim_model::{
    Container, ContainerState, Digest, Namespace, NamespaceInventory, SnapshotSizes, chain,
};
use reclaim_plan::{DetailedImages, detailed_images, image_objects};
use reclaim_store::NO_LABELS;
use tracing::{info_span, warn};

use crate::engine::{Engine, RunError};
use crate::off_thread::Shared;
use crate::retry::retry;

/// The images and containers of one namespace, as an engine lists them.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The images, by target.
    pub details: DetailedImages,
    /// The containers of all stores, each once, sorted by ID.
    pub containers: Vec<Container>,
    /// The size of every snapshot of an image, in bytes.
    pub snapshot_bytes: SnapshotSizes,
    /// The container stores that could not be read, and why; what they know is missing.
    pub unreadable: Vec<String>,
}

impl Engine {
    /// Lists the images and containers of a namespace; none if it does not exist.
    ///
    /// A container store that cannot be read is left out and named: a list is no reason to
    /// remove anything. Runs refuse in that case.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read whole.
    pub async fn listing(&self, namespace: &Namespace) -> Result<Listing, RunError> {
        let judged = std::slice::from_ref(namespace);
        let observing = retry(|| self.store.observe(judged, &NO_LABELS, self.store.now()));
        let mut inventory = self.phase(info_span!("observe"), observing).await?;
        let Some(seen) = inventory.namespaces.get_mut(namespace) else {
            return Ok(Listing::default());
        };
        self.note_running(namespace, seen).await?;
        let (registered, unreadable) = self.registered_readable(namespace).await;
        let containers = united(&inventory.namespaces[namespace].containers, &registered);
        let inventory = Shared::new(inventory);
        let name = namespace.clone();
        let snapshots = inventory.read(move |it| image_objects(it, &name).snapshots());
        let snapshots = snapshots.await;
        let sizing = retry(|| self.store.snapshot_bytes(namespace, &snapshots));
        let snapshot_bytes = self.phase(info_span!("size"), sizing).await?;
        let name = namespace.clone();
        let listing = inventory.read(move |it| Listing {
            details: detailed_images(it, &name, &registered, &snapshot_bytes),
            containers,
            snapshot_bytes,
            unreadable,
        });
        Ok(listing.await)
    }

    /// Reads a document of an image whole: an index, a manifest or a configuration. `None` if the
    /// namespace does not have it.
    ///
    /// # Errors
    ///
    /// If containerd cannot be asked.
    pub async fn document(
        &self,
        namespace: &Namespace,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, RunError> {
        Ok(retry(|| self.store.document(namespace, digest)).await?)
    }

    /// Notes which containers run.
    pub(crate) async fn note_running(
        &self,
        namespace: &Namespace,
        seen: &mut NamespaceInventory,
    ) -> Result<(), RunError> {
        if seen.containers.is_empty() {
            return Ok(());
        }
        let running = match retry(|| self.store.running_containers(namespace)).await {
            Ok(Some(running)) => running,
            Ok(None) => return Ok(()),
            // What is not known to have stopped counts as running.
            Err(error) if !error.is_from_transport() => {
                let error = chain(&error);
                warn!(%namespace, %error, "which containers run is unknown");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for container in &mut seen.containers {
            container.state = if running.contains(&container.id) {
                ContainerState::Running
            } else {
                ContainerState::Stopped
            };
        }
        Ok(())
    }

    async fn registered_readable(&self, namespace: &Namespace) -> (Vec<Container>, Vec<String>) {
        let mut registered = Vec::new();
        let mut unreadable = Vec::new();
        for store in &self.containers {
            match store.containers(namespace).await {
                Ok(containers) => registered.extend(containers),
                Err(error) => {
                    let why = format!("{}: {}", store.name(), chain(&*error));
                    warn!(store = store.name(), error = %why, "containers cannot be listed");
                    unreadable.push(why);
                }
            }
        }
        (registered, unreadable)
    }
}

/// Each container once. An engine's own word goes before containerd's record, which knows less.
fn united(recorded: &[Container], registered: &[Container]) -> Vec<Container> {
    let all = recorded.iter().chain(registered);
    let by_id: BTreeMap<&str, &Container> = all.map(|it| (it.id.as_str(), it)).collect();
    by_id.into_values().cloned().collect()
}
