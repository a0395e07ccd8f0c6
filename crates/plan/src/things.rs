//! Blobs and snapshots that go or stay together.

use reclaim_model::{Freed, FreedBlob, FreedSnapshot, SnapshotId};

use crate::graph::{Graph, Node, NodeId, node_id};

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

    /// Lists the snapshots with an unknown size.
    pub(crate) fn into_unmeasured(self) -> Freed {
        let snapshots = self.snapshots.into_iter();
        let snapshots = snapshots.map(|id| FreedSnapshot { id, bytes: None });
        Freed::new(self.blobs, snapshots.collect())
    }
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
