//! The directories of snapshots, if they are on this machine.
//!
//! Overlayfs and native keep each snapshot in `snapshots/ID` below their root. The database that
//! maps IDs to records is locked by containerd, and the API reports the ID only of snapshots that
//! can be mounted. The number of directories is known nevertheless: one for each record, except
//! for views of native, which have none. A directory in excess of that has no record: its removal
//! failed, or another program created it.
//!
//! [`Containerd::unrecorded`] finds those directories, as far as this can be proven without writing
//! anything: by their names, by the mounts that the API reports, and by the sizes of directories.

mod identify;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_client::services::v1::snapshots::MountsRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use reclaim_model::{
    Digest, Gap, Inventory, Namespace, Snapshot, SnapshotId, SnapshotKind, Snapshotter, Unrecorded,
};

use crate::client::Containerd;
use crate::disk_tasks::{LIST, WALK};
use crate::error::StoreError;
use crate::filesystem::{Roots, SNAPSHOTTER, is_store};
use identify::{Evidence, identify};
use walk::own_bytes;

/// The kind of the disk task that lists directories.
const LISTING: &str = "directories of snapshots";

/// The prefix of a new snapshot's directory until it is complete.
const NEW_PREFIX: &str = "new-";

/// The prefix to which native renames a directory that it removes.
const REMOVED_PREFIX: &str = "rm-";

/// How a snapshotter lays out its directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `ID/fs`, which counts towards the snapshot's size, and `ID/work`, which does not.
    Overlay,
    /// `ID`. A view of another snapshot has none.
    Native,
}

impl Layout {
    fn of(snapshotter: &Snapshotter) -> Option<Self> {
        match &**snapshotter {
            "overlayfs" => Some(Self::Overlay),
            "native" => Some(Self::Native),
            _ => None,
        }
    }

    fn has_directory(self, snapshot: &Snapshot) -> bool {
        match self {
            Self::Overlay => true,
            Self::Native => snapshot.kind != SnapshotKind::View || snapshot.parent.is_none(),
        }
    }

    /// Returns the part of a snapshot's directory that counts towards the size in its record.
    fn counted(self, directory: &Path) -> PathBuf {
        match self {
            Self::Overlay => directory.join("fs"),
            Self::Native => directory.to_owned(),
        }
    }
}

/// Distinguishes a directory from an earlier one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    /// When an entry was last created or removed in it.
    changed: (i64, i64),
}

/// The directories of one snapshotter.
#[derive(Debug, Clone)]
struct Listing {
    /// The root of the snapshotter.
    root: PathBuf,
    /// The parent of the snapshots' directories.
    path: PathBuf,
    layout: Layout,
    entries: BTreeMap<String, Stamp>,
}

/// The directories of snapshots, by snapshotter.
#[derive(Debug, Clone, Default)]
pub struct Directories {
    listings: BTreeMap<Snapshotter, Listing>,
    /// Snapshotters whose directories cannot be listed, with their roots if they are known.
    unseen: BTreeMap<Snapshotter, Option<PathBuf>>,
}

/// What snapshots occupy, in bytes and inodes, as their snapshotter reports it.
pub type Extents = BTreeMap<(Namespace, SnapshotId), (u64, u64)>;

impl Containerd {
    /// Lists the directories of all snapshotters; `None` if containerd's files are not on this
    /// machine. `blobs` are some blobs of the store, with their sizes: they prove that the files
    /// are those of this containerd.
    ///
    /// # Errors
    ///
    /// If the call for the roots fails.
    pub async fn snapshot_directories(
        &self,
        blobs: &[(Digest, u64)],
    ) -> Result<Option<Directories>, StoreError> {
        if !self.sees_files() {
            return Ok(None);
        }
        let roots = self.roots().await?;
        let blobs = blobs.to_vec();
        let listing = self
            .disk_tasks
            .run(LISTING, LIST, move || list_all(roots, &blobs));
        Ok(listing.await.ok().flatten())
    }

    /// Lists the same directories again. Those that can no longer be read are unseen.
    pub async fn relist_directories(&self, before: &Arc<Directories>) -> Directories {
        let listed = Arc::clone(before);
        self.disk_tasks
            .run(LISTING, LIST, move || listed.relist())
            .await
            .unwrap_or_else(|_| before.all_unseen())
    }

    /// Counts the bytes below containerd's roots that belong to no snapshot and no blob; see
    /// [`walk::own_bytes`].
    ///
    /// # Errors
    ///
    /// If a directory cannot be read, or its filesystem hangs.
    pub async fn own_bytes(
        &self,
        content: PathBuf,
        directories: Arc<Directories>,
        unrecorded: Arc<Vec<Unrecorded>>,
    ) -> io::Result<u64> {
        let walk = move || own_bytes(&content, &directories, &unrecorded);
        self.disk_tasks.run("own files", WALK, walk).await?
    }

    /// Finds the directories that have no record in the inventory, and what they occupy.
    ///
    /// `before` was listed before the inventory, `after` after it; a directory in only one of them
    /// is being created or removed. `sizes` are only needed if [`Directories::excess`] finds any.
    pub async fn unrecorded(
        &self,
        before: &Directories,
        after: &Directories,
        inventory: &Inventory,
        sizes: &Extents,
    ) -> Vec<Unrecorded> {
        let mut found = Vec::new();
        for (snapshotter, count) in before.excess(after, &after.records(inventory)) {
            let mounted = self.mounted(inventory, &snapshotter, after).await;
            let evidence = Evidence {
                snapshotter: snapshotter.clone(),
                listing: after.listings[&snapshotter].clone(),
                listed_twice: before.listed_twice(after, &snapshotter),
                touched: before.touched(after, &snapshotter),
                owned: owned(inventory, &snapshotter, &mounted, sizes),
                mounted: mounted.into_values().collect(),
                count,
            };
            let identifying = self
                .disk_tasks
                .run("sizes of directories", WALK, move || identify(&evidence));
            found.extend(identifying.await);
        }
        found
    }

    /// Maps snapshots to their directories, as far as the API reports them: for snapshots that can
    /// be mounted, and for their parents.
    async fn mounted(
        &self,
        inventory: &Inventory,
        snapshotter: &Snapshotter,
        directories: &Directories,
    ) -> BTreeMap<(Namespace, SnapshotId), String> {
        let listing = &directories.listings[snapshotter];
        let mut mounted = BTreeMap::new();
        for (name, namespace) in &inventory.namespaces {
            let snapshots = namespace
                .snapshots
                .get(snapshotter)
                .map_or(&[][..], Vec::as_slice);
            let mountable = snapshots
                .iter()
                .filter(|snapshot| snapshot.kind != SnapshotKind::Committed);
            for snapshot in mountable {
                let id = SnapshotId::new(snapshotter.clone(), snapshot.key.clone());
                // If it is gone or cannot be mounted, it proves nothing.
                let Ok(sources) = self.mount_sources(name, &id).await else {
                    continue;
                };
                let found = sources.iter().filter_map(|path| listing.name_within(path));
                for (snapshot, directory) in chain(snapshots, snapshot, listing.layout).zip(found) {
                    let id = SnapshotId::new(snapshotter.clone(), snapshot.key.clone());
                    mounted.insert((name.clone(), id), directory);
                }
            }
        }
        mounted
    }

    /// Returns the directories that a snapshot is mounted from, its own first.
    async fn mount_sources(
        &self,
        namespace: &Namespace,
        id: &SnapshotId,
    ) -> Result<Vec<PathBuf>, StoreError> {
        const OPERATION: &str = "read mounts of snapshot";
        let message = MountsRequest {
            snapshotter: id.snapshotter.to_string(),
            key: id.key.to_string(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = SnapshotsClient::new(self.channel())
            .mounts(request)
            .await
            .map_err(|status| StoreError::new(OPERATION, status).about(id))?;
        let mut sources = Vec::new();
        for mount in answer.into_inner().mounts {
            if mount.r#type == "bind" {
                sources.push(PathBuf::from(&mount.source));
            }
            let option = |key: &str| {
                let mut options = mount.options.iter();
                options.find_map(|option| option.strip_prefix(key))
            };
            let upper = option("upperdir=").into_iter();
            let lower = option("lowerdir=").into_iter();
            let paths = upper.chain(lower.flat_map(|list| list.split(':')));
            sources.extend(paths.map(PathBuf::from));
        }
        Ok(sources)
    }
}

/// Lists the directories of all snapshotters; `None` if the content store is not the one that has
/// `blobs`.
fn list_all(roots: Roots, blobs: &[(Digest, u64)]) -> Option<Directories> {
    let content = roots.content?;
    // Without a single blob nothing proves that the path is containerd's.
    if blobs.is_empty() || !is_store(&content, blobs) {
        return None;
    }
    let with_root = roots
        .snapshotters
        .into_iter()
        .map(|(snapshotter, root)| (snapshotter, Some(root)));
    // Native reports no root, in any version.
    let without_root = roots.without_root.into_iter().map(|snapshotter| {
        let plugin = format!("{SNAPSHOTTER}.{snapshotter}");
        let root = content.parent().map(|root| root.join(plugin));
        (snapshotter, root)
    });
    let mut found = Directories::default();
    for (snapshotter, root) in with_root.chain(without_root) {
        let layout = Layout::of(&snapshotter);
        match root
            .as_ref()
            .zip(layout)
            .map(|(root, layout)| list(root, layout))
        {
            Some(Ok(listing)) => drop(found.listings.insert(snapshotter, listing)),
            Some(Err(_)) | None => drop(found.unseen.insert(snapshotter, root)),
        }
    }
    Some(found)
}

/// Returns the snapshots whose directories a mount of `top` names, in order.
fn chain<'s>(
    snapshots: &'s [Snapshot],
    top: &'s Snapshot,
    layout: Layout,
) -> impl Iterator<Item = &'s Snapshot> {
    let parent = |of: &&Snapshot| {
        let parent = of.parent.as_deref()?;
        let index = snapshots
            .binary_search_by(|snapshot| (*snapshot.key).cmp(parent))
            .ok()?;
        Some(&snapshots[index])
    };
    // A view is mounted from its parent.
    let first = if top.kind == SnapshotKind::View && top.parent.is_some() {
        parent(&top)
    } else {
        Some(top)
    };
    let n_named = match layout {
        Layout::Overlay => usize::MAX,
        Layout::Native => 1,
    };
    std::iter::successors(first, parent).take(n_named)
}

/// Returns the sizes of the records whose directory is not among `mounted`.
fn owned(
    inventory: &Inventory,
    snapshotter: &Snapshotter,
    mounted: &BTreeMap<(Namespace, SnapshotId), String>,
    sizes: &Extents,
) -> Vec<Option<(u64, u64)>> {
    let mut owned = Vec::new();
    let Some(layout) = Layout::of(snapshotter) else {
        return owned;
    };
    for (name, namespace) in &inventory.namespaces {
        let snapshots = namespace.snapshots.get(snapshotter).into_iter().flatten();
        for snapshot in snapshots.filter(|snapshot| layout.has_directory(snapshot)) {
            let id = SnapshotId::new(snapshotter.clone(), snapshot.key.clone());
            let place = (name.clone(), id);
            if !mounted.contains_key(&place) {
                owned.push(sizes.get(&place).copied());
            }
        }
    }
    owned
}

impl Directories {
    /// Returns the snapshotters that have records whose directories cannot be listed.
    pub fn unseen(&self, inventory: &Inventory) -> Vec<Snapshotter> {
        let not_listed = inventory
            .namespaces
            .values()
            .flat_map(|namespace| namespace.snapshots.iter())
            .filter(|(_, snapshots)| !snapshots.is_empty())
            .map(|(snapshotter, _)| snapshotter)
            .filter(|snapshotter| !self.listings.contains_key(*snapshotter));
        // With fewer directories than records, the directories are in another place.
        let records = self.records(inventory);
        let too_few = self
            .listings
            .iter()
            .filter(|(snapshotter, listing)| {
                records
                    .get(*snapshotter)
                    .is_some_and(|count| *count > listing.entries.len())
            })
            .map(|(snapshotter, _)| snapshotter);
        let unseen: BTreeSet<&Snapshotter> = not_listed.chain(too_few).collect();
        unseen.into_iter().cloned().collect()
    }

    /// Returns the same directories, all of them unseen.
    fn all_unseen(&self) -> Self {
        let listed = self
            .listings
            .iter()
            .map(|(name, listing)| (name.clone(), Some(listing.root.clone())));
        Self {
            listings: BTreeMap::new(),
            unseen: self.unseen.clone().into_iter().chain(listed).collect(),
        }
    }

    /// Lists the same directories again. Those that can no longer be read are unseen.
    fn relist(&self) -> Self {
        let mut found = Self {
            unseen: self.unseen.clone(),
            ..Self::default()
        };
        for (snapshotter, listing) in &self.listings {
            let snapshotter = snapshotter.clone();
            let root = &listing.root;
            match list(root, listing.layout) {
                Ok(listing) => drop(found.listings.insert(snapshotter, listing)),
                Err(_) => drop(found.unseen.insert(snapshotter, Some(root.clone()))),
            }
        }
        found
    }

    /// Counts the records of each snapshotter that should have a directory. A snapshotter whose
    /// records could not all be listed is left out.
    pub fn records(&self, inventory: &Inventory) -> BTreeMap<Snapshotter, usize> {
        let counted = self.listings.iter().filter_map(|(snapshotter, listing)| {
            let mut count = 0;
            for namespace in inventory.namespaces.values() {
                let is_gap =
                    |gap: &Gap| matches!(gap, Gap::Snapshotter { name, .. } if name == snapshotter);
                if namespace.gaps.iter().any(is_gap) {
                    return None;
                }
                let snapshots = namespace.snapshots.get(snapshotter).into_iter().flatten();
                count += snapshots
                    .filter(|snapshot| listing.layout.has_directory(snapshot))
                    .count();
            }
            Some((snapshotter.clone(), count))
        });
        counted.collect()
    }

    /// Counts, for each snapshotter, the directories in excess of its records. A snapshotter
    /// without any is left out.
    ///
    /// The count is too high only for removals in progress: it assumes that every record has a
    /// directory in both lists.
    pub fn excess(
        &self,
        later: &Self,
        records: &BTreeMap<Snapshotter, usize>,
    ) -> BTreeMap<Snapshotter, usize> {
        let counted = records.iter().filter_map(|(snapshotter, records)| {
            let n_directories = self.in_both(later, snapshotter).count();
            let excess = n_directories.saturating_sub(*records);
            (excess > 0).then(|| (snapshotter.clone(), excess))
        });
        counted.collect()
    }

    /// Whether the directory at `path` is among those of [`Self::touched`].
    pub fn is_touched(&self, later: &Self, snapshotter: &Snapshotter, path: &str) -> bool {
        let name = Path::new(path).file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| self.touched(later, snapshotter).contains(name))
    }

    /// Returns the directories that are in both lists.
    fn listed_twice(&self, later: &Self, snapshotter: &Snapshotter) -> BTreeSet<String> {
        self.in_both(later, snapshotter)
            .map(|(name, _, _)| name.clone())
            .collect()
    }

    /// Returns the directories in which an entry was created or removed between the lists, or
    /// which were renamed. containerd does that to a snapshot only when it removes it. For native
    /// only the name counts: its directory is the root of the snapshot, which a container changes.
    pub fn touched(&self, later: &Self, snapshotter: &Snapshotter) -> BTreeSet<String> {
        let layout = later
            .listings
            .get(snapshotter)
            .map(|listing| listing.layout);
        self.in_both(later, snapshotter)
            .filter(|(name, before, after)| match layout {
                Some(Layout::Overlay) => before.changed != after.changed,
                Some(Layout::Native) | None => name.starts_with(REMOVED_PREFIX),
            })
            .map(|(name, _, _)| name.clone())
            .collect()
    }

    fn in_both<'s>(
        &'s self,
        later: &'s Self,
        snapshotter: &Snapshotter,
    ) -> impl Iterator<Item = (&'s String, &'s Stamp, &'s Stamp)> {
        let entries = |of: &'s Self| of.listings.get(snapshotter).map(|listing| &listing.entries);
        let both = entries(self).zip(entries(later));
        both.into_iter().flat_map(|(before, after)| {
            after.iter().filter_map(move |(name, stamp)| {
                // Native renames a directory before it removes it.
                let old_name = name.strip_prefix(REMOVED_PREFIX).unwrap_or(name);
                let earlier = before.get(name).or_else(|| before.get(old_name))?;
                (earlier.inode == stamp.inode).then_some((name, earlier, stamp))
            })
        })
    }
}

impl Listing {
    /// Returns the name of the snapshot's directory that contains `path`.
    fn name_within(&self, path: &Path) -> Option<String> {
        let within = path.strip_prefix(&self.path).ok()?;
        let name = within.iter().next()?;
        Some(name.to_str()?.to_owned())
    }
}

fn list(root: &Path, layout: Layout) -> io::Result<Listing> {
    let path = root.join("snapshots");
    let mut entries = BTreeMap::new();
    for entry in std::fs::read_dir(&path)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() && !name.starts_with(NEW_PREFIX) => {
                let stamp = Stamp {
                    inode: metadata.ino(),
                    changed: (metadata.mtime(), metadata.mtime_nsec()),
                };
                entries.insert(name, stamp);
            }
            Ok(_) => {}
            // Removed during the listing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Listing {
        root: root.to_owned(),
        path,
        layout,
        entries,
    })
}
