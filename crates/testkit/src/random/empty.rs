//! Empties a containerd for the next store.
//!
//! Starting another daemon takes longer than building a store. New namespaces would not suffice:
//! namespaces share content, and what an earlier store left would count in sizes of the server.

use futures::{StreamExt, TryStreamExt, stream};
use tonic::Status;

use crate::containerd::Containerd;
use crate::namespace::{Deletion, NamespaceClient};

/// The images that are deleted concurrently.
const CONCURRENT: usize = 16;

impl Containerd {
    /// Deletes all objects that hold others, in all namespaces, and collects.
    ///
    /// Callers check that [`Containerd::content_bytes_on_disk`] is 0 afterwards. Otherwise a file is
    /// left that no namespace has, or that a writer has adopted.
    pub async fn empty(&self) -> Result<(), Status> {
        let names = self.namespaces().await?;
        let clients: Vec<NamespaceClient> = names.iter().map(|name| self.namespace(name)).collect();
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
    /// Deletes all records, and the blobs and snapshots that their labels make roots.
    async fn delete_all_holders(&self) -> Result<(), Status> {
        stream::iter(self.images().await?.into_keys())
            .map(async |name| self.delete_image(&name, Deletion::Async).await)
            .buffer_unordered(CONCURRENT)
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
                    // Not removed, because it may have children.
                    self.drop_snapshot_labels(snapshotter, &key).await?;
                }
            }
        }
        Ok(())
    }
}

/// Whether any version takes the label for that of a root.
fn is_root(key: &str) -> bool {
    key.starts_with("containerd.io/gc.root")
}
