//! What an index and a manifest list, read on their own.

use reclaim_model::{Child, Digest, Document, Namespace, Platform};
use reclaim_oci::{Document as ReadDocument, LabelKeys, Limits};
use tonic::Status;

use crate::client::Containerd;
use crate::error::StoreError;

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Which blob.
    pub digest: Digest,
    /// Its platform, as the index states it.
    pub platform: Option<Platform>,
}

impl Containerd {
    /// Reads the entries of an index, in order; `None` if the namespace does not have it, or it is
    /// something else.
    ///
    /// # Errors
    ///
    /// If the call fails, or the bytes cannot be read.
    pub async fn index_entries(
        &self,
        namespace: &Namespace,
        digest: &Digest,
    ) -> Result<Option<Vec<IndexEntry>>, StoreError> {
        const OPERATION: &str = "read index";
        let Some(body) = self.document(namespace, digest).await? else {
            return Ok(None);
        };
        let limits = Limits::default();
        let read = reclaim_oci::read(digest, None, &body, &limits, &LabelKeys::default());
        match read {
            Ok(ReadDocument::Index(index)) => {
                let entries = index.manifests.into_iter().map(|entry| IndexEntry {
                    digest: entry.digest,
                    platform: entry.platform.map(Platform::from),
                });
                Ok(Some(entries.collect()))
            }
            Ok(ReadDocument::Manifest(_) | ReadDocument::Config(_)) => Ok(None),
            Err(error) => {
                let why = reclaim_model::chain(&error);
                Err(StoreError::new(OPERATION, Status::data_loss(why))
                    .within(namespace)
                    .about(digest))
            }
        }
    }
}

/// Returns what a manifest lists, its config first.
///
/// # Errors
///
/// Why the bytes are not those of a manifest with this digest.
pub fn manifest_children(digest: &Digest, body: &[u8]) -> Result<Vec<Child>, String> {
    let limits = Limits::default();
    match reclaim_oci::read(digest, None, body, &limits, &LabelKeys::default()) {
        Ok(document @ ReadDocument::Manifest(_)) => {
            Ok(Document::from(document).children().to_vec())
        }
        Ok(ReadDocument::Index(_) | ReadDocument::Config(_)) => {
            Err(format!("{digest} is not a manifest"))
        }
        Err(error) => Err(format!("{digest}: {}", reclaim_model::chain(&error))),
    }
}
