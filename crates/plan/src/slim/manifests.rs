//! The manifests of a namespace, and from which of them an image can be started.

use std::collections::BTreeMap;

use reclaim_model::{Child, Config, Digest, Document, Platform, SnapshotId, SnapshotKind};

use crate::graph::{Graph, Node, NodeId, node_id};
use crate::mark::Edge;

/// A manifest that is here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manifest<'a> {
    pub(crate) digest: &'a Digest,
    pub(crate) config_digest: &'a Digest,
    /// `None` if it cannot be read.
    config: Option<&'a Config>,
    /// In order; of an artifact, other things.
    pub(crate) layers: &'a [Child],
}

impl<'a> Manifest<'a> {
    /// Whether it is that of an image whose configuration is known.
    pub(crate) fn is_image(self) -> bool {
        self.config.is_some() && self.layers.iter().all(|it| it.is_layer)
    }

    /// Returns the chain ID of its layers.
    pub(crate) fn chain(self) -> Option<&'a Digest> {
        self.config?.chain_id.as_ref()
    }

    /// Returns its platform.
    pub(crate) fn platform(self) -> Option<&'a Platform> {
        self.config?.platform.as_deref()
    }
}

/// Returns every manifest here, by digest.
pub(crate) fn manifests<'a>(
    graph: &Graph<'a>,
    documents: &'a BTreeMap<Digest, Document>,
) -> Vec<Manifest<'a>> {
    let blobs = graph.blobs();
    let here = documents
        .iter()
        .filter(|(digest, _)| blobs.contains(digest));
    let manifests = here.filter_map(|(digest, document)| {
        let Document::Manifest(children) = document else {
            return None;
        };
        let (first, layers) = children.split_first()?;
        let config = match documents.get(&first.digest) {
            Some(Document::Config(config)) => Some(config),
            Some(
                Document::Index(_)
                | Document::Manifest(_)
                | Document::Torn(_)
                | Document::NotRead(_),
            )
            | None => None,
        };
        let is_here = blobs.contains(&first.digest);
        Some(Manifest {
            digest,
            config_digest: &first.digest,
            config: config.filter(|_| is_here),
            layers,
        })
    });
    manifests.collect()
}

/// Whether a snapshot is the top of a chain of committed ones, one for each layer.
pub(crate) fn is_complete(graph: &Graph<'_>, id: &SnapshotId, manifest: Manifest<'_>) -> bool {
    let mut depth = 0;
    let mut at = graph.find_snapshot(id);
    while let Some(node) = at {
        let Node::Snapshot(index) = graph.node(node) else {
            return false;
        };
        let (_, snapshot) = graph.snapshot(index);
        // More than one for each layer is a cycle, or another image.
        if snapshot.kind != SnapshotKind::Committed || depth == manifest.layers.len() {
            return false;
        }
        depth += 1;
        at = graph.parent(index);
        if at.is_none() && snapshot.parent.is_some() {
            return false;
        }
    }
    depth == manifest.layers.len()
}

/// What an image's record keeps by itself.
pub(super) struct Held<'g, 'a> {
    graph: &'g Graph<'a>,
    /// By node: the last image that was followed to it, counted from one.
    reached_by: Vec<u32>,
    image: u32,
    nodes: Vec<NodeId>,
}

impl<'g, 'a> Held<'g, 'a> {
    /// Returns what no image keeps.
    pub(super) fn new(graph: &'g Graph<'a>) -> Self {
        Self {
            graph,
            reached_by: vec![0; graph.len()],
            image: 0,
            nodes: Vec::new(),
        }
    }

    /// Follows references from the record of this index to content and snapshots, except those that are
    /// gone. What has attached itself to the image is no part of it, and neither is what another record
    /// keeps.
    pub(super) fn follow(&mut self, image: usize, is_gone: impl Fn(Edge) -> bool) {
        let graph = self.graph;
        let is_part = |node: NodeId| match graph.node(node) {
            Node::Blob(_) | Node::Snapshot(_) => true,
            Node::Image(_) | Node::Container(_) | Node::Absent => false,
        };
        self.image = node_id(image + 1);
        self.nodes.clear();
        let mut followed = 0;
        let mut from = graph.image(image);
        loop {
            for node in graph.kept_by(from) {
                let reached_by = &mut self.reached_by[*node as usize];
                if *reached_by != self.image && is_part(*node) && !is_gone((from, *node)) {
                    *reached_by = self.image;
                    self.nodes.push(*node);
                }
            }
            let Some(next) = self.nodes.get(followed) else {
                return;
            };
            from = *next;
            followed += 1;
        }
    }

    /// Returns the blobs, each with its index.
    pub(super) fn blobs(&self) -> impl Iterator<Item = (NodeId, usize)> + Clone {
        let nodes = self.nodes.iter();
        nodes.filter_map(|node| match self.graph.node(*node) {
            Node::Blob(index) => Some((*node, index)),
            Node::Snapshot(_) | Node::Image(_) | Node::Container(_) | Node::Absent => None,
        })
    }

    fn has(&self, node: NodeId) -> bool {
        self.reached_by[node as usize] == self.image
    }

    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        let found = self.graph.find_blob(digest);
        found.is_some_and(|id| self.has(id))
    }

    /// Whether all layers of a manifest are kept, compressed or unpacked.
    pub(super) fn has_copy(&self, manifest: Manifest<'_>) -> bool {
        if !self.has_blob(manifest.digest) || !self.has_blob(manifest.config_digest) {
            return false;
        }
        let layers = manifest.layers.iter().map(|layer| &layer.digest);
        let is_kept = |at: Option<usize>| at.is_some_and(|at| self.has(node_id(at)));
        self.graph.blobs().find_all(layers, is_kept) || self.has_chain(manifest)
    }

    fn has_chain(&self, manifest: Manifest<'_>) -> bool {
        let Some(chain) = manifest.chain() else {
            return false;
        };
        let lists = self.graph.namespace.snapshots.keys();
        let mut ids = lists.map(|name| SnapshotId::new(name.clone(), chain.to_string()));
        ids.any(|id| {
            let top = self.graph.find_snapshot(&id);
            let is_kept = top.is_some_and(|top| self.has(top));
            is_kept && is_complete(self.graph, &id, manifest)
        })
    }
}
