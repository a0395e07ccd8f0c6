//! What each object of a namespace occupies.

use std::collections::BTreeMap;

use reclaim_model::SnapshotId;

use crate::graph::{Graph, Node, node_id};

/// Returns the bytes of every node: the length of a blob, what a snapshot was measured to
/// occupy; nothing for what has no bytes, and for a snapshot that was gone by then.
pub(crate) fn weights(
    graph: &Graph<'_>,
    snapshot_bytes: &BTreeMap<SnapshotId, u64>,
) -> Vec<Option<u64>> {
    // Nodes and entries are both in the order of snapshotters and keys.
    let mut measured = snapshot_bytes.iter().peekable();
    let nodes = (0..graph.len()).map(node_id);
    let weights = nodes.map(|id| match graph.node(id) {
        Node::Blob(index) => Some(graph.blob(index).size),
        Node::Snapshot(index) => {
            let (snapshotter, snapshot) = graph.snapshot(index);
            let place = (&**snapshotter, &*snapshot.key);
            let at = |id: &SnapshotId| (&*id.snapshotter, &*id.key).cmp(&place);
            while measured.next_if(|(id, _)| at(id).is_lt()).is_some() {}
            let found = measured.next_if(|(id, _)| at(id).is_eq());
            found.map(|(_, bytes)| *bytes)
        }
        Node::Image(_) | Node::Container(_) | Node::Absent => None,
    });
    weights.collect()
}
