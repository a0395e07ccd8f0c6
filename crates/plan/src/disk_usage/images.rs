//! The images of a namespace, one by one.

use std::collections::BTreeSet;

use reclaim_model::{Digest, Holder, ImageUsage, Inventory, Namespace};

use super::sole::sole_nodes;
use crate::case::Case;
use crate::graph::{Graph, Node, NodeId};
use crate::mark::Marker;
use crate::select::Verdict;
use crate::sizes::Parts;
use crate::weights::Weight;

/// Lists the images of a namespace, in their order.
pub(super) fn images(
    case: &Case<'_>,
    verdicts: &[Verdict],
    weights: &[Weight],
    inventory: &Inventory,
    namespace: &Namespace,
) -> Vec<ImageUsage> {
    let graph = &case.graph;
    let sizes = Parts::of(graph, &case.targets, inventory).sizes(graph, weights);
    let kept_elsewhere = kept_elsewhere(case, inventory, namespace);
    let bytes_of = |id: &NodeId| match graph.node(*id) {
        Node::Blob(index) if kept_elsewhere.contains(&graph.blob(index).digest) => 0,
        Node::Blob(_) | Node::Snapshot(_) | Node::Image(_) | Node::Container(_) | Node::Absent => {
            weights[*id as usize].bytes()
        }
    };
    let sole = sole_nodes(graph, inventory.observed_at);
    let images = graph.namespace.images.iter().zip(verdicts).zip(sole);
    let images = images.enumerate().map(|(index, ((image, verdict), sole))| {
        let verdict = match verdict {
            Verdict::Remove(reason) => Ok(*reason),
            Verdict::Keep(reason, _) => Err(*reason),
        };
        let holders: Vec<Holder> = holders(case, index).into_iter().collect();
        ImageUsage {
            name: image.name.clone(),
            target: image.target.digest.clone(),
            created: image.created_at,
            size: sizes.get(&image.target.digest).copied().unwrap_or_default(),
            reclaimable_alone_bytes: verdict.map_or(0, |_| sole.iter().map(bytes_of).sum()),
            containers: ImageUsage::containers(&holders),
            holders,
            verdict,
        }
    });
    images.collect()
}

/// Returns everybody who uses an image, by its name or by its content.
pub(crate) fn holders(case: &Case<'_>, image: usize) -> BTreeSet<Holder> {
    let mut holders = case.usage.records.get(&image).cloned().unwrap_or_default();
    let same = case.targets.of_digest(image);
    let of_targets = same.filter_map(|target| case.usage.targets.get(&target));
    holders.extend(of_targets.flatten().cloned());
    holders
}

/// Returns the blobs of the namespace that another keeps.
pub(crate) fn kept_elsewhere<'a>(
    case: &Case<'a>,
    inventory: &Inventory,
    namespace: &Namespace,
) -> BTreeSet<&'a Digest> {
    let now = inventory.observed_at;
    let mut kept = BTreeSet::new();
    let others = inventory.namespaces.iter();
    for (_, other) in others.filter(|(name, _)| *name != namespace) {
        let graph = Graph::new(other, inventory);
        let mut marker = Marker::new(&graph);
        marker.extend_from_holders(now);
        marker.extend_from_images(now);
        for blob in &case.graph.namespace.blobs {
            let there = graph.find_blob(&blob.digest);
            if there.is_some_and(|id| marker.is_reached(id)) {
                kept.insert(&blob.digest);
            }
        }
    }
    kept
}
