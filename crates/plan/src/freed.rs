//! What removing images frees: the difference that the collector will find.

use reclaim_model::{FreedBlob, Inventory, Namespace, NamespaceInventory, SnapshotId};

use crate::graph::{Graph, Node};
use crate::mark::Marker;

/// What goes with a set of images.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Blobs that leave the disk, sorted.
    pub(crate) blobs: Vec<FreedBlob>,
    /// Snapshots, sorted.
    pub(crate) snapshots: Vec<SnapshotId>,
}

/// Finds what removing `images` (by index) from `namespace` frees.
///
/// Snapshots belong to one namespace. Content is shared: a blob leaves the disk only when no
/// other namespace keeps it. One that another namespace has but keeps no longer goes in the
/// same collection, and counts.
pub(crate) fn difference(
    inventory: &Inventory,
    namespace: &Namespace,
    graph: &Graph<'_>,
    images: &[usize],
) -> Difference {
    let now = inventory.observed_at;
    let mut marker = Marker::new(graph).without_images(images);
    marker.extend_from_holders(now);
    marker.extend_from_images(now);
    let before = marker.n_reached();
    marker.restore_images(now);
    let mut freed = Difference::default();
    for id in marker.reached_since(before) {
        match graph.node(*id) {
            Node::Blob(index) => {
                let blob = graph.blob(index);
                freed.blobs.push(FreedBlob {
                    digest: blob.digest.clone(),
                    bytes: blob.size,
                });
            }
            Node::Snapshot(index) => {
                let (snapshotter, snapshot) = graph.snapshot(index);
                let id = SnapshotId::new(snapshotter.clone(), &*snapshot.key);
                freed.snapshots.push(id);
            }
            Node::Image(_) | Node::Container(_) | Node::Absent => {}
        }
    }
    freed.blobs.sort_unstable();
    freed.snapshots.sort_unstable();
    let others = inventory.namespaces.iter();
    for (_, other) in others.filter(|(name, _)| *name != namespace) {
        drop_what_is_kept_by(other, inventory, &mut freed.blobs);
    }
    freed
}

/// Takes out of `blobs` (sorted) those that `other` keeps.
fn drop_what_is_kept_by(
    other: &NamespaceInventory,
    inventory: &Inventory,
    blobs: &mut Vec<FreedBlob>,
) {
    let is_shared = |blob: &FreedBlob| crate::anatomy::is_present(&other.blobs, &blob.digest);
    if !blobs.iter().any(is_shared) {
        return;
    }
    let graph = Graph::new(other, inventory.rules);
    let mut marker = Marker::new(&graph);
    marker.extend_from_holders(inventory.observed_at);
    marker.extend_from_images(inventory.observed_at);
    blobs.retain(|blob| {
        let there = graph.find_blob(&blob.digest);
        !there.is_some_and(|id| marker.is_reached(id))
    });
}
