//! Marking: what the collector reaches from a set of roots.
//!
//! One marker can be extended root by root. That is how the difference a prune makes is found:
//! mark from everything except the candidates, then continue from the candidates; what is new in
//! the second part is what removing them frees, and what neither part reached is garbage already.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{CollectorRules, ImageRecord};

use crate::graph::{Graph, Node, NodeId};
use crate::holdings::{Hold, Holding, holdings};

/// The bits of the holds that have reached a node.
const REACHED: u8 = Hold::Deep.bit() | Hold::Flat.bit();

/// The bit of a node that keeps nothing, in addition to those of the holds: half of a host's nodes
/// are layers, which lead nowhere.
const LEAF: u8 = 4;

/// The bit of a node that loses references, in addition to the others: few do.
const SEVERED: u8 = 8;

/// A reference of a blob, and what it refers to.
pub(crate) type Edge = (NodeId, NodeId);

/// Images and references of blobs that go or stay together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Going {
    /// By index.
    pub(crate) images: Vec<usize>,
    /// Without duplicates.
    pub(crate) references: Vec<Edge>,
}

impl Going {
    pub(crate) fn images(images: Vec<usize>) -> Self {
        Self {
            images,
            references: Vec::new(),
        }
    }

    /// Adds what goes or stays with another one.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.images.extend(&other.images);
        self.references.extend(&other.references);
    }
}

/// The set of nodes reached so far.
#[derive(Debug)]
pub(crate) struct Marker<'g, 'a> {
    graph: &'g Graph<'a>,
    /// Per node: which kinds of hold have reached it, and whether it is a leaf.
    seen: Vec<u8>,
    /// Per image: removed, so that nothing can reach it. Empty if none is removed.
    removed_images: Vec<bool>,
    /// Per blob that loses references: what they refer to.
    severed: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// How removed images would have been reached.
    dead_references: BTreeSet<(NodeId, Hold)>,
    /// Nodes whose references are to be followed.
    pending: Vec<(NodeId, Hold)>,
    /// Empty; its space is for the nodes that are being followed.
    level: Vec<(NodeId, Hold)>,
    /// Nodes in the order in which they were first reached.
    reached: Vec<NodeId>,
    /// The former state of nodes, while a marking is tentative.
    undo_log: Option<Vec<(NodeId, u8)>>,
}

impl<'g, 'a> Marker<'g, 'a> {
    /// Begins with nothing reached.
    pub(crate) fn new(graph: &'g Graph<'a>) -> Self {
        Self {
            graph,
            seen: graph.leaves().map(|it| if it { LEAF } else { 0 }).collect(),
            removed_images: Vec::new(),
            severed: BTreeMap::new(),
            dead_references: BTreeSet::new(),
            pending: Vec::new(),
            level: Vec::new(),
            reached: Vec::new(),
            undo_log: None,
        }
    }

    /// Treats all of these as gone.
    pub(crate) fn without(self, going: &Going) -> Self {
        self.without_images(&going.images)
            .without_references(&going.references)
    }

    /// Treats these images as removed: they are not roots, and references to them are dead.
    pub(crate) fn without_images(mut self, images: &[usize]) -> Self {
        self.removed_images = vec![false; self.graph.namespace.images.len()];
        for index in images {
            self.removed_images[*index] = true;
        }
        self
    }

    /// Treats these references of blobs as gone.
    pub(crate) fn without_references(mut self, references: &[Edge]) -> Self {
        self.sever(references);
        self
    }

    fn sever(&mut self, references: &[Edge]) {
        for (blob, target) in references {
            self.severed.entry(*blob).or_default().insert(*target);
            self.seen[*blob as usize] |= SEVERED;
        }
    }

    /// Whether a node has been reached in any way.
    pub(crate) fn is_reached(&self, id: NodeId) -> bool {
        self.seen[id as usize] & REACHED != 0
    }

    /// Number of nodes reached; see [`Self::reached_since`].
    pub(crate) fn n_reached(&self) -> usize {
        self.reached.len()
    }

    /// Returns the nodes first reached after [`Self::n_reached`] was `before`.
    pub(crate) fn reached_since(&self, before: usize) -> &[NodeId] {
        &self.reached[before..]
    }

    /// Adds a root and everything that it keeps.
    pub(crate) fn extend(&mut self, root: NodeId, hold: Hold) {
        self.refer_to(root, hold);
        self.follow();
    }

    /// Follows references from the nodes that are pending, level by level: those of one level do not
    /// depend on each other, so a processor loads several at a time.
    fn follow(&mut self) {
        let mut level = std::mem::take(&mut self.level);
        while !self.pending.is_empty() {
            std::mem::swap(&mut level, &mut self.pending);
            for (id, hold) in level.drain(..) {
                self.follow_from(id, hold);
            }
        }
        self.level = level;
    }

    fn follow_from(&mut self, id: NodeId, hold: Hold) {
        match hold {
            Hold::Deep => {
                let graph = self.graph;
                for kept in graph.kept_by(id) {
                    if !self.is_severed(id, *kept) {
                        self.refer_to(*kept, Hold::Deep);
                    }
                }
                self.reach_attached(id);
            }
            Hold::Flat => {
                if let Some(kept) = self.kept_flat(id) {
                    self.refer_to(kept, Hold::Flat);
                }
            }
        }
    }

    /// Returns what a flat hold keeps in addition: a snapshot's parent, an image's target.
    fn kept_flat(&self, id: NodeId) -> Option<NodeId> {
        match self.graph.node(id) {
            Node::Snapshot(index) => self.graph.parent(index),
            Node::Image(index) => self.graph.find_target(index),
            Node::Blob(_) | Node::Container(_) | Node::Absent => None,
        }
    }

    /// Follows a reference. One to a removed image still leads to what has attached itself to that
    /// name.
    fn refer_to(&mut self, id: NodeId, hold: Hold) {
        if !self.is_removed(id) {
            self.reach(id, hold);
            return;
        }
        self.dead_references.insert((id, hold));
        if hold == Hold::Deep {
            self.reach_attached(id);
        }
    }

    /// Reaches what has attached itself to a node. The labels of a removed image are gone with it.
    fn reach_attached(&mut self, id: NodeId) {
        let graph = self.graph;
        for (_, attached) in graph.attached_to(id) {
            if self.is_removed(*attached) {
                self.dead_references.insert((*attached, Hold::Deep));
            } else {
                self.reach(*attached, Hold::Deep);
            }
        }
    }

    fn is_severed(&self, blob: NodeId, target: NodeId) -> bool {
        let is_any = self.seen[blob as usize] & SEVERED != 0;
        let severed = is_any.then(|| self.severed.get(&blob)).flatten();
        severed.is_some_and(|severed| severed.contains(&target))
    }

    fn is_removed(&self, id: NodeId) -> bool {
        match self.graph.node(id) {
            Node::Image(index) => self.removed_images.get(index) == Some(&true),
            Node::Blob(_) | Node::Snapshot(_) | Node::Container(_) | Node::Absent => false,
        }
    }

    fn reach(&mut self, id: NodeId, hold: Hold) {
        let seen = &mut self.seen[id as usize];
        if *seen & hold.bit() != 0 {
            return;
        }
        if *seen & REACHED == 0 {
            self.reached.push(id);
        }
        if let Some(log) = &mut self.undo_log {
            log.push((id, *seen));
        }
        *seen |= hold.bit();
        if *seen & LEAF == 0 {
            self.pending.push((id, hold));
        }
    }

    /// Adds everything that holders other than images keep.
    pub(crate) fn extend_from_holders(&mut self, now: Timestamp) {
        for holding in holdings(self.graph, now) {
            self.extend_all(&holding);
        }
    }

    /// Adds all roots of one holder.
    pub(crate) fn extend_all(&mut self, holding: &Holding) {
        for root in &holding.roots {
            self.refer_to(*root, holding.hold);
        }
        self.follow();
    }

    /// Adds every image that is a root and is not removed.
    pub(crate) fn extend_from_images(&mut self, now: Timestamp) {
        for (index, image) in self.graph.namespace.images.iter().enumerate() {
            let id = self.graph.image(index);
            if is_root_image(image, self.graph.rules, now) && !self.is_removed(id) {
                self.refer_to(id, Hold::Deep);
            }
        }
        self.follow();
    }

    /// Restores all removed images, and adds what they hold.
    pub(crate) fn restore_images(&mut self, now: Timestamp) {
        let images = 0..self.removed_images.len();
        let removed: Vec<usize> = images.filter(|index| self.removed_images[*index]).collect();
        self.restore(&Going::images(removed), now);
    }

    /// Like [`Self::restore`], and returns the nodes that were not reached before.
    pub(crate) fn restored(&mut self, going: &Going, now: Timestamp) -> Vec<NodeId> {
        let before = self.reached.len();
        self.restore(going, now);
        self.reached[before..].to_vec()
    }

    /// Returns the nodes that [`Self::restored`] would, and leaves the marker as it is.
    pub(crate) fn would_restore(&mut self, going: &Going, now: Timestamp) -> Vec<NodeId> {
        let dead_references = self.dead_references.clone();
        let restored = self.tentatively(|marker| marker.restore(going, now));
        self.dead_references = dead_references;
        for index in &going.images {
            self.removed_images[*index] = true;
        }
        self.sever(&going.references);
        restored
    }

    /// Returns the nodes that these roots reach and that were not reached before, and leaves
    /// the marker as it is.
    pub(crate) fn reached_from(&mut self, roots: &[NodeId], hold: Hold) -> Vec<NodeId> {
        self.tentatively(|marker| {
            for root in roots {
                marker.extend(*root, hold);
            }
        })
    }

    /// Returns the nodes that `extend` reaches, and undoes the marking.
    fn tentatively(&mut self, extend: impl FnOnce(&mut Self)) -> Vec<NodeId> {
        let before = self.reached.len();
        self.undo_log = Some(Vec::new());
        extend(self);
        for (id, seen) in self.undo_log.take().into_iter().flatten().rev() {
            self.seen[id as usize] = seen;
        }
        self.reached.split_off(before)
    }

    /// Restores some of the removed images and references, and adds what they hold.
    ///
    /// An expired image is not a root; it counts only if something reached refers to it.
    pub(crate) fn restore(&mut self, going: &Going, now: Timestamp) {
        for index in &going.images {
            self.removed_images[*index] = false;
        }
        for (blob, target) in &going.references {
            if let Some(severed) = self.severed.get_mut(blob) {
                severed.remove(target);
            }
        }
        for index in &going.images {
            let id = self.graph.image(*index);
            for hold in [Hold::Deep, Hold::Flat] {
                if self.dead_references.remove(&(id, hold)) {
                    self.refer_to(id, hold);
                }
            }
            let image = &self.graph.namespace.images[*index];
            if is_root_image(image, self.graph.rules, now) {
                self.refer_to(id, Hold::Deep);
            }
        }
        self.follow();
        for (blob, target) in &going.references {
            if self.seen[*blob as usize] & Hold::Deep.bit() != 0 {
                self.extend(*target, Hold::Deep);
            }
        }
    }
}

/// Whether an image record holds its target by itself.
pub(crate) fn is_root_image(image: &ImageRecord, rules: CollectorRules, now: Timestamp) -> bool {
    rules < CollectorRules::V2_0 || image.expires.is_none_or(|expires| expires >= now)
}
