//! The filesystems that hold content and snapshots, and how much room they have.
//!
//! containerd reports the directories of its plugins as paths on its own machine. A path that does
//! not exist here, or a content store here that has none of containerd's blobs, counts as
//! unmeasured, so that no other disk is measured instead.

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
use crate::files::{Filesystems, Unmeasured};

/// The kind of plugin that stores content.
pub(crate) const CONTENT_PLUGIN: &str = "io.containerd.content.v1";

/// The kind of plugin that stores snapshots.
pub(crate) const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";

/// The snapshotters that are part of containerd and store snapshots in their own directory, which
/// some do not report.
const BUILT_IN: [&str; 6] = ["blockfile", "btrfs", "erofs", "native", "overlayfs", "zfs"];

/// Stores snapshots in a thin pool, and only its database in its directory.
const DEVMAPPER: &str = "devmapper";

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
    /// If a call fails. What cannot be measured is not an error, but listed as unmeasured.
    pub async fn filesystems(&self) -> Result<Filesystems, StoreError> {
        if let Some(disk) = self.disk() {
            return Ok(disk.filesystems());
        }
        let roots = self.roots().await?;
        if !self.sees_files() {
            return Ok(roots.unmeasured("containerd runs on another host"));
        }
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
    /// Returns that nothing can be measured.
    fn unmeasured(self, why: &str) -> Filesystems {
        let named = self.snapshotters.into_keys().chain(self.without_root);
        let snapshotters: BTreeSet<Snapshotter> = named.collect();
        let all = [None].into_iter().chain(snapshotters.into_iter().map(Some));
        let unmeasured = all.map(|snapshotter| Unmeasured {
            snapshotter,
            why: why.to_owned(),
        });
        Filesystems {
            seen: Vec::new(),
            unmeasured: unmeasured.collect(),
        }
    }

    /// Returns the directories that hold content and the snapshots of each snapshotter, or why they
    /// are unknown.
    fn places(self) -> Vec<(Option<Snapshotter>, Result<PathBuf, &'static str>)> {
        const NO_ROOT: &str = "containerd does not report its directory";
        let plugins = self.content.as_deref().and_then(Path::parent);
        let plugins = plugins.map(Path::to_owned);
        let content = self.content.ok_or(NO_ROOT);
        let with_root = self.snapshotters.into_iter();
        let with_root = with_root.map(|(name, root)| (name, Some(root)));
        let without_root = self.without_root.into_iter().map(|name| (name, None));
        let snapshotters = with_root.chain(without_root).map(|(name, root)| {
            let is_built_in = BUILT_IN.contains(&&*name);
            let usual = || Some(plugins.as_deref()?.join(format!("{SNAPSHOTTER}.{name}")));
            let place = if *name == *DEVMAPPER {
                Err("they are in a thin pool, which has no filesystem")
            } else {
                let root = root.or_else(|| is_built_in.then(usual).flatten());
                root.ok_or(NO_ROOT)
            };
            (Some(name), place)
        });
        [(None, content)].into_iter().chain(snapshotters).collect()
    }

    /// Measures the filesystems of all directories, each in a task of its own, so that one that
    /// hangs hides no other. `blobs` are some of the content store, with their sizes; without any,
    /// its directory is not checked.
    async fn measure(self, disk_tasks: &DiskTasks, blobs: Vec<(Digest, u64)>) -> Filesystems {
        let blobs = Arc::new(blobs);
        let measuring = self.places().into_iter().map(|(snapshotter, place)| {
            let witnesses = snapshotter.is_none().then(|| Arc::clone(&blobs));
            async move {
                let root = match place {
                    Ok(root) => root,
                    Err(why) => return (snapshotter, Err(why.to_owned())),
                };
                let kind = format!("filesystem of {}", root.display());
                let path = root.clone();
                let task = move || measure(&path, witnesses.as_deref().map(Vec::as_slice));
                let measured = disk_tasks
                    .run(&kind, SHORT, task)
                    .await
                    .unwrap_or_else(|hung| Err(hung.into()));
                let failed = |error| format!("`{}`: {error}", root.display());
                (snapshotter, measured.map_err(failed))
            }
        });
        let mut by_device = BTreeMap::new();
        let mut unmeasured = Vec::new();
        for (snapshotter, measured) in futures::future::join_all(measuring).await {
            let (device, measured) = match measured {
                Ok(found) => found,
                Err(why) => {
                    unmeasured.push(Unmeasured { snapshotter, why });
                    continue;
                }
            };
            let filesystem: &mut Filesystem = by_device.entry(device).or_insert(measured);
            match snapshotter {
                Some(snapshotter) => drop(filesystem.snapshotters.insert(snapshotter)),
                None => filesystem.has_content = true,
            }
        }
        let mut seen: Vec<Filesystem> = by_device.into_values().collect();
        seen.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        unmeasured.sort();
        Filesystems { seen, unmeasured }
    }
}

/// Measures the filesystem of a directory, and returns it with its device. With `witnesses`, the
/// directory must be that of the content store that has these blobs.
fn measure(root: &Path, witnesses: Option<&[(Digest, u64)]>) -> io::Result<(u64, Filesystem)> {
    if witnesses.is_some_and(|blobs| !is_store(root, blobs)) {
        return Err(io::Error::other("it has none of containerd's blobs"));
    }
    // Newer containerds make the directory with the first blob.
    let is_empty = witnesses.is_some_and(<[_]>::is_empty) && !root.exists();
    let parent = root.parent().filter(|_| is_empty);
    let root = parent.unwrap_or(root);
    // The data may be mounted below the directory, or be a link to another disk.
    let mut data = ["blobs", "snapshots"]
        .map(|name| root.join(name))
        .into_iter();
    let data = data.find(|path| path.is_dir());
    let data = data.as_deref().unwrap_or(root);
    let device = fs::metadata(data)?.dev();
    let found = rustix::fs::statvfs(data)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let filesystem = Filesystem {
        mount_point: mount_point(data, device)?,
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
        assert_eq!(found.unmeasured, []);
        let [only] = &found.seen[..] else {
            panic!("{found:?}")
        };
        assert!(only.has_content && only.snapshotters.len() == 1, "{only:?}");
        assert!(directory.path().starts_with(&only.mount_point), "{only:?}");
        assert!(only.bytes.total > 0 && only.bytes.left <= only.bytes.total);
    }

    #[tokio::test]
    async fn a_directory_without_containerds_blobs_is_unmeasured() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("content/blobs/sha256")).unwrap();
        let blobs = vec![(digest('a'), 5)];
        let disk_tasks = DiskTasks::default();
        let found = roots(directory.path()).measure(&disk_tasks, blobs).await;
        assert_eq!(found.seen, []);
        let [content, native] = &found.unmeasured[..] else {
            panic!("{found:?}")
        };
        let content = content.to_string();
        assert!(content.contains("none of containerd's blobs"), "{content}");
        let native = native.to_string();
        assert!(native.contains("snapshots of `native`: `/"), "{native}");
    }

    #[tokio::test]
    async fn what_has_no_directory_is_unmeasured() {
        let directory = tempfile::tempdir().unwrap();
        let plugins = directory.path();
        let native = plugins.join("io.containerd.snapshotter.v1.native");
        fs::create_dir_all(native.join("snapshots")).unwrap();
        // There is no directory of content, as before the first pull.
        let without_root = ["native", "stargz"].map(Snapshotter::from);
        let devmapper = (Snapshotter::from("devmapper"), plugins.to_owned());
        let roots = Roots {
            content: Some(plugins.join("content")),
            snapshotters: BTreeMap::from([devmapper]),
            without_root: BTreeSet::from(without_root),
        };
        let unmeasured = |found: &Filesystems| {
            let texts = found.unmeasured.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>()
        };
        let disk_tasks = DiskTasks::default();
        let found = roots.clone().measure(&disk_tasks, Vec::new()).await;
        assert!(found.seen[0].has_content, "{found:?}");
        let native = BTreeSet::from([Snapshotter::from("native")]);
        assert_eq!(found.seen[0].snapshotters, native, "{found:?}");
        assert_eq!(
            unmeasured(&found),
            [
                "snapshots of `devmapper`: they are in a thin pool, which has no filesystem",
                "snapshots of `stargz`: containerd does not report its directory",
            ]
        );
        let nowhere = Roots {
            content: None,
            ..roots.clone()
        };
        let found = nowhere.measure(&disk_tasks, Vec::new()).await;
        assert_eq!(found.seen, []);
        assert_eq!(unmeasured(&found).len(), 4, "{found:?}");
        let remote = unmeasured(&roots.unmeasured("far away"));
        assert_eq!(remote.len(), 4);
        assert_eq!(remote[0], "content: far away");
    }

    /// Data that is a link to another disk is measured there.
    #[tokio::test]
    async fn data_is_measured_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("content")).unwrap();
        fs::create_dir(directory.path().join("native")).unwrap();
        let blobs = directory.path().join("content/blobs");
        std::os::unix::fs::symlink("/proc", blobs).unwrap();
        let disk_tasks = DiskTasks::default();
        let found = roots(directory.path()).measure(&disk_tasks, Vec::new());
        let found = found.await;
        let content = found.seen.iter().find(|it| it.has_content).unwrap();
        assert_eq!(content.mount_point, Path::new("/proc"));
        assert_eq!(found.seen.len(), 2, "{found:?}");
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
        let [native] = &found.unmeasured[..] else {
            panic!("{found:?}")
        };
        let native = native.to_string();
        assert!(native.contains("does not answer within 10 s"), "{native}");
    }
}
