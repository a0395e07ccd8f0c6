//! What cuts free: a namespace with and without the references that its blobs lose.

use reclaim_model::{Cut, Digest, GcLabelSet, GcLabels, Inventory, NamespaceInventory, RootMark};

use crate::graph::{Graph, NodeId};
use crate::mark::{Edge, Going, Marker};

/// Returns the references that cuts remove.
pub(crate) fn references<'c>(
    graph: &Graph<'_>,
    cuts: impl IntoIterator<Item = &'c Cut>,
) -> Vec<Edge> {
    let references = cuts.into_iter().filter_map(|cut| {
        let target = graph.find_reference(&cut.target.reference())?;
        Some((graph.find_blob(&cut.blob)?, target))
    });
    references.collect()
}

/// Returns the nodes that the collector reaches now, and does not when all of this is gone; ascending.
pub(crate) fn freed_by(inventory: &Inventory, graph: &Graph<'_>, going: &Going) -> Vec<NodeId> {
    let mut freed = marked(graph, inventory, going).restored(going, inventory.observed_at);
    freed.sort_unstable();
    freed
}

/// Returns those of the cuts whose target goes with them. The others would take something from an
/// image and free nothing.
pub(crate) fn useful(inventory: &Inventory, graph: &Graph<'_>, cuts: Vec<Cut>) -> Vec<Cut> {
    let going = Going {
        images: Vec::new(),
        references: references(graph, &cuts),
    };
    let freed = freed_by(inventory, graph, &going);
    let is_freed = |cut: &Cut| {
        let target = graph.find_reference(&cut.target.reference());
        target.is_some_and(|target| freed.binary_search(&target).is_ok())
    };
    cuts.into_iter().filter(is_freed).collect()
}

/// Marks everything that is held when all of this is gone.
pub(crate) fn marked<'g, 'a>(
    graph: &'g Graph<'a>,
    inventory: &Inventory,
    going: &Going,
) -> Marker<'g, 'a> {
    let mut marker = Marker::new(graph).without(going);
    marker.extend_from_holders(inventory.observed_at);
    marker.extend_from_images(inventory.observed_at);
    marker
}

/// Whether no label but plain references steers the collection of an object.
pub(crate) fn is_plain(labels: &GcLabels) -> bool {
    let GcLabelSet {
        root,
        refs: _,
        back_refs,
        conditional,
    } = &**labels;
    *root == RootMark::None && back_refs.is_empty() && conditional.is_none()
}

/// Returns the namespace without the references of the cuts.
pub(crate) fn without(namespace: &NamespaceInventory, cuts: &[Cut]) -> NamespaceInventory {
    let mut severed = namespace.clone();
    for cut in cuts {
        if let Some(labels) = labels_of(&mut severed, &cut.blob) {
            let refs = labels.refs.iter().filter(|it| !cut.target.is_of(it));
            labels.refs = refs.cloned().collect();
        }
    }
    severed
}

/// Adds the references of the cuts, as if they were still there.
pub(crate) fn restore(namespace: &mut NamespaceInventory, cuts: &[Cut]) {
    for cut in cuts {
        if let Some(labels) = labels_of(namespace, &cut.blob) {
            let reference = cut.target.reference();
            let mut refs = labels.refs.to_vec();
            if let Err(at) = refs.binary_search(&reference) {
                refs.insert(at, reference);
                labels.refs = refs.into();
            }
        }
    }
}

fn labels_of<'n>(namespace: &'n mut NamespaceInventory, blob: &Digest) -> Option<&'n mut GcLabels> {
    let blobs = &mut namespace.blobs;
    let at = blobs.binary_search_by(|it| it.digest.cmp(blob));
    Some(&mut blobs[at.ok()?].gc)
}
