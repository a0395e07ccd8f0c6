//! Which namespaces exist, and how many images they have.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use reclaim_model::{Digest, Namespace, NamespaceImages, NamespaceList};
use tracing::debug;

use crate::engine::Engine;
use crate::error::RunError;
use crate::retry::retry;

/// How many namespaces are counted at a time.
const COUNTED_AT_ONCE: usize = 4;

impl Engine {
    /// Lists the namespaces, with the number of their images.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If the namespaces cannot be listed. One whose images cannot be listed has no number.
    pub async fn namespaces(&self) -> Result<NamespaceList, RunError> {
        let names = retry(|| self.store.namespaces()).await?;
        let counting = stream::iter(names).map(|namespace| async move {
            let images = self.count_images(&namespace).await;
            NamespaceImages { namespace, images }
        });
        Ok(NamespaceList {
            namespaces: counting.buffered(COUNTED_AT_ONCE).collect().await,
        })
    }

    async fn count_images(&self, namespace: &Namespace) -> Option<u64> {
        match self.store.images(namespace).await {
            Ok((images, _)) => {
                let targets = images.iter().map(|image| &image.target.digest);
                let targets: BTreeSet<&Digest> = targets.collect();
                u64::try_from(targets.len()).ok()
            }
            Err(error) => {
                debug!(%namespace, %error, "cannot count images");
                None
            }
        }
    }
}
