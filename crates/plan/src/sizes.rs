//! The sizes of images, and how much of that they share.

use std::collections::BTreeMap;

use reclaim_model::{Digest, Document, ImageSize, Inventory, Namespace, SnapshotId, SnapshotSizes};

use crate::contents::ImageContents;
use crate::finder::Documents;
use crate::graph::{Graph, Node, NodeId, node_id};
use crate::parallel::in_parts;
use crate::targets::Targets;
use crate::weights::{Weight, weights};

/// The blobs and snapshots of the images of a namespace, which become sizes once the snapshots are
/// measured.
#[derive(Debug)]
pub struct ImageObjects<'a> {
    /// `None` for a namespace that does not exist.
    graph: Option<Graph<'a>>,
    objects: ObjectsByTarget<'a>,
}

/// The blobs and snapshots of every target that are present, each once and sorted.
#[derive(Debug, Default)]
pub(crate) struct ObjectsByTarget<'a> {
    by_target: Vec<(&'a Digest, Vec<NodeId>)>,
}

/// Finds the blobs and snapshots of every image of a namespace.
pub fn image_objects<'a>(inventory: &'a Inventory, namespace: &Namespace) -> ImageObjects<'a> {
    let Some(namespace) = inventory.namespaces.get(namespace) else {
        return ImageObjects {
            graph: None,
            objects: ObjectsByTarget::default(),
        };
    };
    let graph = Graph::new(namespace, inventory);
    let targets = Targets::new(namespace, graph.blobs(), inventory);
    let objects = ObjectsByTarget::of(&graph, &targets, inventory);
    ImageObjects {
        graph: Some(graph),
        objects,
    }
}

impl ImageObjects<'_> {
    /// Returns every snapshot of an image, each once, sorted.
    pub fn snapshots(&self) -> Vec<SnapshotId> {
        let Some(graph) = &self.graph else {
            return Vec::new();
        };
        let snapshots = self
            .objects
            .nodes()
            .into_iter()
            .filter_map(|id| match graph.node(id) {
                Node::Snapshot(index) => {
                    let (snapshotter, snapshot) = graph.snapshot(index);
                    Some(SnapshotId::new(snapshotter.clone(), snapshot.key.clone()))
                }
                Node::Blob(_) | Node::Image(_) | Node::Container(_) | Node::Absent => None,
            });
        snapshots.collect()
    }

    /// Returns the sizes by target, given the bytes of each snapshot.
    pub fn sizes(&self, bytes: &SnapshotSizes) -> BTreeMap<&Digest, ImageSize> {
        let graph = self.graph.as_ref();
        let sizes = graph.map(|graph| self.objects.sizes(graph, &weights(graph, bytes)));
        sizes.unwrap_or_default()
    }
}

impl<'a> ObjectsByTarget<'a> {
    pub(crate) fn of(graph: &Graph<'a>, targets: &Targets<'a>, inventory: &'a Inventory) -> Self {
        let documents = Documents::new(&inventory.documents);
        let parts = in_parts(targets.len(), |part| {
            let objects = part.map(|id| {
                let target = targets.get(id);
                let mut nodes = blobs(graph, &target.contents, &documents);
                nodes.extend(snapshots(graph, &target.contents));
                nodes.sort_unstable();
                nodes.dedup();
                nodes.shrink_to_fit();
                (target.digest, nodes)
            });
            objects.collect::<Vec<_>>()
        });
        Self {
            by_target: parts.into_iter().flatten().collect(),
        }
    }

    /// Returns the nodes of every target, each once and ascending. A target is listed once for each kind
    /// that records call it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a Digest, &[NodeId])> {
        let by_target = self.by_target.iter();
        by_target.map(|(target, nodes)| (*target, &**nodes))
    }

    /// Returns every node of an image, each once, ascending.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        let nodes = self.by_target.iter().flat_map(|(_, nodes)| nodes);
        let mut nodes: Vec<NodeId> = nodes.copied().collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Returns the sizes by target, given the weight of each node.
    pub(crate) fn sizes(
        &self,
        graph: &Graph<'_>,
        weights: &[Weight],
    ) -> BTreeMap<&'a Digest, ImageSize> {
        let mut n_users = vec![0_u32; graph.len()];
        for id in self.by_target.iter().flat_map(|(_, nodes)| nodes) {
            n_users[*id as usize] += 1;
        }
        let size_of = |nodes: &[NodeId]| {
            let mut size = ImageSize::default();
            for id in nodes {
                let bytes = weights[*id as usize].bytes();
                match graph.node(*id) {
                    Node::Blob(_) => size.content_bytes += bytes,
                    Node::Snapshot(_) | Node::Image(_) | Node::Container(_) | Node::Absent => {
                        size.unpacked_bytes += bytes;
                    }
                }
                let is_shared = n_users[*id as usize] > 1;
                size.shared_bytes += if is_shared { bytes } else { 0 };
            }
            size
        };
        let sizes = self.by_target.iter();
        let sizes = sizes.map(|(target, nodes)| (*target, size_of(nodes)));
        sizes.collect()
    }
}

/// Returns every blob of the image that is present.
fn blobs(
    graph: &Graph<'_>,
    contents: &ImageContents<'_>,
    documents: &Documents<'_>,
) -> Vec<NodeId> {
    let mut blobs = Vec::new();
    for digest in &contents.identity {
        blobs.extend(graph.find_blob(digest));
        if let Some(Document::Index(children) | Document::Manifest(children)) =
            documents.get(digest)
        {
            let digests = children.iter().map(|child| &child.digest);
            graph.blobs().find_all(digests, |found| {
                blobs.extend(found.map(node_id));
                true
            });
        }
    }
    blobs
}

/// Returns the chains of snapshots to which the image is unpacked.
fn snapshots(graph: &Graph<'_>, contents: &ImageContents<'_>) -> Vec<NodeId> {
    let chains = contents.chains.iter();
    let found = chains
        .flat_map(|chain| chain_snapshots(graph, chain))
        .flatten();
    found.collect()
}

/// Returns the snapshots of one chain, from its top down, for every snapshotter that has it.
pub(crate) fn chain_snapshots(graph: &Graph<'_>, chain: &Digest) -> Vec<Vec<NodeId>> {
    let mut stacks = Vec::new();
    let key: std::sync::Arc<str> = chain.to_string().into();
    for snapshotter in graph.namespace.snapshots.keys() {
        let id = SnapshotId::new(snapshotter.clone(), key.clone());
        let mut at = graph.find_snapshot(&id);
        let mut stack = Vec::new();
        // A chain visits no snapshot twice, so more steps than nodes would be a cycle.
        for _ in 0..graph.len() {
            let Some(Node::Snapshot(index)) = at.map(|id| graph.node(id)) else {
                break;
            };
            stack.extend(at);
            at = graph.parent(index);
        }
        if !stack.is_empty() {
            stacks.push(stack);
        }
    }
    stacks
}
