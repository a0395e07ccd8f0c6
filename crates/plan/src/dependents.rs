//! Dependent images: records that expire, and that the collector keeps as long as it reaches them.
//!
//! containerd's transfer service stores the further names of an image like that: expired on purpose,
//! with a back reference to the first name. They go in the collection that follows the removal of what
//! leads to them, without a delete by any client.
//!
//! # The rules
//!
//! A dependent image that stays keeps every image that leads to it, even if another one would do:
//! otherwise adding an image could turn the keep of another into a removal. A removal by name takes
//! along the dependent images that nothing else leads to; if one of them has to stay, nothing is
//! removed.
//!
//! Source: containerd `core/metadata/gc.go` (2.0 and newer: records expire and can be referred to;
//! 2.2 and newer: back references), `core/transfer/image/imagestore.go` (2.3 and newer).

use std::collections::BTreeSet;

use jiff::Timestamp;
use reclaim_model::{
    CollectorRules, Holder, HolderKind, Inventory, KeepReason, Kept, NamespaceInventory, Plan,
    RemoveReason, Step,
};

use crate::facts::Facts;
use crate::graph::{Graph, Node, NodeId};
use crate::holdings::Hold;
use crate::mark::Marker;
use crate::select::{Verdict, keep_cri_group_whole};

/// The dependent images of a namespace, and what leads to them.
#[derive(Debug)]
pub(crate) struct Dependents<'g, 'a> {
    graph: &'g Graph<'a>,
    /// The images that expire and that something refers to, by index.
    images: Vec<usize>,
    /// Every reference as (to, from), sorted.
    references: Vec<(NodeId, NodeId)>,
}

impl<'g, 'a> Dependents<'g, 'a> {
    /// Finds the dependent images; `None` if there are none.
    pub(crate) fn new(graph: &'g Graph<'a>) -> Option<Self> {
        if !may_exist(graph.namespace, graph.rules) {
            return None;
        }
        let records = &graph.namespace.images;
        let images = graph
            .references()
            .filter_map(|(to, _)| match graph.node(to) {
                Node::Image(index) if records[index].expires.is_some() => Some(index),
                Node::Image(_)
                | Node::Blob(_)
                | Node::Snapshot(_)
                | Node::Container(_)
                | Node::Absent => None,
            });
        let images: BTreeSet<usize> = images.collect();
        if images.is_empty() {
            return None;
        }
        let mut references: Vec<(NodeId, NodeId)> = graph.references().collect();
        references.sort_unstable();
        Some(Self {
            graph,
            images: images.into_iter().collect(),
            references,
        })
    }

    /// Returns the other images from which the collector reaches an image, by index.
    pub(crate) fn leading_to(&self, image: usize) -> BTreeSet<usize> {
        let mut leading = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut stack = vec![self.graph.image(image)];
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Node::Image(index) = self.graph.node(id)
                && index != image
            {
                leading.insert(index);
            }
            let first = self.references.partition_point(|(to, _)| *to < id);
            let references = self.references[first..].iter();
            let references = references.take_while(|(to, _)| *to == id);
            stack.extend(references.map(|(_, from)| *from));
        }
        leading
    }

    /// Returns the images that are held, and no longer are when those of `going` are gone: the
    /// dependent images that nothing else leads to.
    ///
    /// `replaced` are those of `going` that stay without a name. What was attached to the name goes, and
    /// what the labels refer to stays. Records that expire before `now` are no roots.
    pub(crate) fn lost(
        &self,
        going: &BTreeSet<usize>,
        replaced: &[usize],
        now: Timestamp,
    ) -> BTreeSet<usize> {
        let images = self.images.iter().copied();
        let others = images.filter(|image| !going.contains(image));
        let led_to = others.filter(|image| !self.leading_to(*image).is_disjoint(going));
        let led_to: Vec<usize> = led_to.collect();
        if led_to.is_empty() {
            return BTreeSet::new();
        }
        let before = self.marked(&[], now);
        let all: Vec<usize> = going.iter().copied().collect();
        let mut after = self.marked(&all, now);
        for image in replaced {
            for kept in self.graph.kept_by(self.graph.image(*image)) {
                after.extend(*kept, Hold::Deep);
            }
        }
        let lost = led_to.into_iter().filter(|image| {
            let id = self.graph.image(*image);
            before.is_reached(id) && !after.is_reached(id)
        });
        lost.collect()
    }

    /// Marks everything that is held when the images of `going` are gone.
    fn marked(&self, going: &[usize], now: Timestamp) -> Marker<'g, 'a> {
        let mut marker = Marker::new(self.graph).without_images(going);
        marker.extend_from_holders(self.graph.observed_at);
        marker.extend_from_images(now);
        marker
    }
}

/// Whether a namespace may have dependent images.
fn may_exist(namespace: &NamespaceInventory, rules: CollectorRules) -> bool {
    let mut images = namespace.images.iter();
    rules >= CollectorRules::V2_0 && images.any(|image| image.expires.is_some())
}

/// Keeps the images that lead to a dependent image that stays.
///
/// One whose content is in use stays for that even if another record of its target would do, because
/// that record may be an image that was added.
pub(crate) fn keep_for_dependents(facts: &Facts<'_>, verdicts: &mut [Verdict]) {
    let Some(dependents) = Dependents::new(&facts.graph) else {
        return;
    };
    let images = dependents.images.iter();
    let leading = images.map(|image| (*image, dependents.leading_to(*image)));
    let leading: Vec<(usize, BTreeSet<usize>)> = leading.collect();
    let mut is_settled = false;
    while !is_settled {
        is_settled = true;
        for (image, leading) in &leading {
            let is_duplicate = verdicts[*image] == Verdict::Remove(RemoveReason::Duplicate);
            let stays = !verdicts[*image].is_removal() || is_duplicate;
            if !stays || leading.iter().all(|it| !verdicts[*it].is_removal()) {
                continue;
            }
            is_settled = false;
            if is_duplicate {
                let users = facts.users_of(*image);
                verdicts[*image] = Verdict::Keep(KeepReason::InUse, users);
            }
            keep_leading(facts, *image, leading, verdicts);
        }
    }
}

/// Keeps the images that lead to a dependent image that would be lost, though it stays.
///
/// Unlike [`keep_for_dependents`] it keeps nothing for an image that something else leads to, as it is
/// after a removal by name.
pub(crate) fn keep_for_lost(facts: &Facts<'_>, verdicts: &mut [Verdict]) {
    let Some(dependents) = Dependents::new(&facts.graph) else {
        return;
    };
    loop {
        let going = 0..verdicts.len();
        let going: BTreeSet<usize> = going.filter(|it| verdicts[*it].is_removal()).collect();
        let lost = dependents.lost(&going, &[], facts.graph.observed_at);
        if lost.is_empty() {
            return;
        }
        for image in lost {
            let leading = dependents.leading_to(image);
            keep_leading(facts, image, &leading, verdicts);
        }
    }
}

/// Keeps those of the images that lead to a dependent image that would go, and their CRI groups.
fn keep_leading(
    facts: &Facts<'_>,
    image: usize,
    leading: &BTreeSet<usize>,
    verdicts: &mut [Verdict],
) {
    let images = &facts.graph.namespace.images;
    let holder = Holder::new(HolderKind::Image, images[image].name.clone());
    for index in leading {
        if verdicts[*index].is_removal() {
            let holders = BTreeSet::from([holder.clone()]);
            verdicts[*index] = Verdict::Keep(KeepReason::DependentStays, holders);
            let group = &facts.targets.of_image(*index).images;
            keep_cri_group_whole(group, images, verdicts);
        }
    }
}

/// Keeps the steps of a plan that lead to a dependent image that is no step. A plan has such steps only
/// after others were taken out of it.
pub fn keep_steps_for_dependents(plan: &mut Plan, inventory: &Inventory) {
    let Some(namespace) = inventory.namespaces.get(&plan.namespace) else {
        return;
    };
    if plan.steps.is_empty() || !may_exist(namespace, inventory.rules) {
        return;
    }
    let graph = Graph::new(namespace, inventory);
    let Some(dependents) = Dependents::new(&graph) else {
        return;
    };
    let index_of = |step: &Step| index_of(&graph, &step.image.name);
    loop {
        let going: BTreeSet<usize> = plan.steps.iter().filter_map(index_of).collect();
        let replaced = plan.steps.iter();
        let replaced = replaced.filter(|step| step.reason == RemoveReason::Replaced);
        let replaced: Vec<usize> = replaced.filter_map(index_of).collect();
        let lost = dependents.lost(&going, &replaced, inventory.observed_at);
        let Some(image) = lost.first() else {
            plan.kept.sort_by(|a, b| a.name.cmp(&b.name));
            return;
        };
        let holder = Holder::new(HolderKind::Image, namespace.images[*image].name.clone());
        let leading = dependents.leading_to(*image);
        let leads = |step: &mut Step| index_of(step).is_some_and(|it| leading.contains(&it));
        plan.kept
            .extend(plan.steps.extract_if(.., leads).map(|step| Kept {
                name: step.image.name,
                target: step.image.target.digest,
                reason: KeepReason::DependentStays,
                holders: vec![holder.clone()],
            }));
    }
}

/// Returns for each group of images the first group with which it goes or stays: groups belong together
/// if an image of one leads to an image of the other.
pub(crate) fn joined(graph: &Graph<'_>, groups: &[&[usize]]) -> Vec<usize> {
    let mut joined: Vec<usize> = (0..groups.len()).collect();
    let Some(dependents) = Dependents::new(graph) else {
        return joined;
    };
    let mut group_of = vec![None; graph.namespace.images.len()];
    for (at, group) in groups.iter().enumerate() {
        for image in *group {
            group_of[*image] = Some(at);
        }
    }
    for image in &dependents.images {
        let leading = dependents.leading_to(*image).into_iter();
        let together = leading.chain([*image]).filter_map(|it| group_of[it]);
        let together: BTreeSet<usize> = together.map(|group| joined[group]).collect();
        let (Some(first), Some(_)) = (together.first(), group_of[*image]) else {
            continue;
        };
        for group in &mut joined {
            if together.contains(group) {
                *group = *first;
            }
        }
    }
    joined
}

/// Returns the images that have expired and that nothing holds, by index: the next collection removes
/// them, with or without a plan.
pub(crate) fn unheld(graph: &Graph<'_>) -> Vec<usize> {
    let now = graph.observed_at;
    let images = graph.namespace.images.iter().enumerate();
    let expired = images.filter(|(_, image)| image.expires.is_some_and(|expires| expires < now));
    let expired: Vec<usize> = expired.map(|(index, _)| index).collect();
    if expired.is_empty() || graph.rules < CollectorRules::V2_0 {
        return Vec::new();
    }
    let mut marker = Marker::new(graph);
    marker.extend_from_holders(now);
    marker.extend_from_images(now);
    let unheld = expired.into_iter();
    unheld
        .filter(|index| !marker.is_reached(graph.image(*index)))
        .collect()
}

fn index_of(graph: &Graph<'_>, name: &str) -> Option<usize> {
    match graph.node(graph.find_image(name)?) {
        Node::Image(index) => Some(index),
        Node::Blob(_) | Node::Snapshot(_) | Node::Container(_) | Node::Absent => None,
    }
}
