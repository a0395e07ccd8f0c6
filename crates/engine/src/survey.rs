//! Looking without removing: where the bytes are, and why a thing is there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use reclaim_model::{
    Answer, Container, DiskUsage, FreedBlob, Inventory, Namespace, NamespaceInventory,
    OutsideRecords, SnapshotId, SnapshotSizes,
};
use reclaim_plan::{Question, UsageInput, disk_usage, why};
use reclaim_store::{ContentFiles, Directories, StoreError};
use tracing::{Instrument, debug, info_span};

use crate::engine::{Engine, RunError};
use crate::off_thread::{Shared, for_each_yielding};
use crate::progress::{Progress, ProgressSink};
use crate::retry::retry;

impl Engine {
    /// Says where the bytes of all namespaces are.
    ///
    /// Files of the content store that no namespace has are found where containerd's directory
    /// can be seen from here; elsewhere the answer says that they are unknown.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If the store, or a container store, cannot be read whole.
    pub async fn disk_usage(&self, progress: &ProgressSink<'_>) -> Result<DiskUsage, RunError> {
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
        debug!(calls = ?self.store.calls(), "surveyed");
        let adding_up = inventory.read(move |inventory| {
            disk_usage(&UsageInput {
                inventory,
                registered: &registered,
                snapshot_bytes: &snapshot_bytes,
                orphaned: orphaned.as_deref(),
                outside_records: outside_records.as_ref(),
            })
        });
        Ok(adding_up.instrument(info_span!("disk_usage")).await)
    }

    /// Lists the files below a content root; `None` if they cannot be seen.
    async fn content_files(&self, root: Option<PathBuf>) -> Option<ContentFiles> {
        match self.store.content_files(root?).await {
            Ok(files) => Some(files),
            Err(error) => {
                debug!(%error, "files of the content store cannot be seen");
                None
            }
        }
    }

    /// Looks at what containerd's directories hold outside of records; `None` if that cannot be seen.
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
                debug!(%error, "containerd's directories cannot be seen");
                None
            }
        })
    }

    /// Says who holds what `text` means in `namespace`, and what will become of it.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// [`RunError::NotFound`] if it means nothing or too much; else as [`Self::disk_usage`].
    pub async fn why(&self, namespace: &Namespace, text: &str) -> Result<Vec<Answer>, RunError> {
        let inventory = self.observe_all().await?;
        let registered = self.registered_everywhere(&inventory).await?;
        let (namespace, text) = (namespace.clone(), text.to_owned());
        let explaining = Shared::new(inventory);
        let explaining = explaining.read(move |inventory| {
            why(&Question {
                inventory,
                registered: &registered,
                namespace: &namespace,
                text: &text,
            })
        });
        explaining.await.map_err(RunError::NotFound)
    }

    /// Reads the records, blobs, snapshots, containers and leases of all namespaces.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read whole.
    pub async fn observe_all(&self) -> Result<Inventory, StoreError> {
        let observing = retry(|| self.store.survey(self.store.now()));
        let mut inventory = self.phase(info_span!("observe"), observing).await?;
        self.note_unlisted(&mut inventory);
        self.note_pod_images(&mut inventory).await;
        Ok(inventory)
    }

    async fn registered_everywhere(
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

/// `None` unless the files are certain to be those of this store.
fn orphaned(
    before: Option<ContentFiles>,
    after: Option<ContentFiles>,
    inventory: &Inventory,
) -> Option<Vec<FreedBlob>> {
    let [before, after] = [before?, after?];
    let is_this_store = before.are_of(&after, inventory);
    is_this_store.then(|| before.orphaned(&after, inventory))
}
