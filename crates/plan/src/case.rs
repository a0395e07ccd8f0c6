//! What is known of one namespace, brought together so that it can be judged.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Container, Digest, Document, Inventory, Named, Namespace, NamespaceInventory, PruneFilters,
    ResolvedRequest, RuleImages, Selection,
};

use crate::graph::{Graph, NodeId};
use crate::holdings::Hold;
use crate::mark::Marker;
use crate::named::named;
use crate::names::Names;
use crate::project;
use crate::rule;
use crate::select::{Verdict, select};
use crate::targets::Targets;
use crate::usage::{Usage, usage};

/// One namespace with what its images are and who uses them.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) graph: Graph<'a>,
    pub(crate) targets: Targets<'a>,
    pub(crate) usage: Usage,
    pub(crate) names: Names,
    pub(crate) documents: &'a BTreeMap<Digest, Document>,
    /// The image labels that were not left out of any configuration.
    pub(crate) label_keys: &'a BTreeSet<String>,
}

impl<'a> Case<'a> {
    /// Collects the evidence on `namespace`, which need not be part of `inventory`.
    pub(crate) fn new(
        inventory: &'a Inventory,
        namespace: &'a NamespaceInventory,
        registered: &'a [Container],
    ) -> Self {
        let graph = Graph::new(namespace, inventory);
        let targets = Targets::new(namespace, graph.blobs(), inventory);
        let usage = usage(&graph, &targets, registered, inventory.observed_at);
        let names = Names::new(namespace, &targets, inventory);
        Self {
            graph,
            targets,
            usage,
            names,
            documents: &inventory.documents,
            label_keys: &inventory.label_keys,
        }
    }

    /// Judges every image as a request selects; the verdicts are in the order of the images.
    /// `registered` are the containers that the case was made with.
    pub(crate) fn requested(
        &self,
        registered: &[Container],
        request: &ResolvedRequest,
    ) -> (Vec<Verdict>, Vec<Named>) {
        match &request.selection {
            Selection::Filters(filters) => (self.verdicts(filters), Vec::new()),
            Selection::Named(images) => named(self, registered, images),
            Selection::Project(images) => project::judge(self, registered, images),
            Selection::Rule(images) => (self.by_rule(images, &request.namespace), Vec::new()),
        }
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

    /// Judges every image as a maintenance policy does.
    pub(crate) fn by_rule(&self, images: &RuleImages, namespace: &Namespace) -> Vec<Verdict> {
        rule::judge(self, images, namespace)
    }

    /// Judges every image by these filters; the verdicts are in the order of the images.
    pub(crate) fn verdicts(&self, filters: &PruneFilters) -> Vec<Verdict> {
        select(self, filters)
    }

    /// Judges every image as a prune does that removes dangling images only.
    pub(crate) fn plain_verdicts(&self) -> Vec<Verdict> {
        self.verdicts(&PruneFilters::default())
    }

    /// Judges every image as a prune does that removes all unused images.
    pub(crate) fn verdicts_of_all(&self) -> Vec<Verdict> {
        self.verdicts(&PruneFilters {
            dangling: Some(false),
            ..PruneFilters::default()
        })
    }
}
