//! What each image holds alone: the bytes that removing it and nothing else would free.

use crate::graph::{Graph, Node, NodeId};
use crate::mark::Marker;
use jiff::Timestamp;

/// Which images reach a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    None,
    /// One, by index.
    One(u32),
    Several,
}

/// Returns, for every image, the nodes that nothing but that record keeps.
///
/// Each node is passed twice at most: once for the first image that reaches it, once more for
/// all others together.
pub(crate) fn sole_nodes(graph: &Graph<'_>, now: Timestamp) -> Vec<Vec<NodeId>> {
    let n_images = graph.namespace.images.len();
    let all: Vec<usize> = (0..n_images).collect();
    let mut held = Marker::new(graph).without_images(&all);
    held.extend_from_holders(now);

    let mut reach = vec![Reach::None; graph.len()];
    let mut stack: Vec<(NodeId, Reach)> = Vec::new();
    for (image, number) in (0..n_images).zip(0..) {
        stack.push((graph.image(image), Reach::One(number)));
        while let Some((id, by)) = stack.pop() {
            let seen = &mut reach[id as usize];
            *seen = match (*seen, by) {
                (Reach::None, by) => by,
                (Reach::Several, _) => continue,
                (seen, by) if seen == by => continue,
                (_, _) => Reach::Several,
            };
            let by = *seen;
            let attached = graph.attached_to(id).iter().map(|(_, attached)| attached);
            for next in graph.kept_by(id).iter().chain(attached) {
                // An image is reached by its own name only; whoever refers to it loses that
                // reference with the record.
                if !matches!(graph.node(*next), Node::Image(_)) {
                    stack.push((*next, by));
                }
            }
        }
    }
    let mut sole = vec![Vec::new(); n_images];
    for (id, reach) in (0..).zip(reach) {
        if let Reach::One(image) = reach
            && !held.is_reached(id)
        {
            sole[image as usize].push(id);
        }
    }
    sole
}
