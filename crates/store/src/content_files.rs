//! The files of the content store, if they are on this machine.
//!
//! containerd reports the root of its content store (`exports.root` of the plugin): a path on its
//! own machine, in its own mount namespace. [`ContentFiles::are_of`] checks whether the path means
//! the same here: every blob that was listed must be a file of its length.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use reclaim_model::{Digest, FreedBlob, Inventory};

use crate::client::Containerd;
use crate::disk_tasks::{LIST, SHORT};
use crate::error::StoreError;

/// The files of a content store, by digest, with their lengths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentFiles {
    files: BTreeMap<Digest, u64>,
}

impl Containerd {
    /// Returns the root of the content store; `None` if containerd does not report it or its files
    /// are not on this machine.
    ///
    /// # Errors
    ///
    /// If the call fails.
    pub async fn content_root(&self) -> Result<Option<PathBuf>, StoreError> {
        if !self.sees_files() {
            return Ok(None);
        }
        Ok(self.roots().await?.content)
    }

    /// Lists the blob files below the root of a content store. Other files are skipped.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read, or its filesystem hangs.
    pub async fn content_files(&self, root: PathBuf) -> io::Result<ContentFiles> {
        let listing = move || content_files(&root);
        self.disk_tasks
            .run("files of content", LIST, listing)
            .await?
    }

    /// Runs a short read of this machine's disks. While a read of the same kind hangs, further ones
    /// fail.
    ///
    /// # Errors
    ///
    /// If the filesystem does not answer in time.
    pub async fn read_disk<T: Send + 'static>(
        &self,
        kind: &'static str,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        Ok(self.disk_tasks.run(kind, SHORT, read).await?)
    }
}

fn content_files(root: &Path) -> io::Result<ContentFiles> {
    let mut found = ContentFiles::default();
    for algorithm in fs::read_dir(root.join("blobs"))? {
        let algorithm = algorithm?;
        for file in fs::read_dir(algorithm.path())? {
            let file = file?;
            let name = [algorithm.file_name(), file.file_name()];
            let [Some(algorithm), Some(hex)] = [name[0].to_str(), name[1].to_str()] else {
                continue;
            };
            let Ok(digest) = format!("{algorithm}:{hex}").parse() else {
                continue;
            };
            match file.metadata() {
                Ok(metadata) => {
                    found.files.insert(digest, metadata.len());
                }
                // Collected during the listing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

impl ContentFiles {
    /// Whether these are the files of the store in the inventory: it has blobs, and each of them is
    /// a file of its length, here or in `later`.
    ///
    /// Precondition: same as for [`Self::orphaned`].
    pub fn are_of(&self, later: &Self, inventory: &Inventory) -> bool {
        let mut blobs = inventory
            .namespaces
            .values()
            .flat_map(|namespace| &namespace.blobs)
            .peekable();
        let has_file = |digest: &Digest, size| {
            let found = self.files.get(digest).or_else(|| later.files.get(digest));
            found == Some(&size)
        };
        blobs.peek().is_some() && blobs.all(|blob| has_file(&blob.digest, blob.size))
    }

    /// Returns the files, also in `later`, that are no namespace's blobs, sorted.
    ///
    /// Precondition: `self` was listed before the inventory and `later` after it, so that a blob
    /// that was being committed or collected is in only one of them.
    pub fn orphaned(&self, later: &Self, inventory: &Inventory) -> Vec<FreedBlob> {
        let is_blob = |digest: &Digest| {
            inventory.namespaces.values().any(|namespace| {
                namespace
                    .blobs
                    .binary_search_by(|blob| blob.digest.cmp(digest))
                    .is_ok()
            })
        };
        self.files
            .iter()
            .filter(|(digest, _)| later.files.contains_key(*digest) && !is_blob(digest))
            .map(|(digest, bytes)| FreedBlob {
                digest: digest.clone(),
                bytes: *bytes,
            })
            .collect()
    }
}
