//! Directories of snapshots that stay on the disk when their records are gone.
//!
//! containerd removes a snapshot's record first and its directory after that; a directory that it
//! cannot remove, for a file that must not change or for a mount, is only in its log. What stays
//! there is not freed.

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

/// How often directories without a record are looked at again: others may be removing them.
const LOOKS: usize = 3;

/// Time between two of these looks.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// How many blobs are enough to know containerd's directory again.
const WITNESSES: usize = 8;

/// The directories before a run's collection.
pub(crate) struct Before {
    directories: Arc<Directories>,
    /// How many records there were.
    records: BTreeMap<Snapshotter, usize>,
    /// How many directories were without a record.
    beyond: BTreeMap<Snapshotter, usize>,
}

impl Engine {
    /// Lists the directories before anything is removed; `None` if they cannot be seen.
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
                debug!(%error, "directories of snapshots are not looked at");
                None
            }
        }
    }

    /// Enters into the report what stays on the disk of the snapshots that are gone, and takes it
    /// off what was reclaimed.
    pub(crate) async fn enter_stranded(&self, before: &Before, report: &mut Report) {
        // With an undo window nothing has gone.
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
                take_off(report, &stranded);
                report.stranded = stranded;
            }
            Err(error) => {
                let error = chain(&error);
                let warning = format!(
                    "fewer directories than snapshots are gone, and which stay is unknown: {error}"
                );
                report.warnings.push(warning);
            }
        }
    }

    async fn stranded(&self, before: &Before, gone: &Freed) -> Result<Vec<Unrecorded>, StoreError> {
        let after = self.store.relist_directories(&before.directories).await;
        // As many directories as records are gone: nothing else needs to be asked.
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

    /// Finds out which directories were not without a record before.
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

    /// Asks how many inodes all snapshots have, and puts them together with their bytes.
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
            // One of unknown size proves nothing.
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
    /// Returns how many records there are without those that are gone.
    fn records_without(&self, gone: &Freed) -> BTreeMap<Snapshotter, usize> {
        let mut records = self.records.clone();
        for snapshot in &gone.snapshots {
            if let Some(count) = records.get_mut(&snapshot.id.snapshotter) {
                *count = count.saturating_sub(1);
            }
        }
        records
    }

    /// Whether nothing of this run's doing is without a record: there are no more directories than
    /// there should be, and in none of those that are left was something removed.
    ///
    /// Counting is not enough: the collection may have removed one that was there before.
    fn is_clean(&self, after: &Directories, records: &BTreeMap<Snapshotter, usize>) -> bool {
        let beyond = self.directories.excess(after, records);
        let is_no_more = |(name, count): (&Snapshotter, &usize)| {
            self.beyond.get(name).is_some_and(|old| old >= count)
        };
        let is_touched = |name: &Snapshotter| !self.directories.touched(after, name).is_empty();
        beyond.iter().all(is_no_more) && !records.keys().any(is_touched)
    }
}

/// Of directories without a record, those that were not there before: those of which a part was
/// removed, or as many as there are more. `None` if there are none.
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

/// Takes what stays off what was reclaimed. Of directories whose size is unknown as much is taken
/// off as the largest snapshots had.
fn take_off(report: &mut Report, stranded: &[Unrecorded]) {
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

    /// A report of snapshots that are gone, of 10, 20 and 30 bytes, and one of overlayfs.
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
    fn what_stays_is_taken_off_and_what_is_unknown_at_its_largest() {
        for (stranded, bytes, snapshots) in [
            (unrecorded(1, &[("/1", 12)]), 148, 3),
            (unrecorded(2, &[("/1", 12)]), 118, 2),
            (unrecorded(2, &[]), 110, 2),
            (unrecorded(9, &[("/1", 1_000_000)]), 0, 0),
        ] {
            let mut report = report();
            take_off(&mut report, std::slice::from_ref(&stranded));
            let Reclaimed(left) = report.reclaimed;
            assert_eq!(
                (left.snapshot_bytes, left.snapshots),
                (bytes, snapshots),
                "{stranded:?}"
            );
        }
    }

    #[test]
    fn what_was_there_before_is_not_of_this_run() {
        let found = || unrecorded(2, &[("/old", 3), ("/touched", 4)]);
        let is_new = |path: &str| path == "/touched";
        assert_eq!(since(found(), 0, is_new), Some(found()));
        assert_eq!(
            since(found(), 1, is_new),
            Some(unrecorded(1, &[("/touched", 4)]))
        );
        assert_eq!(since(found(), 1, |_| false), Some(unrecorded(1, &[])));
        // One that was there may be gone by now.
        assert_eq!(
            since(found(), 3, is_new),
            Some(unrecorded(1, &[("/touched", 4)]))
        );
        assert_eq!(since(found(), 2, |_| false), None);
    }
}
