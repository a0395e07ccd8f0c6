//! Queries: images, projects, disk usage. They change nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use reclaim_model::{
    Container, ContainerState, Digest, DiskUsage, FreedBlob, ImageList, Inventory, KeepReason,
    LastUses, ListedImage, Namespace, NamespaceInventory, OutsideRecords, ProjectList,
    PruneRequest, Separator, SnapshotId, SnapshotSizes, StoreMap, chain,
};
use reclaim_plan::{
    DetailedImages, UsageInput, detailed_images, disk_usage, image_layers, image_objects, projects,
    store_map,
};
use reclaim_store::{ContentFiles, Directories, NO_LABELS, StoreError};
use tracing::{Instrument, debug, info_span, warn};

use crate::controls::{Progress, ProgressSink, no_progress};
use crate::engine::Engine;
use crate::error::RunError;
use crate::off_thread::{Shared, for_each_yielding};
use crate::preview::{Preview, exists};
use crate::retry::retry;

/// The images and containers of one namespace.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The images, by target.
    pub details: DetailedImages,
    /// The containers of all stores, each once, sorted by ID.
    pub containers: Vec<Container>,
    /// The size of every snapshot of an image, in bytes.
    pub snapshot_bytes: SnapshotSizes,
    /// The container stores that could not be read, and why. Their containers are missing.
    pub unreadable: Vec<String>,
}

/// The containers of one namespace.
#[derive(Debug, Clone, Default)]
pub struct ContainerList {
    /// The containers of all stores, each once, sorted by ID.
    pub containers: Vec<Container>,
    /// The container stores that could not be read, and why. Their containers are missing.
    pub unreadable: Vec<String>,
}

impl Engine {
    /// Lists the images of a namespace with their sizes, and what a prune of all unused images would do
    /// with each; none if the namespace does not exist and `may_lack_namespace` is set.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// As [`Self::preview`].
    pub async fn images(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
    ) -> Result<ImageList, RunError> {
        let request = PruneRequest::unused(namespace.clone())
            .may_empty_namespace(true)
            .may_lack_namespace(may_lack_namespace);
        let preview = Shared::new(self.preview(&request, &no_progress).await?);
        let name = namespace.clone();
        let snapshots = preview.read(move |it| image_objects(&it.inventory, &name).snapshots());
        let snapshots = snapshots.await;
        let bytes = retry(|| self.store.snapshot_bytes(namespace, &snapshots)).await?;
        let uses = self.uses(namespace).await;
        Ok(preview
            .read(move |it| list(it, &bytes, uses.as_ref()))
            .await)
    }

    /// Lists the projects of a namespace and their disk usage, sorted by name; none if the namespace does
    /// not exist and `may_lack_namespace` is set. `separator` is that of the default names of images.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// [`RunError::UnknownNamespace`], or if containerd or a container store cannot be read
    /// completely.
    pub async fn projects(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
        separator: Separator,
    ) -> Result<ProjectList, RunError> {
        let evaluated = std::slice::from_ref(namespace);
        let labels = self.protecting_labels();
        let mut inventory =
            retry(|| self.store.observe(evaluated, &labels, self.store.now())).await?;
        self.note_protection(&mut inventory, false).await;
        let existing: Vec<Namespace> = inventory.namespaces.keys().cloned().collect();
        exists(namespace, may_lack_namespace, &existing)?;
        let registered = self.registered(namespace).await?;
        let inventory = Shared::new(inventory);
        let name = namespace.clone();
        let snapshots = inventory.read(move |it| image_objects(it, &name).snapshots());
        let snapshots = snapshots.await;
        let sizing = retry(|| self.store.snapshot_bytes(namespace, &snapshots));
        let bytes = sizing.await?;
        let name = namespace.clone();
        let counting = inventory
            .read(move |inventory| projects(inventory, &registered, &name, &bytes, separator));
        Ok(ProjectList {
            namespace: namespace.clone(),
            projects: counting.await,
        })
    }

    /// Lists the images and containers of a namespace; none if it does not exist.
    ///
    /// A container store that cannot be read is left out and listed in [`Listing::unreadable`]. A run
    /// would refuse.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read completely.
    pub async fn listing(&self, namespace: &Namespace) -> Result<Listing, RunError> {
        let evaluated = std::slice::from_ref(namespace);
        let observing = retry(|| self.store.observe(evaluated, &NO_LABELS, self.store.now()));
        let mut inventory = self.phase(info_span!("observe"), observing).await?;
        let Some(seen) = inventory.namespaces.get_mut(namespace) else {
            return Ok(Listing::default());
        };
        self.note_running(namespace, &mut seen.containers).await?;
        let (registered, unreadable) = self.registered_readable(namespace).await;
        let containers = merged(&inventory.namespaces[namespace].containers, &registered);
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

    /// Lists the containers of a namespace, of all stores; none if it does not exist.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read completely. A container store that cannot be read is in
    /// [`ContainerList::unreadable`].
    pub async fn containers(&self, namespace: &Namespace) -> Result<ContainerList, RunError> {
        if !retry(|| self.store.namespaces()).await?.contains(namespace) {
            return Ok(ContainerList::default());
        }
        let mut recorded = retry(|| self.store.containers(namespace)).await?;
        self.note_running(namespace, &mut recorded).await?;
        let (registered, unreadable) = self.registered_readable(namespace).await;
        Ok(ContainerList {
            containers: merged(&recorded, &registered),
            unreadable,
        })
    }

    /// Reads a document of an image: an index, a manifest or a config. `None` if the namespace does not
    /// have it.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read.
    pub async fn document(
        &self,
        namespace: &Namespace,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, RunError> {
        Ok(retry(|| self.store.document(namespace, digest)).await?)
    }

    /// Returns the labels of a blob; `None` if the namespace does not have it.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read.
    pub async fn content_labels(
        &self,
        namespace: &Namespace,
        digest: &Digest,
    ) -> Result<Option<BTreeMap<String, String>>, RunError> {
        Ok(retry(|| self.store.content_labels(namespace, digest)).await?)
    }

    /// Adds which containers run.
    pub(crate) async fn note_running(
        &self,
        namespace: &Namespace,
        containers: &mut [Container],
    ) -> Result<(), RunError> {
        if containers.is_empty() {
            return Ok(());
        }
        let running = match retry(|| self.store.running_containers(namespace)).await {
            Ok(Some(running)) => running,
            Ok(None) => return Ok(()),
            // Unknown counts as running.
            Err(error) if !error.is_from_transport() => {
                let error = chain(&error);
                warn!(%namespace, %error, "cannot list running containers; all count as running");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for container in containers {
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

    /// Returns the disk usage of all namespaces.
    ///
    /// Content files without a namespace are counted if containerd's directory can be seen from here;
    /// otherwise they are unknown.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd or a container store cannot be read completely.
    pub async fn disk_usage(&self, progress: &ProgressSink<'_>) -> Result<DiskUsage, RunError> {
        let (mut usage, warnings) = self.count(progress, disk_usage).await?;
        usage.warnings.extend(warnings);
        Ok(usage)
    }

    /// Returns every blob and snapshot of all namespaces, with the images that keep it.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// As [`Self::disk_usage`].
    pub async fn store_map(&self, progress: &ProgressSink<'_>) -> Result<StoreMap, RunError> {
        let (mut map, warnings) = self.count(progress, store_map).await?;
        map.usage.warnings.extend(warnings);
        Ok(map)
    }

    /// Reads and measures everything, and adds it up; also returns warnings about holds.
    async fn count<T: Send + 'static>(
        &self,
        progress: &ProgressSink<'_>,
        add_up: fn(&UsageInput<'_>) -> T,
    ) -> Result<(T, Vec<String>), RunError> {
        progress(Progress::Observing);
        let root = self.store.content_root().await?;
        let witnesses = self.store.sample_blobs().await?;
        let directories = self.store.snapshot_directories(&witnesses).await?;
        let before = self.content_files(root.clone()).await;
        let inventory = Shared::new(self.observe_all().await?);
        let after = self.content_files(root.clone()).await;
        let registered = self.registered_everywhere(&inventory).await?;
        progress(Progress::Measuring);
        let measuring = self.all_snapshot_bytes(&inventory);
        let snapshot_bytes = self.phase(info_span!("size"), measuring).await?;
        let orphaned = inventory.read(|inventory| orphaned(before, after, inventory));
        let orphaned = orphaned.await;
        let outside_records = match (root, directories) {
            (Some(root), Some(directories)) => {
                self.outside_records(root, directories, &inventory, &snapshot_bytes)
                    .await?
            }
            (_, _) => None,
        };
        debug!(calls = ?self.store.calls(), "observed for disk usage");
        let engine = self.clone();
        let looking = inventory.read(move |inventory| engine.orphaned_holds(inventory));
        let orphaned_holds = looking.await;
        let adding_up = inventory.read(move |inventory| {
            add_up(&UsageInput {
                inventory,
                registered: &registered,
                snapshot_bytes: &snapshot_bytes,
                orphaned: orphaned.as_deref(),
                outside_records: outside_records.as_ref(),
            })
        });
        let counted = adding_up.instrument(info_span!("disk_usage")).await;
        Ok((counted, orphaned_holds))
    }

    /// Lists the files below a content root; `None` if they cannot be seen.
    async fn content_files(&self, root: Option<PathBuf>) -> Option<ContentFiles> {
        match self.store.content_files(root?).await {
            Ok(files) => Some(files),
            Err(error) => {
                debug!(%error, "cannot list the files of the content store");
                None
            }
        }
    }

    /// Measures files without a record in containerd's directories; `None` if they cannot be seen.
    async fn outside_records(
        &self,
        content: PathBuf,
        before: Directories,
        inventory: &Shared<Inventory>,
        bytes: &BTreeMap<Namespace, SnapshotSizes>,
    ) -> Result<Option<OutsideRecords>, StoreError> {
        let before = Arc::new(before);
        let after = Arc::new(self.store.relist_directories(&before).await);
        let (earlier, later) = (Arc::clone(&before), Arc::clone(&after));
        let comparing = inventory.read(move |inventory| {
            let is_any = !earlier.excess(&later, &later.records(inventory)).is_empty();
            (is_any, later.unseen(inventory))
        });
        let (is_any, unseen) = comparing.await;
        let unrecorded = if is_any {
            let sizes = self.snapshot_sizes(inventory, bytes).await?;
            let found = self.store.unrecorded(&before, &after, inventory, &sizes);
            found.await
        } else {
            Vec::new()
        };
        let unrecorded = Arc::new(unrecorded);
        let counting = self
            .store
            .own_bytes(content, after, Arc::clone(&unrecorded));
        Ok(match counting.await {
            Ok(own_bytes) => Some(OutsideRecords {
                unrecorded: Arc::unwrap_or_clone(unrecorded),
                own_bytes,
                unseen,
            }),
            Err(error) => {
                debug!(%error, "cannot measure containerd's directories");
                None
            }
        })
    }

    /// Reads the records, blobs, snapshots, containers and leases of all namespaces.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read completely.
    pub async fn observe_all(&self) -> Result<Inventory, StoreError> {
        let labels = self.protecting_labels();
        let observing = retry(|| self.store.survey(&labels, self.store.now()));
        let mut inventory = self.phase(info_span!("observe"), observing).await?;
        self.note_unlisted(&mut inventory);
        self.note_protection(&mut inventory, false).await;
        Ok(inventory)
    }

    pub(crate) async fn registered_everywhere(
        &self,
        inventory: &Inventory,
    ) -> Result<BTreeMap<Namespace, Vec<Container>>, RunError> {
        let mut registered = BTreeMap::new();
        for namespace in inventory.namespaces.keys() {
            registered.insert(namespace.clone(), self.registered(namespace).await?);
        }
        Ok(registered)
    }

    pub(crate) async fn all_snapshot_bytes(
        &self,
        inventory: &Inventory,
    ) -> Result<BTreeMap<Namespace, SnapshotSizes>, StoreError> {
        let mut bytes = BTreeMap::new();
        for namespace in inventory.namespaces.keys() {
            let measured = self.snapshot_bytes_within(inventory, namespace).await?;
            bytes.insert(namespace.clone(), measured);
        }
        Ok(bytes)
    }

    /// Measures every snapshot of a namespace.
    pub(crate) async fn snapshot_bytes_within(
        &self,
        inventory: &Inventory,
        namespace: &Namespace,
    ) -> Result<SnapshotSizes, StoreError> {
        let ids = match inventory.namespaces.get(namespace) {
            Some(found) => snapshot_ids(found).await,
            None => Vec::new(),
        };
        retry(|| self.store.snapshot_bytes(namespace, &ids)).await
    }
}

/// Lists the images of a preview.
fn list(preview: &Preview, bytes: &SnapshotSizes, uses: Option<&LastUses>) -> ImageList {
    let Preview { inventory, plan } = preview;
    let namespace = &plan.namespace;
    let objects = image_objects(inventory, namespace);
    let sizes = objects.sizes(bytes);
    let layers = image_layers(inventory, namespace);
    let steps = plan.steps.iter();
    let removed = steps.map(|step| (step.image.name.as_str(), Ok(step.reason)));
    let kept = plan.kept.iter();
    let kept = kept.map(|kept| (kept.name.as_str(), Err(kept.reason)));
    let verdicts: BTreeMap<&str, _> = removed.chain(kept).collect();
    let found = inventory.namespaces.get(namespace);
    let images = found.iter().flat_map(|namespace| &namespace.images);
    let images = images.map(|image| ListedImage {
        name: image.name.clone(),
        target: image.target.digest.clone(),
        created: image.created_at,
        last_used: uses.and_then(|known| {
            let seen = known.last_used_before(&image.target.digest, inventory.observed_at)?;
            let is_used = verdicts[image.name.as_str()] == Err(KeepReason::InUse);
            Some(if is_used { inventory.observed_at } else { seen })
        }),
        size: sizes[&image.target.digest],
        layers: layers[&image.target.digest].clone(),
        pinned: image.pin(),
        verdict: verdicts[image.name.as_str()],
    });
    ImageList {
        namespace: namespace.clone(),
        observed_at: inventory.observed_at,
        images: images.collect(),
        warnings: plan.warnings.clone(),
    }
}

/// Returns each container once. A registered container replaces containerd's record, which has less
/// data; only when it was created may be only in the record.
fn merged(recorded: &[Container], registered: &[Container]) -> Vec<Container> {
    let mut by_id: BTreeMap<&str, Container> = BTreeMap::new();
    for container in recorded.iter().chain(registered) {
        let recorded = by_id.insert(&container.id, container.clone());
        let created = recorded.and_then(|recorded| recorded.created);
        if let Some(merged) = by_id.get_mut(container.id.as_str()) {
            merged.created = merged.created.or(created);
        }
    }
    by_id.into_values().collect()
}

/// Returns the IDs of all snapshots of a namespace.
pub(crate) async fn snapshot_ids(namespace: &NamespaceInventory) -> Vec<SnapshotId> {
    let mut ids = Vec::new();
    for (snapshotter, snapshots) in &namespace.snapshots {
        for_each_yielding(snapshots, |it| {
            ids.push(SnapshotId::new(snapshotter.clone(), it.key.clone()));
        })
        .await;
    }
    ids
}

/// Returns the content files without a record; `None` if the files may be of another containerd.
fn orphaned(
    before: Option<ContentFiles>,
    after: Option<ContentFiles>,
    inventory: &Inventory,
) -> Option<Vec<FreedBlob>> {
    let [before, after] = [before?, after?];
    let is_this_store = before.are_of(&after, inventory);
    is_this_store.then(|| before.orphaned(&after, inventory))
}
