//! The filesystems below containerd: where content and snapshots lie, and how much room is left.
//!
//! containerd names the directories of its plugins, as paths on its own machine. A path that is
//! not here, or a content store here that has none of containerd's blobs, is not seen: nothing
//! is said about it rather than something about another disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::{ListContentRequest, PluginsRequest};
use reclaim_model::{Digest, Filesystem, Namespace, Room, Snapshotter};

use crate::client::{Containerd, MAX_MESSAGE};
use crate::disk::CONTENT_PLUGIN;
use crate::error::StoreError;
use crate::look::{Looks, SHORT};

/// The kind of plugin that stores snapshots.
pub(crate) const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";

/// How many blobs are looked for, to know a content store again. One may be collected meanwhile.
const WITNESSES: usize = 8;

/// Where containerd keeps content and snapshots, as it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots {
    /// The directory of the content store.
    pub content: Option<PathBuf>,
    /// The directory of each snapshotter that works.
    pub snapshotters: BTreeMap<Snapshotter, PathBuf>,
    /// Snapshotters that work and name no directory: those of other processes.
    pub homeless: BTreeSet<Snapshotter>,
}

/// The filesystems that could be seen, and what could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filesystems {
    /// Each once, by mount point.
    pub seen: Vec<Filesystem>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

/// Measures filesystems without looking at them, for a containerd that has none.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Returns the filesystems as they are.
    fn filesystems(&self) -> Filesystems;
}

impl Containerd {
    /// Asks where content and snapshots are.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
    pub async fn roots(&self) -> Result<Roots, StoreError> {
        const OPERATION: &str = "find the content store and the snapshotters";
        let filters = [CONTENT_PLUGIN, SNAPSHOTTER].map(|kind| format!("type=={kind}"));
        let message = PluginsRequest {
            filters: filters.into(),
        };
        let request = self.request(OPERATION, None, message)?;
        let mut client = IntrospectionClient::new(self.channel());
        let answer = client.plugins(request).await;
        let answer = answer.map_err(|status| StoreError::new(OPERATION, status))?;
        let mut roots = Roots::default();
        for mut plugin in answer.into_inner().plugins {
            let root = plugin.exports.remove("root").map(PathBuf::from);
            if plugin.r#type == CONTENT_PLUGIN {
                roots.content = root;
                continue;
            }
            // One that could not be loaded has no snapshots.
            if plugin.init_err.is_some() {
                continue;
            }
            let name = Snapshotter::from(plugin.id);
            match root {
                Some(root) => {
                    roots.snapshotters.insert(name, root);
                }
                None => {
                    roots.homeless.insert(name);
                }
            }
        }
        Ok(roots)
    }

    /// Measures the filesystems that hold content and snapshots.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked. What cannot be seen from here is no error, but named.
    pub async fn filesystems(&self) -> Result<Filesystems, StoreError> {
        if let Some(disk) = self.disk() {
            return Ok(disk.filesystems());
        }
        if !self.sees_files() {
            return Ok(Filesystems {
                unseen: vec!["this process is told not to look at containerd's files".to_owned()],
                ..Filesystems::default()
            });
        }
        let roots = self.roots().await?;
        let blobs = self.some_blobs().await?;
        Ok(roots.measure(&self.looks, blobs).await)
    }

    /// Whether there is less room than a collection may need: it rewrites containerd's database
    /// page by page before it frees anything. What cannot be seen from here is not tight.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
    pub async fn is_tight(&self) -> Result<bool, StoreError> {
        let Some(root) = self.content_root().await? else {
            return Ok(false);
        };
        let looking = self
            .looks
            .look("room to collect", SHORT, move || is_tight(&root));
        Ok(looking.await.is_ok_and(|it| it.unwrap_or(false)))
    }

    /// Lists a few blobs of any namespace, with their lengths.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
    pub async fn some_blobs(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut blobs = Vec::new();
        for namespace in self.namespaces().await? {
            match self.add_some_blobs(&namespace, &mut blobs).await {
                // Any blobs will do.
                Err(error) if !error.is_from_transport() => {}
                listed => listed?,
            }
            if blobs.len() >= WITNESSES {
                break;
            }
        }
        Ok(blobs)
    }

    async fn add_some_blobs(
        &self,
        namespace: &Namespace,
        blobs: &mut Vec<(Digest, u64)>,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "list some content";
        let failed = |status| StoreError::new(OPERATION, status).within(namespace);
        let request = self.request(OPERATION, Some(namespace), ListContentRequest::default())?;
        let mut client = ContentClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let mut stream = client.list(request).await.map_err(failed)?.into_inner();
        while let Some(part) = stream.message().await.map_err(failed)? {
            for info in part.info {
                if let (Ok(digest), Ok(bytes)) = (info.digest.parse(), info.size.try_into()) {
                    blobs.push((digest, bytes));
                }
            }
            if blobs.len() >= WITNESSES {
                break;
            }
        }
        Ok(())
    }
}

impl Roots {
    /// Measures the filesystems of all directories, each by itself: one that hangs hides no other.
    /// `blobs` are some of the content store, with their lengths: without any, a directory is
    /// taken at its word.
    async fn measure(self, looks: &Looks, blobs: Vec<(Digest, u64)>) -> Filesystems {
        let mut found = Found::default();
        let mut asked = Vec::new();
        if let Some(root) = self.content {
            asked.push((None, root));
        } else {
            let why = "content: containerd does not name its directory";
            found.unseen.push(why.to_owned());
        }
        let snapshotters = self.snapshotters.into_iter();
        asked.extend(snapshotters.map(|(name, root)| (Some(name), root)));
        let blobs = Arc::new(blobs);
        let looking = asked.into_iter().map(|(snapshotter, root)| {
            // Content is also looked for, and not only measured.
            let witnesses = snapshotter.is_none().then(|| Arc::clone(&blobs));
            async move {
                let kind = format!("filesystem of {}", root.display());
                let path = root.clone();
                let look = move || look(&path, witnesses.as_deref().map(Vec::as_slice));
                let looked = looks.look(&kind, SHORT, look).await;
                let looked = looked.unwrap_or_else(|hung| Err(hung.into()));
                (snapshotter, root, looked)
            }
        });
        for (snapshotter, root, looked) in futures::future::join_all(looking).await {
            found.enter(snapshotter, &root, looked);
        }
        let mut seen: Vec<Filesystem> = found.by_device.into_values().collect();
        seen.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        Filesystems {
            seen,
            unseen: found.unseen,
        }
    }
}

/// What is found in the directories.
#[derive(Default)]
struct Found {
    by_device: BTreeMap<u64, Filesystem>,
    unseen: Vec<String>,
}

impl Found {
    /// Enters what a look at the directory of a snapshotter, or else of content, came to.
    fn enter(
        &mut self,
        snapshotter: Option<Snapshotter>,
        root: &Path,
        looked: io::Result<(u64, Filesystem)>,
    ) {
        let (device, measured) = match looked {
            Ok(found) => found,
            Err(error) => {
                let what = match snapshotter {
                    Some(snapshotter) => format!("snapshots of `{snapshotter}`"),
                    None => "content".to_owned(),
                };
                let root = root.display();
                self.unseen.push(format!("{what} in `{root}`: {error}"));
                return;
            }
        };
        let filesystem = self.by_device.entry(device).or_insert(measured);
        match snapshotter {
            Some(snapshotter) => drop(filesystem.snapshotters.insert(snapshotter)),
            None => filesystem.has_content = true,
        }
    }
}

/// Measures the filesystem of a directory; with `witnesses`, only if that is the content store's
/// that has them. Returns its device, too.
fn look(root: &Path, witnesses: Option<&[(Digest, u64)]>) -> io::Result<(u64, Filesystem)> {
    if witnesses.is_some_and(|blobs| !is_store(root, blobs)) {
        return Err(io::Error::other("none of containerd's blobs is there"));
    }
    let device = fs::metadata(root)?.dev();
    Ok((device, measure(root, device)?))
}

/// As [`Containerd::is_tight`], for the content store in `root`.
fn is_tight(root: &Path) -> io::Result<bool> {
    let database = root.with_file_name("io.containerd.metadata.v1.bolt");
    let database = fs::metadata(database.join("meta.db"))?;
    let filesystem = rustix::fs::statvfs(root)?;
    // containerd may use what is reserved for root.
    let left = filesystem.f_bfree.saturating_mul(filesystem.f_frsize);
    // A sparse part of the file is not rewritten.
    Ok(left < database.blocks().saturating_mul(512))
}

/// Whether a directory is that of the content store: one of some blobs is there, of its length.
pub(crate) fn is_store(root: &Path, blobs: &[(Digest, u64)]) -> bool {
    let mut witnesses = blobs.iter().take(WITNESSES).peekable();
    witnesses.peek().is_none()
        || witnesses.any(|(digest, bytes)| {
            let path = root.join("blobs").join(digest.algorithm());
            let metadata = fs::metadata(path.join(digest.hex()));
            metadata.is_ok_and(|it| it.len() == *bytes)
        })
}

fn measure(root: &Path, device: u64) -> io::Result<Filesystem> {
    let found = rustix::fs::statvfs(root)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Filesystem {
        mount_point: mount_point(root, device)?,
        block: found.f_frsize,
        bytes: Room {
            total: bytes(found.f_blocks),
            left: bytes(found.f_bavail),
        },
        inodes: Room {
            total: found.f_files,
            left: found.f_favail,
        },
        has_content: false,
        snapshotters: BTreeSet::new(),
    })
}

/// Returns the uppermost directory above `path` that is still on the same device.
fn mount_point(path: &Path, device: u64) -> io::Result<PathBuf> {
    let path = path.canonicalize()?;
    let mut top = path.as_path();
    for above in path.ancestors().skip(1) {
        if fs::metadata(above)?.dev() != device {
            break;
        }
        top = above;
    }
    Ok(top.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> Digest {
        format!("sha256:{}", letter.to_string().repeat(64))
            .parse()
            .unwrap()
    }

    fn roots(directory: &Path) -> Roots {
        let name = Snapshotter::from("native");
        Roots {
            content: Some(directory.join("content")),
            snapshotters: BTreeMap::from([(name, directory.join("native"))]),
            homeless: BTreeSet::new(),
        }
    }

    #[test]
    fn a_sparse_database_does_not_make_room_tight() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("io.containerd.content.v1.content");
        fs::create_dir(&root).unwrap();
        assert!(is_tight(&root).is_err(), "there is no database");
        let database = directory.path().join("io.containerd.metadata.v1.bolt");
        fs::create_dir(&database).unwrap();
        let file = fs::File::create(database.join("meta.db")).unwrap();
        // Longer than the room that is left almost everywhere, and within every filesystem's limit.
        file.set_len(1 << 43).unwrap();
        assert!(!is_tight(&root).unwrap());
    }

    #[tokio::test]
    async fn directories_of_one_filesystem_are_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("content/blobs/sha256")).unwrap();
        fs::create_dir(directory.path().join("native")).unwrap();
        let blob = directory.path().join("content/blobs/sha256");
        fs::write(blob.join("a".repeat(64)), b"12345").unwrap();

        let blobs = vec![(digest('b'), 3), (digest('a'), 5)];
        let looks = Looks::default();
        let found = roots(directory.path()).measure(&looks, blobs).await;
        assert_eq!(found.unseen, Vec::<String>::new());
        let [only] = &found.seen[..] else {
            panic!("{found:?}")
        };
        assert!(only.has_content && only.snapshotters.len() == 1, "{only:?}");
        assert!(directory.path().starts_with(&only.mount_point), "{only:?}");
        assert!(only.bytes.total > 0 && only.bytes.left <= only.bytes.total);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_containerds_is_not_seen() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("content/blobs/sha256")).unwrap();
        let blobs = vec![(digest('a'), 5)];
        let looks = Looks::default();
        let found = roots(directory.path()).measure(&looks, blobs).await;
        assert_eq!(found.seen, []);
        let [content, native] = &found.unseen[..] else {
            panic!("{found:?}")
        };
        assert!(content.contains("none of containerd's blobs"), "{content}");
        assert!(native.contains("snapshots of `native`"), "{native}");
    }

    #[tokio::test]
    async fn a_filesystem_that_hangs_hides_no_other() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("content")).unwrap();
        fs::create_dir(directory.path().join("native")).unwrap();
        let looks = Looks::default();
        let kind = format!(
            "filesystem of {}",
            directory.path().join("native").display()
        );
        let (_comes_back, waits) = std::sync::mpsc::channel::<()>();
        let hangs = move || waits.recv();
        let briefly = std::time::Duration::from_millis(1);
        assert!(looks.look(&kind, briefly, hangs).await.is_err());
        let found = roots(directory.path()).measure(&looks, Vec::new()).await;
        assert!(found.seen.iter().any(|it| it.has_content), "{found:?}");
        let [native] = &found.unseen[..] else {
            panic!("{found:?}")
        };
        assert!(native.contains("does not answer within 10 s"), "{native}");
    }
}
