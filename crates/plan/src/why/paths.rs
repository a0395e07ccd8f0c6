//! The search: from a thing backwards along everything that refers to it.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{Digest, Document, Link, ReferenceKind, SnapshotId, Thing, ThingKind};

use crate::graph::{Graph, Node, NodeId};
use crate::holdings::Hold;

/// Nothing leads on from here: no node was reached, or it is a seed.
const NOWHERE: NodeId = NodeId::MAX;

/// The number of steps if there is no path to the thing.
const NEVER: u32 = u32::MAX;

/// A node at which the search begins, and the things from it, which is the first, to the one in
/// question.
#[derive(Debug)]
pub(super) struct Seed {
    node: NodeId,
    tail: Vec<Thing>,
}

/// The step from one node that is held deeply or flat.
#[derive(Debug, Clone, Copy)]
struct Place {
    steps: u32,
    next: NodeId,
}

/// The shortest path to the thing from every node that has one.
#[derive(Debug)]
pub(super) struct ReferencePaths<'g, 'a> {
    graph: &'g Graph<'a>,
    documents: &'a BTreeMap<Digest, Document>,
    /// By node: held deeply, held flat.
    places: Vec<[Place; 2]>,
    tails: BTreeMap<NodeId, Vec<Thing>>,
}

/// Begins at the thing itself.
pub(super) fn node_seed(
    graph: &Graph<'_>,
    documents: &BTreeMap<Digest, Document>,
    node: NodeId,
) -> Seed {
    Seed {
        node,
        tail: vec![thing(graph, documents, node)],
    }
}

/// Begins at an image and at everything that identifies it: its target and the documents below,
/// and the snapshots of their chains.
pub(super) fn image_seeds<'a>(
    graph: &Graph<'a>,
    documents: &'a BTreeMap<Digest, Document>,
    image: usize,
) -> Vec<Seed> {
    let mut seeds = vec![node_seed(graph, documents, graph.image(image))];
    let target = &graph.namespace.images[image].target.digest;
    let mut seen = BTreeSet::from([target]);
    let mut level = vec![(target, seeds[0].tail.clone())];
    while !level.is_empty() {
        let mut below = Vec::new();
        for (digest, above) in std::mem::take(&mut level) {
            let mut tail = vec![blob_thing(documents, digest)];
            tail.extend(above);
            if let Some(node) = graph.find_blob(digest) {
                let tail = tail.clone();
                seeds.push(Seed { node, tail });
            }
            match documents.get(digest) {
                Some(Document::Index(children) | Document::Manifest(children)) => {
                    let children = children.iter().map(|child| &child.digest);
                    let parts = children.filter(|it| documents.contains_key(it));
                    let parts = parts.filter(|it| seen.insert(it));
                    below.extend(parts.map(|part| (part, tail.clone())));
                }
                Some(Document::Config(config)) => {
                    if let Some(chain) = &config.chain_id {
                        seeds.extend(chain_seeds(graph, chain, &tail));
                    }
                }
                Some(Document::Torn(_) | Document::NotRead(_)) | None => {}
            }
        }
        level = below;
    }
    seeds
}

/// Returns the snapshots of a chain, one for each snapshotter that has it.
fn chain_seeds(graph: &Graph<'_>, chain: &Digest, above: &[Thing]) -> Vec<Seed> {
    let key = chain.to_string();
    let snapshotters = graph.namespace.snapshots.keys();
    let seeds = snapshotters.filter_map(|snapshotter| {
        let id = SnapshotId::new(snapshotter.clone(), &*key);
        let mut tail = vec![snapshot_thing(&id)];
        tail.extend_from_slice(above);
        let node = graph.find_snapshot(&id)?;
        Some(Seed { node, tail })
    });
    seeds.collect()
}

impl<'g, 'a> ReferencePaths<'g, 'a> {
    /// Searches from the seeds, the nearest to the thing first.
    pub(super) fn search(
        graph: &'g Graph<'a>,
        documents: &'a BTreeMap<Digest, Document>,
        mut seeds: Vec<Seed>,
    ) -> Self {
        let unknown = Place {
            steps: NEVER,
            next: NOWHERE,
        };
        let mut paths = Self {
            graph,
            documents,
            places: vec![[unknown; 2]; graph.len()],
            tails: BTreeMap::new(),
        };
        let [deep, flat] = [deep_references(graph), flat_references(graph)];
        seeds.sort_by_key(|seed| std::cmp::Reverse(seed.tail.len()));
        let mut level: Vec<(NodeId, Hold)> = Vec::new();
        for steps in 1.. {
            if level.is_empty() && seeds.is_empty() {
                break;
            }
            let mut next_level = Vec::new();
            for (node, hold) in level {
                let references = match hold {
                    Hold::Deep => &deep,
                    Hold::Flat => &flat,
                };
                for (_, from) in to(references, node) {
                    if paths.enter(*from, hold, steps, node) {
                        next_level.push((*from, hold));
                    }
                }
            }
            let len = usize::try_from(steps).unwrap_or(usize::MAX);
            while seeds.last().is_some_and(|seed| seed.tail.len() == len) {
                let Some(Seed { node, tail }) = seeds.pop() else {
                    break;
                };
                for hold in [Hold::Deep, Hold::Flat] {
                    if paths.enter(node, hold, steps, NOWHERE) {
                        next_level.push((node, hold));
                        paths.tails.entry(node).or_insert_with(|| tail.clone());
                    }
                }
            }
            level = next_level;
        }
        paths
    }

    /// Notes the path from a node, if it is the first.
    fn enter(&mut self, node: NodeId, hold: Hold, steps: u32, next: NodeId) -> bool {
        let place = &mut self.places[node as usize][index(hold)];
        if place.steps != NEVER {
            return false;
        }
        *place = Place { steps, next };
        true
    }

    /// Returns the links of the shortest path from any of these roots, which the holder keeps in the
    /// way of `first`; `None` without a path.
    pub(super) fn shortest(
        &self,
        roots: impl IntoIterator<Item = (NodeId, Hold)>,
        first: ReferenceKind,
    ) -> Option<Vec<Link>> {
        let steps = |(node, hold): &(NodeId, Hold)| {
            (self.places[*node as usize][index(*hold)].steps, *node)
        };
        let (mut node, hold) = roots.into_iter().min_by_key(steps)?;
        if steps(&(node, hold)).0 == NEVER {
            return None;
        }
        let mut chain = Vec::new();
        let mut by = first;
        loop {
            let next = self.places[node as usize][index(hold)].next;
            if next == NOWHERE {
                for thing in &self.tails[&node] {
                    chain.push(link(thing.clone(), by));
                    by = ReferenceKind::PartOf;
                }
                return Some(chain);
            }
            chain.push(link(thing(self.graph, self.documents, node), by));
            by = self.reference(node, next);
            node = next;
        }
    }

    /// Returns how a node keeps the next one of a path.
    fn reference(&self, from: NodeId, to: NodeId) -> ReferenceKind {
        let graph = self.graph;
        match graph.node(from) {
            Node::Snapshot(index) if graph.parent(index) == Some(to) => ReferenceKind::Parent,
            Node::Image(index) if graph.find_target(index) == Some(to) => ReferenceKind::Target,
            Node::Container(index) => {
                let snapshot = graph.namespace.containers[index].snapshot.as_ref();
                let is_own = snapshot.and_then(|id| graph.find_snapshot(id)) == Some(to);
                if is_own {
                    ReferenceKind::Container
                } else {
                    self.label(from, to)
                }
            }
            Node::Blob(_) | Node::Snapshot(_) | Node::Image(_) | Node::Absent => {
                self.label(from, to)
            }
        }
    }

    fn label(&self, from: NodeId, to: NodeId) -> ReferenceKind {
        if self.graph.kept_by(from).contains(&to) {
            ReferenceKind::Label
        } else {
            ReferenceKind::BackLabel
        }
    }
}

/// Returns a link whose labels are not known.
pub(super) fn link(thing: Thing, by: ReferenceKind) -> Link {
    Link {
        thing,
        by,
        labels: Vec::new(),
    }
}

fn index(hold: Hold) -> usize {
    match hold {
        Hold::Deep => 0,
        Hold::Flat => 1,
    }
}

/// Returns every reference that a deep hold follows, as (to, from), sorted.
fn deep_references(graph: &Graph<'_>) -> Vec<(NodeId, NodeId)> {
    let mut references: Vec<_> = graph.references().collect();
    references.sort_unstable();
    references
}

/// Returns every reference that a flat hold follows, as (to, from), sorted.
fn flat_references(graph: &Graph<'_>) -> Vec<(NodeId, NodeId)> {
    let nodes = (0..graph.len()).map(crate::graph::node_id);
    let references = nodes.filter_map(|from| match graph.node(from) {
        Node::Snapshot(index) => Some((graph.parent(index)?, from)),
        Node::Image(index) => Some((graph.find_target(index)?, from)),
        Node::Blob(_) | Node::Container(_) | Node::Absent => None,
    });
    let mut references: Vec<_> = references.collect();
    references.sort_unstable();
    references
}

/// Returns the part of sorted references that lead to a node.
fn to(references: &[(NodeId, NodeId)], node: NodeId) -> &[(NodeId, NodeId)] {
    let first = references.partition_point(|(to, _)| *to < node);
    let n_found = references[first..].partition_point(|(to, _)| *to == node);
    &references[first..first + n_found]
}

fn thing(graph: &Graph<'_>, documents: &BTreeMap<Digest, Document>, id: NodeId) -> Thing {
    match graph.node(id) {
        Node::Blob(index) => blob_thing(documents, &graph.blob(index).digest),
        Node::Snapshot(index) => {
            let (snapshotter, snapshot) = graph.snapshot(index);
            snapshot_thing(&SnapshotId::new(snapshotter.clone(), snapshot.key.clone()))
        }
        Node::Image(index) => Thing {
            kind: ThingKind::Image,
            id: graph.namespace.images[index].name.clone(),
        },
        Node::Container(index) => Thing {
            kind: ThingKind::Container,
            id: graph.namespace.containers[index].id.clone(),
        },
        Node::Absent => Thing {
            kind: ThingKind::Absent,
            id: String::new(),
        },
    }
}

/// A blob, called what its document is.
pub(super) fn blob_thing(documents: &BTreeMap<Digest, Document>, digest: &Digest) -> Thing {
    Thing {
        kind: match documents.get(digest) {
            Some(Document::Index(_)) => ThingKind::Index,
            Some(Document::Manifest(_)) => ThingKind::Manifest,
            Some(Document::Config(_)) => ThingKind::Config,
            Some(Document::Torn(_) | Document::NotRead(_)) | None => ThingKind::Content,
        },
        id: digest.to_string(),
    }
}

/// A snapshot, called by snapshotter and key.
pub(super) fn snapshot_thing(id: &SnapshotId) -> Thing {
    Thing {
        kind: ThingKind::Snapshot,
        id: id.to_string(),
    }
}
