//! Resolves the references of a namespace once, when its graph is made.

use std::ops::Range;

use jiff::Timestamp;
use reclaim_model::{CollectorRules, Digest, GcRef, Snapshot, SnapshotId};

use super::{Graph, NO_PARENT, Node, NodeId, SnapshotList, node_id};
use crate::finder::ABREAST;
use crate::parallel::in_parts;

/// The edges of consecutive nodes.
struct Edges {
    /// Where those of each node begin.
    starts: Vec<u32>,
    to: Vec<NodeId>,
    /// Blobs and snapshots among the nodes that are roots by their own labels.
    roots: Vec<NodeId>,
}

impl Graph<'_> {
    /// Finds the parent of every snapshot.
    ///
    /// Precondition: back references are resolved, since one may name an absent parent.
    pub(super) fn resolve_parents(&self) -> Vec<NodeId> {
        let of_lists = self.lists.iter().flat_map(|list| {
            in_parts(list.snapshots.len(), |part| {
                self.parents_of(list, &list.snapshots[part])
            })
        });
        let mut parents = Vec::with_capacity(self.n_snapshots());
        for part in of_lists {
            parents.extend(part);
        }
        parents
    }

    /// Finds the parents of some snapshots of a list.
    fn parents_of(&self, list: &SnapshotList<'_>, snapshots: &[Snapshot]) -> Vec<NodeId> {
        let mut parents = Vec::with_capacity(snapshots.len());
        for snapshots in snapshots.chunks(ABREAST) {
            let mut found = [None; ABREAST];
            list.find_parents(snapshots, &mut found);
            for (snapshot, at) in snapshots.iter().zip(found) {
                let at = at.map(|at| self.snapshot_node(list.first + at));
                let parent = at.or_else(|| self.find_absent_on(list, snapshot));
                parents.push(parent.unwrap_or(NO_PARENT));
            }
        }
        parents
    }

    /// Finds the parent of a snapshot among absent things.
    fn find_absent_on(&self, list: &SnapshotList<'_>, snapshot: &Snapshot) -> Option<NodeId> {
        if self.absent.is_empty() {
            return None;
        }
        let id = SnapshotId::new(list.name.clone(), snapshot.parent.as_deref()?);
        self.find_absent(&GcRef::Snapshot(id))
    }

    /// Fills in the edges, node by node: labels, then what the kind itself keeps.
    ///
    /// Conditions are evaluated at `now`.
    pub(super) fn resolve_edges(&mut self, now: Timestamp) {
        let parts = in_parts(self.len(), |part| self.edges_of(part, now));
        let mut starts = Vec::with_capacity(self.len() + 1);
        let mut edges = Vec::with_capacity(parts.iter().map(|it| it.to.len()).sum());
        for part in parts {
            let before = node_id(edges.len());
            starts.extend(part.starts.into_iter().map(|it| before + it));
            edges.extend(part.to);
            self.roots.extend(part.roots);
        }
        starts.push(node_id(edges.len()));
        self.edge_starts = starts;
        self.edges = edges;
    }

    /// Finds the edges of some nodes.
    fn edges_of(&self, nodes: Range<usize>, now: Timestamp) -> Edges {
        let mut starts = Vec::with_capacity(nodes.len());
        let mut edges = Vec::new();
        let mut roots = Vec::new();
        for at in nodes {
            let id = node_id(at);
            starts.push(node_id(edges.len()));
            let node = self.node(id);
            if let Some(labels) = self.labels(id) {
                self.add_references(&labels.refs, &mut edges);
                if matches!(node, Node::Blob(_) | Node::Snapshot(_)) && self.is_root(labels) {
                    roots.push(id);
                }
            }
            match node {
                Node::Absent => {}
                Node::Blob(_) => self.add_conditional(id, now, &mut edges),
                Node::Snapshot(index) => edges.extend(self.parent(index)),
                Node::Image(index) => {
                    edges.extend(self.find_target(index));
                    self.add_conditional(id, now, &mut edges);
                }
                Node::Container(index) => {
                    let root = self.namespace.containers[index].snapshot.as_ref();
                    edges.extend(
                        root.and_then(|id| self.find_reference(&GcRef::Snapshot(id.clone()))),
                    );
                }
            }
        }
        Edges {
            starts,
            to: edges,
            roots,
        }
    }

    /// Adds what labels refer to, in their order.
    fn add_references(&self, references: &[GcRef], edges: &mut Vec<NodeId>) {
        for references in references.chunks(ABREAST) {
            let mut digests = [None; ABREAST];
            for (digest, reference) in digests.iter_mut().zip(references) {
                *digest = content(reference);
            }
            let found = self.blobs.find_abreast(&digests);
            for ((reference, digest), at) in references.iter().zip(digests).zip(found) {
                edges.extend(match at {
                    Some(at) => Some(node_id(at)),
                    None if digest.is_some() => self.find_absent(reference),
                    None => self.find_reference(reference),
                });
            }
        }
    }

    /// Adds the snapshots that an image or blob keeps on a condition that is met.
    ///
    /// containerd turns these into back references, with the same result: like a plain reference
    /// they hold as long as their object is there and held deeply.
    fn add_conditional(&self, id: NodeId, now: Timestamp, edges: &mut Vec<NodeId>) {
        let labels = self.labels(id).and_then(|it| it.conditional.as_ref());
        let Some(labels) = labels.filter(|_| self.rules >= CollectorRules::V2_3) else {
            return;
        };
        edges.extend(labels.refs.iter().filter_map(|reference| {
            let snapshot = self.find_snapshot(&reference.snapshot)?;
            let values = self.labels(snapshot)?.conditional.as_ref()?;
            let mut used_at = values.used_at.iter();
            let is_met = used_at.any(|it| reference.condition.is_met(*it, now));
            is_met.then_some(snapshot)
        }));
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

fn content(reference: &GcRef) -> Option<&Digest> {
    match reference {
        GcRef::Content(digest) => Some(digest),
        GcRef::NoContent(_) | GcRef::Snapshot(_) | GcRef::Image(_) | GcRef::Container(_) => None,
    }
}
