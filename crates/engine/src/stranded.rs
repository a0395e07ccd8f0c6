//! Finds snapshot directories that stay on the disk after their records are gone.
//!
//! containerd removes a snapshot's record first, and then its directory. If it cannot remove the
//! directory, because of an immutable file or a mount, it only logs that. Such directories are not
//! freed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reclaim_model::{
    Freed, Inventory, Namespace, Report, SnapshotSizes, Snapshotter, Unrecorded, chain,
};
use reclaim_store::{Directories, Extents, StoreError};
use tracing::{debug, warn};

use crate::engine::Engine;
use crate::off_thread::{discard, for_each_yielding, lend};
use crate::query::snapshot_ids;

/// How often to check directories without a record again, because containerd may be removing them.
const LOOKS: usize = 3;

/// The time between two checks.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// How many blobs are enough to recognize containerd's directory.
const WITNESSES: usize = 8;

/// The snapshot directories before a run's collection.
pub(crate) struct Before {
    directories: Arc<Directories>,
    /// The number of records.
    records: BTreeMap<Snapshotter, usize>,
    /// The number of directories without a record.
    beyond: BTreeMap<Snapshotter, usize>,
}

impl Engine {
    /// Lists the directories before the first removal; `None` if they cannot be seen.
    pub(crate) async fn directories_before(&self, inventory: &mut Inventory) -> Option<Before> {
        let namespaces = inventory.namespaces.values();
        let blobs = namespaces.flat_map(|it| &it.blobs).take(WITNESSES);
        let blobs: Vec<_> = blobs.map(|it| (it.digest.clone(), it.size)).collect();
        match self.store.snapshot_directories(&blobs).await {
            Ok(directories) => {
                let directories = directories?;
                let counting = lend(inventory, move |inventory| {
                    let records = directories.records(inventory);
                    Before {
                        beyond: directories.excess(&directories, &records),
                        records,
                        directories: Arc::new(directories),
                    }
                });
                Some(counting.await)
            }
            Err(error) => {
                let error = chain(&error);
                debug!(%error, "cannot list snapshot directories");
                None
            }
        }
    }

    /// Enters the directories that are left of removed snapshots into the report, and subtracts them
    /// from the reclaimed bytes.
    pub(crate) async fn enter_stranded(&self, before: &Before, report: &mut Report) {
        // With an undo window, nothing is freed yet.
        if report.freed.snapshots.is_empty() {
            return;
        }
        match self.stranded(before, &report.freed).await {
            Ok(stranded) => {
                for unrecorded in &stranded {
                    let snapshotter = &*unrecorded.snapshotter;
                    let bytes = unrecorded.bytes;
                    let paths: Vec<&str> = unrecorded.places.iter().map(|it| &*it.path).collect();
                    warn!(
                        snapshotter,
                        bytes,
                        ?paths,
                        "containerd left directories of removed snapshots on the disk"
                    );
                }
                subtract(report, &stranded);
                report.stranded = stranded;
            }
            Err(error) => {
                let error = chain(&error);
                let warning = format!(
                    "some directories of removed snapshots stay, and which is unknown: {error}"
                );
                report.warnings.push(warning);
            }
        }
    }

    async fn stranded(&self, before: &Before, gone: &Freed) -> Result<Vec<Unrecorded>, StoreError> {
        let after = self.store.relist_directories(&before.directories).await;
        // As many directories as records are gone, so none is left.
        if before.is_clean(&after, &before.records_without(gone)) {
            return Ok(Vec::new());
        }
        for look in 1..=LOOKS {
            let inventory = self.observe_everything().await?;
            let after = self.store.relist_directories(&before.directories).await;
            if before.is_clean(&after, &after.records(&inventory)) {
                break;
            }
            if look == LOOKS {
                return self.identified(before, &after, &inventory).await;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(Vec::new())
    }

    /// Finds the directories that had a record before the run.
    async fn identified(
        &self,
        before: &Before,
        after: &Directories,
        inventory: &Inventory,
    ) -> Result<Vec<Unrecorded>, StoreError> {
        let bytes = self.all_snapshot_bytes(inventory).await?;
        let sizes = self.snapshot_sizes(inventory, &bytes).await?;
        let earlier = &before.directories;
        let found = self.store.unrecorded(earlier, after, inventory, &sizes);
        let found = found.await.into_iter();
        let new = found.filter_map(|it| {
            let old = before.beyond.get(&it.snapshotter).copied();
            let snapshotter = it.snapshotter.clone();
            let is_new = |path: &str| earlier.is_touched(after, &snapshotter, path);
            since(it, old.unwrap_or(0), is_new)
        });
        Ok(new.collect())
    }

    /// Reads the inodes of all snapshots, and combines them with their bytes.
    pub(crate) async fn snapshot_sizes(
        &self,
        inventory: &Inventory,
        bytes: &BTreeMap<Namespace, SnapshotSizes>,
    ) -> Result<Extents, StoreError> {
        let mut sizes = Extents::new();
        for (name, namespace) in &inventory.namespaces {
            let Some(bytes) = bytes.get(name) else {
                continue;
            };
            let ids = snapshot_ids(namespace).await;
            let inodes = self.store.snapshot_inodes(name, &ids).await?;
            // An unknown size proves nothing.
            for_each_yielding(inodes.iter(), |(id, inodes)| {
                if let (Some(Some(bytes)), Some(inodes)) = (bytes.get(id), inodes) {
                    sizes.insert((name.clone(), id.clone()), (bytes, inodes));
                }
            })
            .await;
            discard(inodes);
        }
        Ok(sizes)
    }
}

impl Before {
    /// Returns the number of records without those in `gone`.
    fn records_without(&self, gone: &Freed) -> BTreeMap<Snapshotter, usize> {
        let mut records = self.records.clone();
        for snapshot in &gone.snapshots {
            if let Some(count) = records.get_mut(&snapshot.id.snapshotter) {
                *count = count.saturating_sub(1);
            }
        }
        records
    }

    /// Returns whether this run left no directory without a record: there are no more directories than
    /// expected, and nothing was removed from the remaining ones.
    ///
    /// Counting is not enough, because the collection may have removed an older one.
    fn is_clean(&self, after: &Directories, records: &BTreeMap<Snapshotter, usize>) -> bool {
        let beyond = self.directories.excess(after, records);
        let is_no_more = |(name, count): (&Snapshotter, &usize)| {
            self.beyond.get(name).is_some_and(|old| old >= count)
        };
        let is_touched = |name: &Snapshotter| !self.directories.touched(after, name).is_empty();
        beyond.iter().all(is_no_more) && !records.keys().any(is_touched)
    }
}

/// Reduces directories without a record to those of this run: those with removed content, or as many
/// as there are more than before. `None` if there are none.
fn since(mut found: Unrecorded, old: usize, is_new: impl Fn(&str) -> bool) -> Option<Unrecorded> {
    if old > 0 {
        found.places.retain(|place| is_new(&place.path));
        found.directories = found
            .directories
            .saturating_sub(old)
            .max(found.places.len());
        found.bytes = found.places.iter().map(|it| it.bytes).sum();
        found.is_exact = found.places.len() == found.directories;
    }
    (found.directories > 0).then_some(found)
}

/// Subtracts stranded directories from the reclaimed bytes. A directory of unknown size counts as the
/// largest snapshot.
fn subtract(report: &mut Report, stranded: &[Unrecorded]) {
    let reclaimed = &mut report.reclaimed.0;
    for unrecorded in stranded {
        let snapshots = report.freed.snapshots.iter();
        let own = snapshots.filter(|it| it.id.snapshotter == unrecorded.snapshotter);
        let mut sizes: Vec<u64> = own.filter_map(|it| it.bytes).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let unknown = unrecorded.directories - unrecorded.places.len();
        let unknown: u64 = sizes.iter().take(unknown).sum();
        let bytes = unrecorded.bytes.saturating_add(unknown);
        reclaimed.snapshot_bytes = reclaimed.snapshot_bytes.saturating_sub(bytes);
        reclaimed.snapshots = reclaimed.snapshots.saturating_sub(unrecorded.directories);
    }
}

#[cfg(test)]
mod tests {
    use reclaim_model::{FreedSnapshot, Mode, Place, Reclaimed, SnapshotId};

    use super::*;
    use crate::fixture::plan;
    use crate::preview::{blank_report, new_run};

    fn unrecorded(directories: usize, places: &[(&str, u64)]) -> Unrecorded {
        let places = places.iter().map(|(path, bytes)| Place {
            path: (*path).to_owned(),
            bytes: *bytes,
            why: None,
        });
        let places: Vec<Place> = places.collect();
        Unrecorded {
            snapshotter: "native".into(),
            directories,
            bytes: places.iter().map(|it| it.bytes).sum(),
            is_exact: places.len() == directories,
            places,
        }
    }

    /// A report with removed snapshots of 10, 20 and 30 bytes, and one of overlayfs.
    fn report() -> Report {
        let mut report = blank_report(new_run(), Mode::Apply, &plan(Vec::new(), Vec::new()));
        let snapshots = [
            ("native", 10),
            ("native", 20),
            ("native", 30),
            ("overlayfs", 100),
        ];
        let snapshots = snapshots.map(|(snapshotter, bytes)| FreedSnapshot {
            id: SnapshotId::new(snapshotter, bytes.to_string()),
            bytes: Some(bytes),
        });
        report.freed.snapshots = snapshots.into();
        report.reclaimed = Reclaimed(report.freed.amount());
        report
    }

    #[test]
    fn stranded_directories_are_subtracted() {
        for (stranded, bytes, snapshots) in [
            (unrecorded(1, &[("/1", 12)]), 148, 3),
            (unrecorded(2, &[("/1", 12)]), 118, 2),
            (unrecorded(2, &[]), 110, 2),
            (unrecorded(9, &[("/1", 1_000_000)]), 0, 0),
        ] {
            let mut report = report();
            subtract(&mut report, std::slice::from_ref(&stranded));
            let Reclaimed(left) = report.reclaimed;
            assert_eq!(
                (left.snapshot_bytes, left.snapshots),
                (bytes, snapshots),
                "{stranded:?}"
            );
        }
    }

    #[test]
    fn older_directories_are_not_stranded_by_this_run() {
        let found = || unrecorded(2, &[("/old", 3), ("/touched", 4)]);
        let is_new = |path: &str| path == "/touched";
        assert_eq!(since(found(), 0, is_new), Some(found()));
        assert_eq!(
            since(found(), 1, is_new),
            Some(unrecorded(1, &[("/touched", 4)]))
        );
        assert_eq!(since(found(), 1, |_| false), Some(unrecorded(1, &[])));
        // The older one may be gone.
        assert_eq!(
            since(found(), 3, is_new),
            Some(unrecorded(1, &[("/touched", 4)]))
        );
        assert_eq!(since(found(), 2, |_| false), None);
    }
}
