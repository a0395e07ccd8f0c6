//! The filesystems that hold content and snapshots, and how much room they have.
//!
//! containerd reports the directories of its plugins as paths on its own machine. A path that does
//! not exist here, or a content store here that has none of containerd's blobs, counts as unseen,
//! so that no other disk is measured instead.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::disk_tasks::{DiskTasks, SHORT};
use crate::error::StoreError;
use crate::files::Filesystems;

/// The kind of plugin that stores content.
pub(crate) const CONTENT_PLUGIN: &str = "io.containerd.content.v1";

/// The kind of plugin that stores snapshots.
pub(crate) const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";

/// How many blobs identify a content store. More than one, because one may be collected meanwhile.
const WITNESSES: usize = 8;

/// Where containerd keeps content and snapshots, as it reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots {
    /// The directory of the content store.
    pub content: Option<PathBuf>,
    /// The directory of each loaded snapshotter.
    pub snapshotters: BTreeMap<Snapshotter, PathBuf>,
    /// Loaded snapshotters that report no directory, such as those of other processes.
    pub without_root: BTreeSet<Snapshotter>,
}

impl Containerd {
    /// Reads where content and snapshots are.
    ///
    /// # Errors
    ///
    /// If the call fails.
    pub async fn roots(&self) -> Result<Roots, StoreError> {
        const OPERATION: &str = "find the content store and the snapshotters";
        let filters = [CONTENT_PLUGIN, SNAPSHOTTER].map(|kind| format!("type=={kind}"));
        let message = PluginsRequest {
            filters: filters.into(),
        };
        let request = self.request(OPERATION, None, message)?;
        let answer = IntrospectionClient::new(self.channel())
            .plugins(request)
            .await
            .map_err(|status| StoreError::new(OPERATION, status))?;
        let mut roots = Roots::default();
        for mut plugin in answer.into_inner().plugins {
            let root = plugin.exports.remove("root").map(PathBuf::from);
            if plugin.r#type == CONTENT_PLUGIN {
                roots.content = root;
                continue;
            }
            // A snapshotter that could not be loaded has no snapshots.
            if plugin.init_err.is_some() {
                continue;
            }
            let name = Snapshotter::from(plugin.id);
            match root {
                Some(root) => drop(roots.snapshotters.insert(name, root)),
                None => drop(roots.without_root.insert(name)),
            }
        }
        Ok(roots)
    }

    /// Measures the filesystems that hold content and snapshots.
    ///
    /// # Errors
    ///
    /// If a call fails. A filesystem that cannot be measured is not an error, but listed as unseen.
    pub async fn filesystems(&self) -> Result<Filesystems, StoreError> {
        if let Some(disk) = self.disk() {
            return Ok(disk.filesystems());
        }
        if !self.sees_files() {
            return Ok(Filesystems {
                unseen: vec!["containerd is remote: its filesystems are not measured".to_owned()],
                ..Filesystems::default()
            });
        }
        let roots = self.roots().await?;
        let blobs = self.sample_blobs().await?;
        Ok(roots.measure(&self.disk_tasks, blobs).await)
    }

    /// Writes the filesystems with these mount points to their disks, because some show freed space
    /// only afterwards. A failure shows in what is measured next.
    pub async fn sync(&self, mount_points: impl Iterator<Item = &Path>) {
        if !self.sees_files() {
            return;
        }
        let syncing = mount_points.map(|mount_point| {
            let kind = format!("sync of {}", mount_point.display());
            let mount_point = mount_point.to_owned();
            async move {
                let task = move || {
                    let mount_point = fs::File::open(mount_point)?;
                    Ok::<(), io::Error>(rustix::fs::syncfs(mount_point)?)
                };
                self.disk_tasks.run(&kind, SHORT, task).await
            }
        });
        futures::future::join_all(syncing).await;
    }

    /// Whether there is less room than a collection may need: it rewrites containerd's database
    /// page by page before it frees anything. `false` if the filesystem cannot be measured.
    ///
    /// # Errors
    ///
    /// If the call for the roots fails.
    pub async fn lacks_room_to_collect(&self) -> Result<bool, StoreError> {
        let Some(root) = self.content_root().await? else {
            return Ok(false);
        };
        let measured = self
            .disk_tasks
            .run("room to collect", SHORT, move || {
                lacks_room_to_collect(&root)
            })
            .await;
        Ok(matches!(measured, Ok(Ok(true))))
    }

    /// Lists a few blobs of any namespace, with their sizes.
    ///
    /// # Errors
    ///
    /// If containerd is away.
    pub async fn sample_blobs(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut blobs = Vec::new();
        for namespace in self.namespaces().await? {
            match self.add_some_blobs(&namespace, &mut blobs).await {
                // Blobs of another namespace do as well.
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
    /// Measures the filesystems of all directories, each in a task of its own, so that one that
    /// hangs hides no other. `blobs` are some of the content store, with their sizes; without any,
    /// its directory is not checked.
    async fn measure(self, disk_tasks: &DiskTasks, blobs: Vec<(Digest, u64)>) -> Filesystems {
        let mut found = Found::default();
        let mut directories = Vec::new();
        if let Some(root) = self.content {
            directories.push((None, root));
        } else {
            let why = "content: containerd does not report its directory";
            found.unseen.push(why.to_owned());
        }
        let snapshotters = self.snapshotters.into_iter();
        directories.extend(snapshotters.map(|(name, root)| (Some(name), root)));
        let blobs = Arc::new(blobs);
        let measuring = directories.into_iter().map(|(snapshotter, root)| {
            let witnesses = snapshotter.is_none().then(|| Arc::clone(&blobs));
            async move {
                let kind = format!("filesystem of {}", root.display());
                let path = root.clone();
                let task = move || measure(&path, witnesses.as_deref().map(Vec::as_slice));
                let measured = disk_tasks
                    .run(&kind, SHORT, task)
                    .await
                    .unwrap_or_else(|hung| Err(hung.into()));
                (snapshotter, root, measured)
            }
        });
        for (snapshotter, root, measured) in futures::future::join_all(measuring).await {
            found.add(snapshotter, &root, measured);
        }
        let mut seen: Vec<Filesystem> = found.by_device.into_values().collect();
        seen.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        Filesystems {
            seen,
            unseen: found.unseen,
        }
    }
}

/// The filesystems that were measured so far.
#[derive(Default)]
struct Found {
    by_device: BTreeMap<u64, Filesystem>,
    unseen: Vec<String>,
}

impl Found {
    /// Adds the filesystem of a snapshotter's directory; of the content store's if that is `None`.
    fn add(
        &mut self,
        snapshotter: Option<Snapshotter>,
        root: &Path,
        measured: io::Result<(u64, Filesystem)>,
    ) {
        let (device, measured) = match measured {
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

/// Measures the filesystem of a directory, and returns it with its device. With `witnesses`, the
/// directory must be that of the content store that has these blobs.
fn measure(root: &Path, witnesses: Option<&[(Digest, u64)]>) -> io::Result<(u64, Filesystem)> {
    if witnesses.is_some_and(|blobs| !is_store(root, blobs)) {
        return Err(io::Error::other("it has none of containerd's blobs"));
    }
    let device = fs::metadata(root)?.dev();
    let found = rustix::fs::statvfs(root)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let filesystem = Filesystem {
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
    };
    Ok((device, filesystem))
}

/// See [`Containerd::lacks_room_to_collect`]; `root` is that of the content store.
fn lacks_room_to_collect(root: &Path) -> io::Result<bool> {
    let database = root
        .with_file_name("io.containerd.metadata.v1.bolt")
        .join("meta.db");
    let database_blocks = fs::metadata(database)?.blocks();
    let filesystem = rustix::fs::statvfs(root)?;
    // containerd may use the blocks that are reserved for root.
    let left = filesystem.f_bfree.saturating_mul(filesystem.f_frsize);
    // Allocated blocks, not the length: a sparse part of the file is not rewritten.
    Ok(left < database_blocks.saturating_mul(512))
}

/// Whether a directory is that of the content store that has `blobs`: one of them exists with its
/// size.
pub(crate) fn is_store(root: &Path, blobs: &[(Digest, u64)]) -> bool {
    let mut witnesses = blobs.iter().take(WITNESSES).peekable();
    witnesses.peek().is_none()
        || witnesses.any(|(digest, bytes)| {
            let path = root.join("blobs").join(digest.algorithm());
            let metadata = fs::metadata(path.join(digest.hex()));
            metadata.is_ok_and(|metadata| metadata.len() == *bytes)
        })
}

/// Returns the uppermost parent of `path` that is on the same device.
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
            without_root: BTreeSet::new(),
        }
    }

    #[test]
    fn a_sparse_database_needs_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("io.containerd.content.v1.content");
        fs::create_dir(&root).unwrap();
        assert!(
            lacks_room_to_collect(&root).is_err(),
            "there is no database"
        );
        let database = directory.path().join("io.containerd.metadata.v1.bolt");
        fs::create_dir(&database).unwrap();
        let file = fs::File::create(database.join("meta.db")).unwrap();
        // Longer than the room that is left almost everywhere, and within every filesystem's limit.
        file.set_len(1 << 43).unwrap();
        assert!(!lacks_room_to_collect(&root).unwrap());
    }

    #[tokio::test]
    async fn directories_on_one_filesystem_are_measured_once() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("content/blobs/sha256")).unwrap();
        fs::create_dir(directory.path().join("native")).unwrap();
        let blob = directory.path().join("content/blobs/sha256");
        fs::write(blob.join("a".repeat(64)), b"12345").unwrap();

        let blobs = vec![(digest('b'), 3), (digest('a'), 5)];
        let disk_tasks = DiskTasks::default();
        let found = roots(directory.path()).measure(&disk_tasks, blobs).await;
        assert_eq!(found.unseen, Vec::<String>::new());
        let [only] = &found.seen[..] else {
            panic!("{found:?}")
        };
        assert!(only.has_content && only.snapshotters.len() == 1, "{only:?}");
        assert!(directory.path().starts_with(&only.mount_point), "{only:?}");
        assert!(only.bytes.total > 0 && only.bytes.left <= only.bytes.total);
    }

    #[tokio::test]
    async fn a_directory_without_containerds_blobs_is_unseen() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("content/blobs/sha256")).unwrap();
        let blobs = vec![(digest('a'), 5)];
        let disk_tasks = DiskTasks::default();
        let found = roots(directory.path()).measure(&disk_tasks, blobs).await;
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
        let disk_tasks = DiskTasks::default();
        let kind = format!(
            "filesystem of {}",
            directory.path().join("native").display()
        );
        let (_release, waits) = std::sync::mpsc::channel::<()>();
        let hangs = move || waits.recv();
        let briefly = std::time::Duration::from_millis(1);
        assert!(disk_tasks.run(&kind, briefly, hangs).await.is_err());
        let found = roots(directory.path())
            .measure(&disk_tasks, Vec::new())
            .await;
        assert!(
            found.seen.iter().any(|filesystem| filesystem.has_content),
            "{found:?}"
        );
        let [native] = &found.unseen[..] else {
            panic!("{found:?}")
        };
        assert!(native.contains("does not answer within 10 s"), "{native}");
    }
}
