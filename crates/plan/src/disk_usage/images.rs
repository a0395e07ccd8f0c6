//! The images of a namespace, one by one.

use reclaim_model::{Holder, ImageUsage};

use super::Counted;
use super::keepers::sole_nodes;
use crate::graph::{Node, NodeId};
use crate::select::Verdict;
use crate::sizes::ObjectsByTarget;

/// Lists the images of a namespace, in their order.
pub(super) fn images(counted: &Counted<'_, '_>, verdicts: &[Verdict]) -> Vec<ImageUsage> {
    let Counted {
        inventory,
        facts,
        weights,
        kept_elsewhere,
        columns: _,
    } = counted;
    let graph = &facts.graph;
    let sizes = ObjectsByTarget::of(graph, &facts.targets, inventory).sizes(graph, weights);
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
        let holders: Vec<Holder> = facts.users_of(index).into_iter().collect();
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
