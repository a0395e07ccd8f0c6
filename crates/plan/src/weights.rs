//! The bytes that each object of a namespace occupies.

use reclaim_model::{SnapshotId, SnapshotSizes};

use crate::graph::{Graph, Node, node_id};

/// What a node occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A known number of bytes.
    Bytes(u64),
    /// A snapshot that is there, of unknown size.
    Unknown,
    /// It has no bytes, or was gone when it was measured.
    Nothing,
}

impl Weight {
    /// Returns the bytes; 0 if they are not known.
    pub(crate) fn bytes(self) -> u64 {
        self.known().unwrap_or(0)
    }

    /// Returns the bytes, if they are known.
    pub(crate) fn known(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unknown | Self::Nothing => None,
        }
    }

    /// Returns whether it is there.
    pub(crate) fn is_there(self) -> bool {
        self != Self::Nothing
    }
}

/// Returns what every node occupies: a blob by its length, a snapshot as it was measured.
pub(crate) fn weights(graph: &Graph<'_>, snapshot_bytes: &SnapshotSizes) -> Vec<Weight> {
    // Nodes and entries are both in the order of snapshotters and keys.
    let mut measured = snapshot_bytes.iter().peekable();
    let nodes = (0..graph.len()).map(node_id);
    let weights = nodes.map(|id| match graph.node(id) {
        Node::Blob(index) => Weight::Bytes(graph.blob(index).size),
        Node::Snapshot(index) => {
            let (snapshotter, snapshot) = graph.snapshot(index);
            let place = (&**snapshotter, &*snapshot.key);
            let at = |id: &SnapshotId| (&*id.snapshotter, &*id.key).cmp(&place);
            while measured.next_if(|(id, _)| at(id).is_lt()).is_some() {}
            let found = measured.next_if(|(id, _)| at(id).is_eq());
            match found {
                Some((_, Some(bytes))) => Weight::Bytes(bytes),
                Some((_, None)) => Weight::Unknown,
                None => Weight::Nothing,
            }
        }
        Node::Image(_) | Node::Container(_) | Node::Absent => Weight::Nothing,
    });
    weights.collect()
}
