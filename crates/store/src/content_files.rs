//! The disk below the content store, where it can be seen from here.
//!
//! containerd tells where its content is (`exports.root` of the plugin), which is a path on its
//! own machine, seen from its own mount namespace. Whether the path means the same here is
//! checked: the blobs that were listed have to be there, of their lengths.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use reclaim_model::{Digest, FreedBlob, Inventory};

use crate::client::Containerd;
use crate::error::StoreError;
use crate::look::{LIST, SHORT};

/// The kind of plugin that stores content.
pub(crate) const CONTENT_PLUGIN: &str = "io.containerd.content.v1";

/// The files of a content store, by digest, with their lengths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentFiles {
    files: BTreeMap<Digest, u64>,
}

impl Containerd {
    /// Returns the directory of the content store, as containerd names it; `None` if it does
    /// not, or is elsewhere.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
    pub async fn content_root(&self) -> Result<Option<PathBuf>, StoreError> {
        if !self.sees_files() {
            return Ok(None);
        }
        Ok(self.roots().await?.content)
    }

    /// Lists the blob files below the root of a content store. What is no blob is passed over.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read, or its filesystem hangs.
    pub async fn content_files(&self, root: PathBuf) -> io::Result<ContentFiles> {
        let listing = move || content_files(&root);
        self.looks.look("files of content", LIST, listing).await?
    }

    /// Looks at something on this machine's disks that is answered soon. As long as a look of that
    /// kind hangs, no other is made.
    ///
    /// # Errors
    ///
    /// If there is no answer in time.
    pub async fn look_at_disk<T: Send + 'static>(
        &self,
        kind: &'static str,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        Ok(self.looks.look(kind, SHORT, look).await?)
    }

    /// Returns the size of the filesystem that holds `path`, in bytes.
    ///
    /// # Errors
    ///
    /// If there is no such path here, or the filesystem does not tell.
    pub async fn filesystem_bytes(&self, path: PathBuf) -> io::Result<u64> {
        let measuring = move || filesystem_bytes(&path);
        let looked = self.looks.look("size of the filesystem", SHORT, measuring);
        looked.await?
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
                // Collected while we look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

impl ContentFiles {
    /// Whether these are the files of the store that was listed: there is a blob, and every blob
    /// is a file of its length, here or in `later`.
    ///
    /// Precondition: as for [`Self::orphaned`].
    pub fn are_of(&self, later: &Self, inventory: &Inventory) -> bool {
        let mut blobs = inventory
            .namespaces
            .values()
            .flat_map(|it| &it.blobs)
            .peekable();
        let is_there = |digest: &Digest, size| {
            let found = self.files.get(digest).or_else(|| later.files.get(digest));
            found == Some(&size)
        };
        blobs.peek().is_some() && blobs.all(|blob| is_there(&blob.digest, blob.size))
    }

    /// Returns the files that are also in `later` and that no namespace has, sorted.
    ///
    /// Precondition: `self` was listed before the inventory, and `later` after it. A blob that
    /// was being committed or collected is then in one of the two only.
    pub fn orphaned(&self, later: &Self, inventory: &Inventory) -> Vec<FreedBlob> {
        let is_known = |digest: &Digest| {
            let mut namespaces = inventory.namespaces.values();
            namespaces.any(|it| {
                let blobs = &it.blobs;
                blobs
                    .binary_search_by(|blob| blob.digest.cmp(digest))
                    .is_ok()
            })
        };
        let both = self
            .files
            .iter()
            .filter(|(it, _)| later.files.contains_key(*it));
        let orphaned = both.filter(|(digest, _)| !is_known(digest));
        let orphaned = orphaned.map(|(digest, bytes)| FreedBlob {
            digest: digest.clone(),
            bytes: *bytes,
        });
        orphaned.collect()
    }
}

fn filesystem_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}
