//! Blobs and snapshots that go or stay together.

use reclaim_model::{Freed, FreedBlob, FreedSnapshot, SnapshotId};

use crate::graph::{Graph, Node, NodeId, node_id};
use crate::parallel::in_parts;

/// If fewer than one node in this many is meant, sorting them is faster than a bitmap of all.
const FEW: usize = 16;

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
        Self {
            blobs: in_order(blobs, |id| match graph.node(id) {
                Node::Blob(index) => {
                    let blob = graph.blob(index);
                    Some(FreedBlob {
                        digest: blob.digest.clone(),
                        bytes: blob.size,
                    })
                }
                Node::Snapshot(_) | Node::Image(_) | Node::Container(_) | Node::Absent => None,
            }),
            snapshots: in_order(others, |id| match graph.node(id) {
                Node::Snapshot(index) => {
                    let (snapshotter, snapshot) = graph.snapshot(index);
                    let key = snapshot.key.clone();
                    Some(SnapshotId::new(snapshotter.clone(), key))
                }
                Node::Blob(_) | Node::Image(_) | Node::Container(_) | Node::Absent => None,
            }),
        }
    }

    /// Lists the snapshots with an unknown size.
    pub(crate) fn into_unmeasured(self) -> Freed {
        let snapshots = self.snapshots.into_iter();
        let snapshots = snapshots.map(|id| FreedSnapshot { id, bytes: None });
        Freed::new(self.blobs, snapshots.collect())
    }
}

/// Returns what `thing` makes of the nodes, in their order.
fn in_order<T: Send>(nodes: &[NodeId], thing: impl Fn(NodeId) -> Option<T> + Sync) -> Vec<T> {
    let parts = in_parts(nodes.len(), |part| {
        let mut things = Vec::with_capacity(part.len());
        things.extend(nodes[part].iter().filter_map(|id| thing(*id)));
        things
    });
    let mut parts = parts.into_iter();
    let mut things = parts.next().unwrap_or_default();
    for part in parts {
        things.extend(part);
    }
    things
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
