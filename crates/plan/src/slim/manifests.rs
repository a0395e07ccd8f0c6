//! The manifests of a namespace, and from which of them an image can be started.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{Child, Config, Digest, Document, Platform, SnapshotId, SnapshotKind};

use crate::graph::{Graph, Node, NodeId};

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
    pub(super) nodes: BTreeSet<NodeId>,
}

impl<'g, 'a> Held<'g, 'a> {
    /// Follows references from the record of this index to content and snapshots. What has attached
    /// itself to the image is no part of it, and neither is what another record keeps.
    pub(super) fn by(graph: &'g Graph<'a>, image: usize) -> Self {
        let mut nodes = BTreeSet::new();
        let is_part = |node: &NodeId| match graph.node(*node) {
            Node::Blob(_) | Node::Snapshot(_) => true,
            Node::Image(_) | Node::Container(_) | Node::Absent => false,
        };
        let mut stack = graph.kept_by(graph.image(image)).to_vec();
        while let Some(node) = stack.pop() {
            if is_part(&node) && nodes.insert(node) {
                stack.extend(graph.kept_by(node));
            }
        }
        Self { graph, nodes }
    }

    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        let found = self.graph.find_blob(digest);
        found.is_some_and(|id| self.nodes.contains(&id))
    }

    /// Whether all layers of a manifest are kept, compressed or unpacked.
    pub(super) fn has_copy(&self, manifest: Manifest<'_>) -> bool {
        if !self.has_blob(manifest.digest) || !self.has_blob(manifest.config_digest) {
            return false;
        }
        let mut layers = manifest.layers.iter();
        layers.all(|layer| self.has_blob(&layer.digest)) || self.has_chain(manifest)
    }

    fn has_chain(&self, manifest: Manifest<'_>) -> bool {
        let Some(chain) = manifest.chain() else {
            return false;
        };
        let lists = self.graph.namespace.snapshots.keys();
        let mut ids = lists.map(|name| SnapshotId::new(name.clone(), chain.to_string()));
        ids.any(|id| {
            let top = self.graph.find_snapshot(&id);
            let is_kept = top.is_some_and(|top| self.nodes.contains(&top));
            is_kept && is_complete(self.graph, &id, manifest)
        })
    }
}
