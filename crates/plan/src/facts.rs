//! The facts about one namespace: what its images are, and what uses them.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{Container, Digest, Document, Holder, Inventory, NamespaceInventory};

use crate::graph::{Graph, NodeId};
use crate::holdings::Hold;
use crate::mark::Marker;
use crate::names::Names;
use crate::parallel::both;
use crate::targets::Targets;
use crate::usage::{Usage, usage};

/// One namespace with what its images are and what uses them.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) graph: Graph<'a>,
    pub(crate) targets: Targets<'a>,
    pub(crate) usage: Usage,
    pub(crate) names: Names,
    pub(crate) documents: &'a BTreeMap<Digest, Document>,
    /// The image labels that were not left out of any configuration.
    pub(crate) label_keys: &'a BTreeSet<String>,
}

impl<'a> Facts<'a> {
    /// Collects the facts about `namespace`, which need not be part of `inventory`.
    ///
    /// `registered` are containers that engines know of beyond containerd's own records.
    pub(crate) fn new(
        inventory: &'a Inventory,
        namespace: &'a NamespaceInventory,
        registered: &'a [Container],
    ) -> Self {
        let graph = Graph::new(namespace, inventory);
        let targets = Targets::new(namespace, graph.blobs(), inventory);
        let (names, usage) = both(
            || Names::new(namespace, &targets, inventory),
            || usage(&graph, &targets, registered, inventory),
        );
        Self {
            graph,
            targets,
            usage,
            names,
            documents: &inventory.documents,
            label_keys: &inventory.label_keys,
        }
    }

    /// Returns what uses an image, by its name or by its content.
    pub(crate) fn users_of(&self, image: usize) -> BTreeSet<Holder> {
        let by_name = self.usage.records.get(&image);
        let targets = self.targets.of_digest(image);
        let by_target = targets.filter_map(|target| self.usage.targets.get(&target));
        by_name
            .into_iter()
            .chain(by_target)
            .flatten()
            .cloned()
            .collect()
    }

    /// Returns those of `nodes` that one of `images` refers to, directly or not.
    pub(crate) fn parts_of(&self, images: &[usize], nodes: &[NodeId]) -> Vec<NodeId> {
        let mut marker = Marker::new(&self.graph);
        for image in images {
            marker.extend(self.graph.image(*image), Hold::Deep);
        }
        let parts = nodes.iter().copied();
        parts.filter(|id| marker.is_reached(*id)).collect()
    }
}
