//! Looking without removing: where the bytes are, and why a thing is there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reclaim_model::{
    Container, FreedBlob, Inventory, Namespace, OutsideRecords, SnapshotId, SnapshotSizes,
};
use reclaim_plan::{Answer, Books, DiskUsage, Question, disk_usage, why};
use reclaim_store::{ContentFiles, Directories, StoreError, content_files, own_bytes};
use tracing::{debug, info_span};

use crate::engine::{Engine, RunError};
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
        let witnesses = self.store.some_blobs().await?;
        let directories = self.store.snapshot_directories(&witnesses).await?;
        let before = files(root.clone()).await;
        let inventory = self.observe_all().await?;
        let after = files(root.clone()).await;
        let registered = self.registered_everywhere(&inventory).await?;
        progress(Progress::Measuring);
        let measuring = self.all_snapshot_bytes(&inventory);
        let snapshot_bytes = self.phase(info_span!("size"), measuring).await?;
        let orphaned = orphaned(before, after, &inventory);
        let outside_records = match (root, directories) {
            (Some(root), Some(directories)) => {
                self.outside_records(root, directories, &inventory, &snapshot_bytes)
                    .await?
            }
            (_, _) => None,
        };
        debug!(calls = ?self.store.calls(), "surveyed");
        Ok(info_span!("ledger").in_scope(|| {
            disk_usage(&Books {
                inventory: &inventory,
                registered: &registered,
                snapshot_bytes: &snapshot_bytes,
                orphaned: orphaned.as_deref(),
                outside_records: outside_records.as_ref(),
            })
        }))
    }

    /// Looks at what containerd's directories hold outside of records; `None` if that cannot be seen.
    async fn outside_records(
        &self,
        content: PathBuf,
        before: Directories,
        inventory: &Inventory,
        bytes: &BTreeMap<Namespace, SnapshotSizes>,
    ) -> Result<Option<OutsideRecords>, StoreError> {
        let (before, after) = listed_again(before).await;
        let records = after.records(inventory);
        let unrecorded = if before.beyond(&after, &records).is_empty() {
            Vec::new()
        } else {
            let sizes = self.snapshot_sizes(inventory, bytes).await?;
            let found = self.store.unrecorded(&before, &after, inventory, &sizes);
            found.await
        };
        let unseen = after.unseen(inventory);
        let counted = tokio::task::spawn_blocking(move || {
            let own = own_bytes(&content, &after, &unrecorded);
            own.map(|own_bytes| (own_bytes, unrecorded))
        });
        Ok(match counted.await {
            Ok(Ok((own_bytes, unrecorded))) => Some(OutsideRecords {
                unrecorded,
                own_bytes,
                unseen,
            }),
            Ok(Err(error)) => {
                debug!(%error, "containerd's directories cannot be seen");
                None
            }
            Err(_) => None,
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
        let question = Question {
            inventory: &inventory,
            registered: &registered,
            namespace,
            text,
        };
        why(&question).map_err(RunError::NotFound)
    }

    pub(crate) async fn observe_all(&self) -> Result<Inventory, StoreError> {
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
        let found = inventory.namespaces.get(namespace);
        let lists = found.into_iter().flat_map(|found| &found.snapshots);
        let ids = lists.flat_map(|(snapshotter, snapshots)| {
            let keys = snapshots.iter().map(|snapshot| &*snapshot.key);
            keys.map(|key| SnapshotId::new(snapshotter.clone(), key))
        });
        let ids: Vec<SnapshotId> = ids.collect();
        retry(|| self.store.snapshot_bytes(namespace, &ids)).await
    }
}

/// Lists directories once more, off the threads that serve calls. Returns both lists.
pub(crate) async fn listed_again(before: Directories) -> (Directories, Directories) {
    let listing = tokio::task::spawn_blocking(move || {
        let after = before.again();
        (before, after)
    });
    listing.await.unwrap_or_default()
}

/// Lists the files below a content root, off the threads that serve calls.
async fn files(root: Option<PathBuf>) -> Option<ContentFiles> {
    let root = root?;
    let listed = tokio::task::spawn_blocking(move || content_files(&root)).await;
    match listed {
        Ok(Ok(files)) => Some(files),
        Ok(Err(error)) => {
            debug!(%error, "files of the content store cannot be seen");
            None
        }
        Err(_) => None,
    }
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
