//! Taking everything out of a containerd, so that the next store finds it as new.
//!
//! Starting another daemon would do as well, and take longer than the store it is for. Content
//! is shared between namespaces, so fresh namespaces alone would not do: what an earlier store
//! has left would keep bytes on disk, and sizes of the whole server be off.

use futures::{StreamExt, TryStreamExt, stream};
use tonic::Status;

use crate::containerd::Containerd;
use crate::namespace::{Deletion, NamespaceClient};

/// How many things are deleted at a time.
const AT_ONCE: usize = 16;

impl Containerd {
    /// Deletes everything that holds anything, in all namespaces, and collects.
    ///
    /// Whoever calls this looks whether [`Containerd::content_bytes_on_disk`] is 0 then: only
    /// a file that no namespace knows of, or that a writer has adopted, could be left.
    pub async fn empty(&self) -> Result<(), Status> {
        let names = self.namespaces().await?;
        let clients: Vec<NamespaceClient> = names.iter().map(|it| self.namespace(it)).collect();
        for client in &clients {
            client.delete_all_holders().await?;
        }
        match clients.first() {
            Some(client) => client.collect().await,
            None => Ok(()),
        }
    }
}

impl NamespaceClient {
    /// Deletes records, and what labels make its own root.
    async fn delete_all_holders(&self) -> Result<(), Status> {
        let images = stream::iter(self.images().await?.into_keys());
        let images = images.map(async |name| self.delete_image(&name, Deletion::Async).await);
        images
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        for id in self.containers().await?.into_keys() {
            self.delete_container(&id).await?;
        }
        for id in self.leases().await?.into_keys() {
            self.delete_lease(&id, Deletion::Async).await?;
        }
        for id in self.sandboxes().await?.into_keys() {
            self.delete_sandbox(&id).await?;
        }
        for reference in self.ingests().await? {
            self.abort_ingest(&reference).await?;
        }
        for (digest, info) in self.blob_infos().await? {
            if info.labels.keys().any(|key| is_root(key)) {
                self.delete_blob(&digest).await?;
            }
        }
        for snapshotter in ["native", "overlayfs"] {
            for (key, info) in self.snapshots(snapshotter).await? {
                if info.labels.keys().any(|key| is_root(key)) {
                    // Not removed: it may have children, and then it cannot be.
                    self.drop_snapshot_labels(snapshotter, &key).await?;
                }
            }
        }
        Ok(())
    }
}

/// Whether some version takes the label for that of a root.
fn is_root(key: &str) -> bool {
    key.starts_with("containerd.io/gc.root")
}
