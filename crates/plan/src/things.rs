//! Blobs and snapshots that go or stay together.

use std::sync::Arc;

use reclaim_model::{Freed, FreedBlob, FreedSnapshot, SnapshotId};

use crate::graph::{Graph, Node, NodeId, node_id};
use crate::parallel::both;

/// If fewer than one node in this many is meant, sorting them is faster than a bitmap of all.
const FEW: usize = 16;

/// From so many on, a second thread is worth its start.
const MANY: usize = 1 << 14;

/// Blobs and snapshots, both sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Things {
    pub(crate) blobs: Vec<FreedBlob>,
    pub(crate) snapshots: Vec<SnapshotId>,
}

impl Things {
    /// Takes the blobs and snapshots among nodes, each of which is listed once.
    pub(crate) fn of(graph: &Graph<'_>, nodes: &[NodeId]) -> Self {
        // Nodes are in the order of digests, and of snapshotters and keys.
        let nodes = ascending(graph, nodes);
        let is_blob = |id: &NodeId| matches!(graph.node(*id), Node::Blob(_));
        let (blobs, others) = nodes.split_at(nodes.partition_point(is_blob));
        let blobs = || in_order(blobs, |id| blob(graph, id));
        let snapshots = || in_order(others, |id| snapshot(graph, id));
        let (blobs, snapshots) = if nodes.len() < MANY {
            (blobs(), snapshots())
        } else {
            both(blobs, snapshots)
        };
        Self { blobs, snapshots }
    }

    /// Lists the snapshots with an unknown size.
    pub(crate) fn into_unmeasured(self) -> Freed {
        let snapshots = self.snapshots.into_iter();
        let snapshots = snapshots.map(|id| FreedSnapshot { id, bytes: None });
        Freed::new(self.blobs, snapshots.collect())
    }
}

/// Returns what `thing` makes of the nodes, in their order.
fn in_order<T>(nodes: &[NodeId], thing: impl Fn(NodeId) -> Option<T>) -> Vec<T> {
    let mut things = Vec::with_capacity(nodes.len());
    things.extend(nodes.iter().filter_map(|id| thing(*id)));
    things
}

fn blob(graph: &Graph<'_>, id: NodeId) -> Option<FreedBlob> {
    let Node::Blob(index) = graph.node(id) else {
        return None;
    };
    let blob = graph.blob(index);
    Some(FreedBlob {
        digest: blob.digest.clone(),
        bytes: blob.size,
    })
}

fn snapshot(graph: &Graph<'_>, id: NodeId) -> Option<SnapshotId> {
    let Node::Snapshot(index) = graph.node(id) else {
        return None;
    };
    let (snapshotter, snapshot) = graph.snapshot(index);
    Some(SnapshotId::new(
        snapshotter.clone(),
        Arc::clone(&snapshot.key),
    ))
}

fn ascending(graph: &Graph<'_>, nodes: &[NodeId]) -> Vec<NodeId> {
    if nodes.len() < graph.len() / FEW {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        return nodes;
    }
    let mut is_meant = vec![false; graph.len()];
    for id in nodes {
        is_meant[*id as usize] = true;
    }
    let all = (0..graph.len()).filter(|at| is_meant[*at]);
    all.map(node_id).collect()
}
