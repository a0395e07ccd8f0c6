//! Which images keep which objects.

use jiff::Timestamp;

use crate::graph::{Graph, Node, NodeId, node_id};
use crate::mark::{Marker, is_root_image};

/// The references of a namespace, seen from its image records.
struct Keepers<'g, 'a> {
    graph: &'g Graph<'a>,
    /// The images that hold their target by themselves. An expired one counts like any other
    /// object: it stays as long as something refers to it.
    is_root: Vec<bool>,
}

/// Which images reach a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    None,
    /// One, by index.
    One(usize),
    Several,
}

impl<'g, 'a> Keepers<'g, 'a> {
    fn new(graph: &'g Graph<'a>, now: Timestamp) -> Self {
        let images = graph.namespace.images.iter();
        let is_root = images.map(|image| is_root_image(image, graph.rules, now));
        Self {
            graph,
            is_root: is_root.collect(),
        }
    }

    /// Returns the images that hold their target by themselves.
    fn roots(&self) -> Vec<usize> {
        let images = 0..self.is_root.len();
        images.filter(|image| self.is_root[*image]).collect()
    }

    fn is_root(&self, id: NodeId) -> bool {
        matches!(self.graph.node(id), Node::Image(image) if self.is_root[image])
    }

    /// Calls `push` for everything that a node keeps as part of an image.
    ///
    /// References to an image go with its record, but not what has attached itself to its name; the
    /// record's own attachments go with its labels.
    fn follow(&self, id: NodeId, mut push: impl FnMut(NodeId)) {
        let attached = |id| {
            let attached = self.graph.attached_to(id).iter();
            let attached = attached.map(|(_, attached)| *attached);
            attached.filter(|it| !self.is_root(*it))
        };
        for next in self.graph.kept_by(id) {
            if self.is_root(*next) {
                attached(*next).for_each(&mut push);
            } else {
                push(*next);
            }
        }
        attached(id).for_each(push);
    }
}

/// Returns, for every image, the nodes that nothing but that record keeps. An expired record
/// keeps none by itself.
///
/// Each node is visited twice at most: once for the first image that reaches it, once more for
/// all others together.
pub(super) fn sole_nodes(graph: &Graph<'_>, now: Timestamp) -> Vec<Vec<NodeId>> {
    let keepers = Keepers::new(graph, now);
    let mut reach = vec![Reach::None; graph.len()];
    let mut stack: Vec<(NodeId, Reach)> = Vec::new();
    for image in keepers.roots() {
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
            keepers.follow(id, |next| stack.push((next, by)));
        }
    }
    let held = held(graph, &keepers.roots(), now);
    let mut sole = vec![Vec::new(); graph.namespace.images.len()];
    for ((id, reach), held) in (0..).zip(reach).zip(held) {
        if let Reach::One(image) = reach
            && !held
        {
            sole[image].push(id);
        }
    }
    sole
}

/// Returns, for every node, the images that keep it, ascending, and whether anything else in the
/// namespace does.
pub(super) fn keepers(graph: &Graph<'_>, now: Timestamp) -> Vec<(Vec<u32>, bool)> {
    let keepers = Keepers::new(graph, now);
    let mut images = vec![Vec::new(); graph.len()];
    let mut stack = Vec::new();
    for image in keepers.roots() {
        let position = node_id(image);
        stack.push(graph.image(image));
        while let Some(id) = stack.pop() {
            let known = &mut images[id as usize];
            if known.last() != Some(&position) {
                known.push(position);
                keepers.follow(id, |next| stack.push(next));
            }
        }
    }
    let held = held(graph, &keepers.roots(), now);
    images.into_iter().zip(held).collect()
}

/// Returns for every node whether it stays without these images.
fn held(graph: &Graph<'_>, images: &[usize], now: Timestamp) -> Vec<bool> {
    let mut marker = Marker::new(graph).without_images(images);
    marker.extend_from_holders(now);
    let nodes = (0..graph.len()).map(node_id);
    nodes.map(|id| marker.is_reached(id)).collect()
}
