//! What removing images frees: the difference that the collector will find.

use reclaim_model::{FreedBlob, Gap, Inventory, Namespace, NamespaceInventory, SnapshotId};

use crate::doubt;
use crate::graph::{Graph, Node, NodeId};
use crate::mark::Marker;

/// Blobs and snapshots, both sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Things {
    pub(crate) blobs: Vec<FreedBlob>,
    pub(crate) snapshots: Vec<SnapshotId>,
}

/// What becomes of things when a set of images goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What leaves the disk with the images.
    pub(crate) freed: Things,
    /// What nothing kept before, and no other namespace either.
    pub(crate) pending: Things,
    /// Blobs that go with the images here, and that another namespace keeps.
    pub(crate) kept_elsewhere: Vec<FreedBlob>,
    /// The part of `freed` that something which cannot be seen may keep.
    pub(crate) doubtful: Things,
}

impl Things {
    /// Takes the blobs and snapshots among nodes.
    pub(crate) fn of(graph: &Graph<'_>, nodes: &[NodeId]) -> Self {
        // Nodes are in the order of digests, and of snapshotters and keys.
        let mut things = Self::default();
        for id in ascending(graph, nodes) {
            match graph.node(id) {
                Node::Blob(index) => {
                    let blob = graph.blob(index);
                    things.blobs.push(FreedBlob {
                        digest: blob.digest.clone(),
                        bytes: blob.size,
                    });
                }
                Node::Snapshot(index) => {
                    let (snapshotter, snapshot) = graph.snapshot(index);
                    let id = SnapshotId::new(snapshotter.clone(), snapshot.key.clone());
                    things.snapshots.push(id);
                }
                Node::Image(_) | Node::Container(_) | Node::Absent => {}
            }
        }
        things
    }
}

/// Of a host's nodes most go or few. Sorting most takes longer than ticking them off.
const FEW: usize = 16;

/// Returns nodes, each of which is there once, in their order.
fn ascending(graph: &Graph<'_>, nodes: &[NodeId]) -> Vec<NodeId> {
    if nodes.len() < graph.len() / FEW {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        return nodes;
    }
    let mut is_there = vec![false; graph.len()];
    for id in nodes {
        is_there[*id as usize] = true;
    }
    let all = (0..graph.len()).filter(|at| is_there[*at]);
    all.map(crate::graph::node_id).collect()
}

/// Finds what removing `images` (by index) from `namespace` frees.
///
/// Snapshots belong to one namespace. Content is shared, under containerd's isolating policy as
/// well: a blob is one file, and leaves the disk only when no namespace keeps it. One that
/// another namespace has but keeps no longer goes in the same collection, and counts.
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
    let freed = Things::of(graph, marker.reached_since(before));
    let unreached = (0..graph.len()).map(crate::graph::node_id);
    let unreached: Vec<NodeId> = unreached.filter(|id| !marker.is_reached(*id)).collect();
    let mut difference = Difference {
        pending: Things::of(graph, &unreached),
        doubtful: doubt::here(graph, images, &freed),
        freed,
        kept_elsewhere: Vec::new(),
    };
    let others = inventory.namespaces.iter();
    for (_, other) in others.filter(|(name, _)| *name != namespace) {
        ask_other(other, inventory, &mut difference);
    }
    difference.kept_elsewhere.sort_unstable();
    difference.doubtful.blobs.sort_unstable();
    difference.doubtful.blobs.dedup();
    difference
}

/// Takes out those blobs that `other` keeps, and notes those that it may keep.
fn ask_other(other: &NamespaceInventory, inventory: &Inventory, difference: &mut Difference) {
    let Difference {
        freed,
        pending,
        kept_elsewhere,
        doubtful,
    } = difference;
    let is_listed = |gap: &Gap| !matches!(gap, Gap::List { .. });
    let is_whole = other.gaps.iter().all(is_listed);
    if is_whole && !has_any(other, &freed.blobs) && !has_any(other, &pending.blobs) {
        return;
    }
    let graph = Graph::new(other, inventory);
    let mut marker = Marker::new(&graph);
    marker.extend_from_holders(inventory.observed_at);
    marker.extend_from_images(inventory.observed_at);
    let is_kept = |blob: &FreedBlob| {
        let there = graph.find_blob(&blob.digest);
        there.is_some_and(|id| marker.is_reached(id))
    };
    pending.blobs.retain(|blob| !is_kept(blob));
    kept_elsewhere.extend(freed.blobs.extract_if(.., |blob| is_kept(blob)));
    doubtful.blobs.retain(|blob| !is_kept(blob));
    doubtful.blobs.extend(doubt::there(&graph, &freed.blobs));
}

/// Whether `other` has one of `blobs`. Both are sorted.
fn has_any(other: &NamespaceInventory, blobs: &[FreedBlob]) -> bool {
    let mut theirs = other.blobs.iter().map(|blob| &blob.digest).peekable();
    blobs.iter().any(|blob| {
        while theirs.next_if(|digest| *digest < &blob.digest).is_some() {}
        theirs.peek() == Some(&&blob.digest)
    })
}
