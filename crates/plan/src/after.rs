//! An inventory as a run leaves it, for a forecast of the next run.

use std::collections::BTreeSet;

use reclaim_model::{Digest, FreedBlob, Inventory, Report, SnapshotId};

use crate::cuts::without;

/// Takes out of an inventory what a run removes and frees: of a dry run, what it would.
pub fn after(inventory: &mut Inventory, report: &Report) {
    let freed: BTreeSet<&Digest> = digests(&report.freed.blobs).collect();
    for namespace in inventory.namespaces.values_mut() {
        namespace.blobs.retain(|blob| !freed.contains(&blob.digest));
    }
    let Some(namespace) = inventory.namespaces.get_mut(&report.namespace) else {
        return;
    };
    if !report.cuts.is_empty() {
        *namespace = without(namespace, &report.cuts);
    }
    let removed = report.removed.iter().map(|it| (&*it.name, &it.target));
    let removed: BTreeSet<(&str, &Digest)> = removed.collect();
    namespace
        .images
        .retain(|image| !removed.contains(&(&*image.name, &image.target.digest)));
    // Other namespaces keep these on disk.
    let released = digests(&report.not_counted.kept_elsewhere.blobs);
    let released: BTreeSet<&Digest> = released.collect();
    namespace
        .blobs
        .retain(|blob| !released.contains(&blob.digest));
    let freed = report.freed.snapshots.iter().map(|it| &it.id);
    let freed: BTreeSet<&SnapshotId> = freed.collect();
    for (snapshotter, snapshots) in &mut namespace.snapshots {
        snapshots.retain(|it| {
            let id = SnapshotId::new(snapshotter.clone(), &*it.key);
            !freed.contains(&id)
        });
    }
}

fn digests(blobs: &[FreedBlob]) -> impl Iterator<Item = &Digest> {
    blobs.iter().map(|blob| &blob.digest)
}
