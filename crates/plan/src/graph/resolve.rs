//! Resolving the references of a namespace, once, when its graph is made.

use reclaim_model::{CollectorRules, GcRef};

use super::{Graph, Node, NodeId, node_id};

impl Graph<'_> {
    pub(super) fn resolve_parents(&self) -> Vec<Option<NodeId>> {
        let mut parents = Vec::with_capacity(self.starts[1] - self.starts[0]);
        for list in &self.lists {
            parents.extend(list.snapshots.iter().map(|snapshot| {
                let parent = snapshot.parent.as_deref()?;
                self.find_on(list, parent)
            }));
        }
        parents
    }

    /// Fills in the edges, node by node: labels, then what the kind itself keeps.
    pub(super) fn resolve_edges(&mut self) {
        let mut starts = Vec::with_capacity(self.len() + 1);
        let mut edges = Vec::new();
        for at in 0..self.len() {
            let id = node_id(at);
            starts.push(node_id(edges.len()));
            let labels = self.labels(id).into_iter();
            let references = labels.flat_map(|labels| &labels.refs);
            edges.extend(references.filter_map(|it| self.find_reference(it)));
            match self.node(id) {
                Node::Blob(_) | Node::Absent => {}
                Node::Snapshot(index) => edges.extend(self.parents[index]),
                Node::Image(index) => edges.extend(self.find_target(index)),
                Node::Container(index) => {
                    let root = self.namespace.containers[index].snapshot.as_ref();
                    edges.extend(
                        root.and_then(|id| self.find_reference(&GcRef::Snapshot(id.clone()))),
                    );
                }
            }
        }
        starts.push(node_id(edges.len()));
        self.edge_starts = starts;
        self.edges = edges;
    }

    /// Fills in the back references, and the absent things that they name.
    pub(super) fn resolve_back_references(&mut self) {
        if self.rules < CollectorRules::V2_2 {
            return;
        }
        let named: Vec<(&GcRef, NodeId)> = (0..self.len())
            .map(node_id)
            .flat_map(|child| {
                let labels = self.labels(child).into_iter();
                let parents = labels.flat_map(|labels| &labels.back_refs);
                parents.map(move |parent| (parent, child))
            })
            .collect();
        let absent = named.iter().map(|(parent, _)| *parent);
        let absent = absent.filter(|parent| self.find_existing(parent).is_none());
        let mut absent: Vec<GcRef> = absent.cloned().collect();
        absent.sort_unstable();
        absent.dedup();
        self.absent = absent;
        self.starts[4] = self.starts[3] + self.absent.len();
        let pairs = named.into_iter();
        let pairs = pairs.filter_map(|(parent, child)| Some((self.find_reference(parent)?, child)));
        self.back_references = pairs.collect();
        self.back_references.sort_unstable();
    }
}
