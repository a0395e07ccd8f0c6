//! What each image alone holds: the bytes that removing it and nothing else would free.

use jiff::Timestamp;

use crate::graph::{Graph, Node, NodeId};
use crate::mark::{Marker, is_root_image};

/// Which images reach a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    None,
    /// One, by index.
    One(usize),
    Several,
}

/// Returns, for every image, the nodes that nothing but that record keeps. An expired record
/// keeps none by itself.
///
/// Each node is visited twice at most: once for the first image that reaches it, once more for
/// all others together.
pub(crate) fn sole_nodes(graph: &Graph<'_>, now: Timestamp) -> Vec<Vec<NodeId>> {
    let images = &graph.namespace.images;
    let is_root = |image: usize| is_root_image(&images[image], graph.rules, now);
    let roots: Vec<usize> = (0..images.len()).filter(|it| is_root(*it)).collect();
    let mut held = Marker::new(graph).without_images(&roots);
    held.extend_from_holders(now);

    let mut reach = vec![Reach::None; graph.len()];
    let mut stack: Vec<(NodeId, Reach)> = Vec::new();
    for image in roots {
        stack.push((graph.image(image), Reach::One(image)));
        while let Some((id, by)) = stack.pop() {
            let seen = &mut reach[id as usize];
            *seen = match (*seen, by) {
                (Reach::None, by) => by,
                (Reach::Several, _) => continue,
                (seen, by) if seen == by => continue,
                (_, _) => Reach::Several,
            };
            let by = *seen;
            // References to an image go with its record, but not what has attached itself to its
            // name; the record's own attachments go with its labels. An expired image counts like
            // any other thing: it stays as long as something refers to it.
            let is_own = |id| matches!(graph.node(id), Node::Image(it) if is_root(it));
            let attached = |id| {
                let attached = graph.attached_to(id).iter().map(|(_, attached)| *attached);
                attached.filter(|it| !is_own(*it))
            };
            for next in graph.kept_by(id) {
                if is_own(*next) {
                    stack.extend(attached(*next).map(|it| (it, by)));
                } else {
                    stack.push((*next, by));
                }
            }
            stack.extend(attached(id).map(|it| (it, by)));
        }
    }
    let mut sole = vec![Vec::new(); images.len()];
    for (id, reach) in (0..).zip(reach) {
        if let Reach::One(image) = reach
            && !held.is_reached(id)
        {
            sole[image].push(id);
        }
    }
    sole
}
