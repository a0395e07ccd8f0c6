//! The directories of snapshots, where they can be seen from here.
//!
//! Overlayfs and native keep each snapshot in `snapshots/ID` below their root. Which ID is which
//! record's is in a database that containerd has locked, and the API tells it only of snapshots
//! that can be mounted. How many directories there should be is known all the same: one for each
//! record, but for views of native, which have none. Those beyond that belong to nobody: a
//! removal that failed, or what somebody put there.
//!
//! [`Containerd::unrecorded`] finds out which they are, as far as that can be proven without
//! writing anything: by their names, by what the API says of mounts, and by what each directory
//! occupies.

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
use crate::error::StoreError;
use crate::filesystem::{SNAPSHOTTER, is_store};
use crate::look::{LIST, WALK};
use identify::{Evidence, identify};
use walk::own_bytes;

/// The kind of look that lists them; see [`crate::look`].
const LISTING: &str = "directories of snapshots";

/// What a new snapshot's directory is called until it is whole.
const NEW_PREFIX: &str = "new-";

/// What native calls a directory that it removes.
const REMOVED_PREFIX: &str = "rm-";

/// How a snapshotter lays out its directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `ID/fs`, which counts, and `ID/work`, which does not.
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

    /// The part of a snapshot's directory whose size its record has.
    fn counted(self, directory: &Path) -> PathBuf {
        match self {
            Self::Overlay => directory.join("fs"),
            Self::Native => directory.to_owned(),
        }
    }
}

/// What tells a directory from another of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    /// When an entry of it was made or removed last.
    changed: (i64, i64),
}

/// The directories of one snapshotter.
#[derive(Debug, Clone)]
struct Listing {
    /// The root of the snapshotter.
    root: PathBuf,
    /// The directory that has them.
    path: PathBuf,
    layout: Layout,
    entries: BTreeMap<String, Stamp>,
}

/// The directories of all snapshotters that can be seen.
#[derive(Debug, Clone, Default)]
pub struct Directories {
    listings: BTreeMap<Snapshotter, Listing>,
    /// Snapshotters whose directories cannot be seen, with their roots if they name them.
    unseen: BTreeMap<Snapshotter, Option<PathBuf>>,
}

/// What snapshots occupy, in bytes and inodes, as their snapshotter says.
pub type Extents = BTreeMap<(Namespace, SnapshotId), (u64, u64)>;

impl Containerd {
    /// Lists the directories of all snapshotters; `None` if containerd's files cannot be seen
    /// from here, or are another's. `blobs` are some that it has.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
    pub async fn snapshot_directories(
        &self,
        blobs: &[(Digest, u64)],
    ) -> Result<Option<Directories>, StoreError> {
        if !self.sees_files() {
            return Ok(None);
        }
        let roots = self.roots().await?;
        let blobs = blobs.to_vec();
        let listing = self.looks.look(LISTING, LIST, move || {
            let content = roots.content?;
            // Without a single blob nothing proves that the path is containerd's.
            (!blobs.is_empty() && is_store(&content, &blobs)).then(|| {
                let mut found = Directories::default();
                let named = roots.snapshotters.into_iter();
                let named = named.map(|(snapshotter, root)| (snapshotter, Some(root)));
                // Native names no directory, in any version.
                let homeless = roots.homeless.into_iter().map(|snapshotter| {
                    let plugin = format!("{SNAPSHOTTER}.{snapshotter}");
                    let root = content.parent().map(|root| root.join(plugin));
                    (snapshotter, root)
                });
                for (snapshotter, root) in named.chain(homeless) {
                    let listed = root.as_ref().zip(Layout::of(&snapshotter));
                    match listed.and_then(|(root, layout)| list(root, layout).ok()) {
                        Some(listing) => {
                            found.listings.insert(snapshotter, listing);
                        }
                        None => {
                            found.unseen.insert(snapshotter, root);
                        }
                    }
                }
                found
            })
        });
        Ok(listing.await.ok().flatten())
    }

    /// Lists the same directories once more. What cannot be read any more, or hangs, is not seen.
    pub async fn directories_again(&self, before: &Arc<Directories>) -> Directories {
        let listed = Arc::clone(before);
        let listing = self.looks.look(LISTING, LIST, move || listed.again());
        listing.await.unwrap_or_else(|_| before.hidden())
    }

    /// Counts what is below the roots and no snapshot's; see [`walk::own_bytes`].
    ///
    /// # Errors
    ///
    /// If something cannot be read, or its filesystem hangs.
    pub async fn own_bytes(
        &self,
        content: PathBuf,
        directories: Arc<Directories>,
        unrecorded: Arc<Vec<Unrecorded>>,
    ) -> io::Result<u64> {
        let walk = move || own_bytes(&content, &directories, &unrecorded);
        self.looks.look("own files", WALK, walk).await?
    }

    /// Finds the directories that no record of the inventory knows, and what they occupy.
    ///
    /// `before` were listed before the inventory, `after` after it; what is in one of the two
    /// only is on its way. `sizes` are needed if there are any; see [`Directories::beyond`].
    pub async fn unrecorded(
        &self,
        before: &Directories,
        after: &Directories,
        inventory: &Inventory,
        sizes: &Extents,
    ) -> Vec<Unrecorded> {
        let mut found = Vec::new();
        let beyond = before.beyond(after, &after.records(inventory));
        for (snapshotter, count) in beyond {
            let mounted = self.mounted(inventory, &snapshotter, after).await;
            let evidence = Evidence {
                snapshotter: snapshotter.clone(),
                listing: after.listings[&snapshotter].clone(),
                lasting: before.lasting(after, &snapshotter),
                touched: before.touched(after, &snapshotter),
                owned: owned(inventory, &snapshotter, &mounted, sizes),
                mounted: mounted.into_values().collect(),
                count,
            };
            let looking = self
                .looks
                .look("sizes of directories", WALK, move || identify(&evidence));
            found.extend(looking.await);
        }
        found
    }

    /// Says which directory is whose, as far as the API does: of snapshots that can be mounted,
    /// and of those below them.
    async fn mounted(
        &self,
        inventory: &Inventory,
        snapshotter: &Snapshotter,
        directories: &Directories,
    ) -> BTreeMap<(Namespace, SnapshotId), String> {
        let listing = &directories.listings[snapshotter];
        let mut mounted = BTreeMap::new();
        for (name, namespace) in &inventory.namespaces {
            let snapshots = namespace.snapshots.get(snapshotter);
            let snapshots = snapshots.map_or(&[][..], Vec::as_slice);
            let usable = snapshots
                .iter()
                .filter(|it| it.kind != SnapshotKind::Committed);
            for snapshot in usable {
                let id = SnapshotId::new(snapshotter.clone(), snapshot.key.clone());
                // One that is gone by now proves nothing, nor one that cannot be mounted.
                let Ok(sources) = self.mount_sources(name, &id).await else {
                    continue;
                };
                let found = sources.iter().filter_map(|it| listing.name_within(it));
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
        let answer = SnapshotsClient::new(self.channel()).mounts(request).await;
        let answer = answer.map_err(|status| StoreError::new(OPERATION, status).about(id))?;
        let mut sources = Vec::new();
        for mount in answer.into_inner().mounts {
            if mount.r#type == "bind" {
                sources.push(PathBuf::from(&mount.source));
            }
            let option = |key: &str| {
                let mut options = mount.options.iter();
                options.find_map(|it| it.strip_prefix(key))
            };
            let upper = option("upperdir=").into_iter();
            let lower = option("lowerdir=").into_iter();
            let all = upper.chain(lower.flat_map(|it| it.split(':')));
            sources.extend(all.map(PathBuf::from));
        }
        Ok(sources)
    }
}

/// The snapshots whose directories a mount of `top` names, in order.
fn chain<'s>(
    snapshots: &'s [Snapshot],
    top: &'s Snapshot,
    layout: Layout,
) -> impl Iterator<Item = &'s Snapshot> {
    let parent = |of: &&Snapshot| {
        let parent = of.parent.as_deref()?;
        let at = snapshots.binary_search_by(|it| (*it.key).cmp(parent));
        at.ok().map(|at| &snapshots[at])
    };
    // A view is mounted from what it is a view of.
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

/// What the records occupy that have a directory which is not known yet.
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
        let snapshots = namespace.snapshots.get(snapshotter);
        let snapshots = snapshots.into_iter().flatten();
        for snapshot in snapshots.filter(|it| layout.has_directory(it)) {
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
    /// Returns the snapshotters that have records whose directories cannot be seen.
    pub fn unseen(&self, inventory: &Inventory) -> Vec<Snapshotter> {
        let namespaces = inventory.namespaces.values();
        let named = namespaces.flat_map(|it| it.snapshots.iter());
        let named = named.filter(|(name, snapshots)| {
            !snapshots.is_empty() && !self.listings.contains_key(*name)
        });
        // With fewer directories than records they are somewhere else.
        let records = self.records(inventory);
        let elsewhere = self.listings.iter().filter(|(name, listing)| {
            let records = records.get(*name);
            records.is_some_and(|it| *it > listing.entries.len())
        });
        let named = named
            .map(|(name, _)| name)
            .chain(elsewhere.map(|(name, _)| name));
        let named: BTreeSet<&Snapshotter> = named.collect();
        named.into_iter().cloned().collect()
    }

    /// The same directories, none of which can be seen any more.
    fn hidden(&self) -> Self {
        let listed = self.listings.iter();
        let listed = listed.map(|(name, listing)| (name.clone(), Some(listing.root.clone())));
        Self {
            listings: BTreeMap::new(),
            unseen: self.unseen.clone().into_iter().chain(listed).collect(),
        }
    }

    /// Lists the same directories once more. What cannot be read any more is not seen.
    fn again(&self) -> Self {
        let mut found = Self {
            unseen: self.unseen.clone(),
            ..Self::default()
        };
        for (snapshotter, listing) in &self.listings {
            match list(&listing.root, listing.layout) {
                Ok(listing) => {
                    found.listings.insert(snapshotter.clone(), listing);
                }
                Err(_) => {
                    found
                        .unseen
                        .insert(snapshotter.clone(), Some(listing.root.clone()));
                }
            }
        }
        found
    }

    /// Counts the records of each snapshotter that should have a directory. One of which not all
    /// records can be seen is left out.
    pub fn records(&self, inventory: &Inventory) -> BTreeMap<Snapshotter, usize> {
        let counted = self.listings.iter().filter_map(|(snapshotter, listing)| {
            let mut count = 0;
            for namespace in inventory.namespaces.values() {
                let mut gaps = namespace.gaps.iter();
                if gaps.any(|it| matches!(it, Gap::Snapshotter { name, .. } if name == snapshotter))
                {
                    return None;
                }
                let snapshots = namespace.snapshots.get(snapshotter).into_iter().flatten();
                count += snapshots
                    .filter(|it| listing.layout.has_directory(it))
                    .count();
            }
            Some((snapshotter.clone(), count))
        });
        counted.collect()
    }

    /// Counts, for each snapshotter that has any, the directories beyond those of records.
    ///
    /// The count is never too high but for removals under way: records whose directory is not
    /// in both lists are counted as if they were.
    pub fn beyond(
        &self,
        later: &Self,
        records: &BTreeMap<Snapshotter, usize>,
    ) -> BTreeMap<Snapshotter, usize> {
        let counted = records.iter().filter_map(|(snapshotter, records)| {
            let n_directories = self.in_both(later, snapshotter).count();
            let beyond = n_directories.saturating_sub(*records);
            (beyond > 0).then(|| (snapshotter.clone(), beyond))
        });
        counted.collect()
    }

    /// Whether something was removed right in a snapshot's directory between the lists, as only
    /// its removal does.
    pub fn is_touched(&self, later: &Self, snapshotter: &Snapshotter, path: &str) -> bool {
        let name = Path::new(path).file_name().and_then(|it| it.to_str());
        name.is_some_and(|name| self.touched(later, snapshotter).contains(name))
    }

    /// The directories that are in both lists.
    fn lasting(&self, later: &Self, snapshotter: &Snapshotter) -> BTreeSet<String> {
        let both = self.in_both(later, snapshotter);
        both.map(|(name, _, _)| name.clone()).collect()
    }

    /// The directories in which something was made or removed between the lists, or which have
    /// another name. Nothing of containerd's does that to a snapshot, but for its removal. In
    /// native a directory is the snapshot's own root, and changes as that does.
    pub fn touched(&self, later: &Self, snapshotter: &Snapshotter) -> BTreeSet<String> {
        let layout = later.listings.get(snapshotter).map(|it| it.layout);
        let both = self.in_both(later, snapshotter);
        let touched = both.filter(|(name, before, after)| match layout {
            Some(Layout::Overlay) => before.changed != after.changed,
            Some(Layout::Native) | None => name.starts_with(REMOVED_PREFIX),
        });
        touched.map(|(name, _, _)| name.clone()).collect()
    }

    fn in_both<'s>(
        &'s self,
        later: &'s Self,
        snapshotter: &Snapshotter,
    ) -> impl Iterator<Item = (&'s String, &'s Stamp, &'s Stamp)> {
        let entries = |of: &'s Self| of.listings.get(snapshotter).map(|it| &it.entries);
        let both = entries(self).zip(entries(later));
        both.into_iter().flat_map(|(before, after)| {
            after.iter().filter_map(move |(name, stamp)| {
                // Native renames what it removes.
                let old_name = name.strip_prefix(REMOVED_PREFIX).unwrap_or(name);
                let earlier = before.get(name).or_else(|| before.get(old_name))?;
                (earlier.inode == stamp.inode).then_some((name, earlier, stamp))
            })
        })
    }
}

impl Listing {
    /// Returns the name of the snapshot's directory that a path lies in.
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
            // Removed while we look.
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
