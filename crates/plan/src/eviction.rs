//! Cutting a policy's plan down to its goals: the least recently used images, and no more.
//!
//! # The rule
//!
//! What goes is whole images, or one part of them; for both the rule is the same.
//!
//! The records of one target go or stay together, and so do targets of which one leads to a dependent
//! image of the other (see [`dependents`](crate::dependents)). Targets go in the order of their last use,
//! then of their pull, then of their name, until every goal is met or a cap is reached; those
//! that are unused for too long go in any case. Of the chosen targets, one that frees nothing
//! towards a goal that those before it have not met is left out again, and counts for no cap. So
//! the run ends at the low mark, and passes it by no more than the last image.
//!
//! This differs from [`limit`](crate::limit()), which serves a requested size and looks for a
//! small set: here the order is a promise.

mod groups;

use std::collections::BTreeSet;

use jiff::Timestamp;
use reclaim_model::{
    Cut, Digest, Freed, Goal, GoalUnit, Holder, HolderKind, Inventory, KeepReason, Kept, Plan,
    PolicyPart, RuleImages, Snapshotter,
};

use crate::cuts::references;
use crate::graph::{Graph, NodeId};
use crate::limit::{cut, cut_parts};
use crate::mark::{Edge, Going, Marker};
use groups::{Group, all_of, groups};

/// One target in the eviction order, which begins with the least recently used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EvictionCandidate {
    /// When it was used last.
    pub used: Timestamp,
    /// When it was pulled.
    pub pulled: Timestamp,
    /// The last of its names.
    pub name: String,
    /// What removing it frees towards each goal, when all before it are gone.
    pub frees: Vec<u64>,
}

/// A plan that was cut down, and what it achieves.
#[derive(Debug, Clone)]
pub struct Limited {
    /// The plan.
    pub plan: Plan,
    /// What it frees towards each goal.
    pub freed: Vec<u64>,
    /// Whether a cap kept it from its goals.
    pub is_capped: bool,
}

/// Returns the order in which a plan's images would go, and what each frees.
///
/// Without goals in the request nothing counts towards any.
pub fn eviction_order(
    plan: &Plan,
    inventory: &Inventory,
    images: &RuleImages,
) -> Vec<EvictionCandidate> {
    let Some(namespace) = inventory.namespaces.get(&plan.namespace) else {
        return Vec::new();
    };
    let graph = Graph::new(namespace, inventory);
    let groups = groups(&graph, plan, images);
    let scales = scales(&graph, plan, images);
    let adds = adds(&graph, &groups, inventory.observed_at);
    let candidates = groups
        .into_iter()
        .zip(adds)
        .map(|(group, nodes)| EvictionCandidate {
            used: group.times.used,
            pulled: group.times.pulled,
            name: group.name,
            frees: scales.iter().map(|scale| weigh(scale, &nodes)).collect(),
        });
    candidates.collect()
}

/// Removes from a policy's plan what its goals and caps keep.
pub fn limit_by_use(plan: Plan, inventory: &Inventory, images: &RuleImages) -> Limited {
    let Some(namespace) = inventory.namespaces.get(&plan.namespace) else {
        return Limited {
            plan,
            freed: Vec::new(),
            is_capped: false,
        };
    };
    let now = inventory.observed_at;
    let graph = Graph::new(namespace, inventory);
    let groups = groups(&graph, &plan, images);
    let scales = scales(&graph, &plan, images);
    let adds = adds(&graph, &groups, now);
    let unmet = unmet_goals(&groups, &adds, &scales, images);
    let bytes = bytes(&graph, &plan);
    let choice = Choice {
        graph: &graph,
        groups: &groups,
        adds: &adds,
        unmet: &unmet,
        scales: &scales,
        bytes: &bytes,
        images,
        now,
    };
    let (mut chosen, cap) = choice.within_caps();

    let freed = scales.iter().map(|scale| chosen.weigh(scale, &adds));
    let freed = freed.collect();
    let mut plan = if images.part == PolicyPart::Images {
        chosen.going.images.sort_unstable();
        cut(plan, inventory, &graph, &chosen.going.images)
    } else {
        let cuts = cuts_of(&graph, &plan.cuts, &chosen.going);
        cut_parts(plan, inventory, &graph, cuts)
    };
    if let Some(cap) = cap {
        let digests = groups[chosen.n..].iter();
        let digests = digests.flat_map(|group| &group.digests).collect();
        note_cap(
            &mut plan.kept,
            &digests,
            format!("{}.{cap}", images.rule.name),
        );
    }
    Limited {
        plan,
        freed,
        is_capped: cap.is_some(),
    }
}

/// Returns what each node contributes to each goal, if it goes for certain.
fn scales(graph: &Graph<'_>, plan: &Plan, images: &RuleImages) -> Vec<Vec<u64>> {
    let goals = images.goals.iter().flatten();
    goals.map(|goal| scale(graph, plan, goal, images)).collect()
}

fn scale(graph: &Graph<'_>, plan: &Plan, goal: &Goal, images: &RuleImages) -> Vec<u64> {
    let mut scale = vec![0; graph.len()];
    let rounded = |bytes: u64| match goal.unit {
        GoalUnit::Bytes { block } => bytes.next_multiple_of(block.max(1)),
        GoalUnit::Inodes => 1,
    };
    let mut enter = |things: &Freed, is_certain: bool| {
        if goal.has_content {
            for blob in &things.blobs {
                if let Some(id) = graph.find_blob(&blob.digest) {
                    scale[id as usize] = if is_certain { rounded(blob.bytes) } else { 0 };
                }
            }
        }
        let is_there = |snapshotter: &Snapshotter| {
            let counted = goal.snapshotters.as_ref();
            counted.is_none_or(|counted| counted.contains(snapshotter))
        };
        for snapshot in things
            .snapshots
            .iter()
            .filter(|it| is_there(&it.id.snapshotter))
        {
            let worth = match goal.unit {
                GoalUnit::Bytes { block: _ } => snapshot.bytes.unwrap_or(0),
                GoalUnit::Inodes => images.inodes.get(&snapshot.id).flatten().unwrap_or(0),
            };
            if let Some(id) = graph.find_snapshot(&snapshot.id) {
                scale[id as usize] = if is_certain { worth } else { 0 };
            }
        }
    };
    enter(&plan.freed, true);
    enter(&plan.not_counted.doubtful, false);
    scale
}

/// Returns the bytes that each node frees on any filesystem.
fn bytes(graph: &Graph<'_>, plan: &Plan) -> Vec<u64> {
    let mut bytes = vec![0; graph.len()];
    for blob in &plan.freed.blobs {
        if let Some(id) = graph.find_blob(&blob.digest) {
            bytes[id as usize] = blob.bytes;
        }
    }
    for snapshot in &plan.freed.snapshots {
        if let Some(id) = graph.find_snapshot(&snapshot.id) {
            bytes[id as usize] = snapshot.bytes.unwrap_or(0);
        }
    }
    bytes
}

fn weigh(scale: &[u64], nodes: &[NodeId]) -> u64 {
    let worths = nodes.iter().map(|id| scale[*id as usize]);
    worths.fold(0, u64::saturating_add)
}

/// Returns for each group the nodes that go with it when all before it are gone.
fn adds(graph: &Graph<'_>, groups: &[Group], now: Timestamp) -> Vec<Vec<NodeId>> {
    let mut marker = Marker::new(graph).without(&all_of(groups));
    marker.extend_from_holders(now);
    marker.extend_from_images(now);
    let mut adds: Vec<Vec<NodeId>> = groups
        .iter()
        .rev()
        .map(|group| marker.restored(&group.going, now))
        .collect();
    adds.reverse();
    adds
}

/// Returns, for each group that may go, which goals those before it have not met. It ends with the
/// group that meets the last goal.
fn unmet_goals(
    groups: &[Group],
    adds: &[Vec<NodeId>],
    scales: &[Vec<u64>],
    images: &RuleImages,
) -> Vec<Vec<bool>> {
    let mut freed = vec![0_u64; scales.len()];
    let mut unmet = Vec::new();
    for (group, nodes) in groups.iter().zip(adds) {
        let goals = images.goals.iter().flatten().zip(&freed);
        let of_group: Vec<bool> = goals.map(|(goal, freed)| *freed < goal.amount).collect();
        let is_met = images.goals.is_some() && !of_group.contains(&true);
        if is_met && !group.is_idle {
            break;
        }
        unmet.push(of_group);
        for (freed, scale) in freed.iter_mut().zip(scales) {
            *freed = freed.saturating_add(weigh(scale, nodes));
        }
    }
    unmet
}

/// What the choice of groups depends on.
struct Choice<'c> {
    graph: &'c Graph<'c>,
    groups: &'c [Group],
    adds: &'c [Vec<NodeId>],
    unmet: &'c [Vec<bool>],
    scales: &'c [Vec<u64>],
    bytes: &'c [u64],
    images: &'c RuleImages,
    now: Timestamp,
}

/// The useful ones of the first groups.
struct Chosen {
    /// How many groups were considered.
    n: usize,
    /// How many targets the useful ones of them have.
    n_useful: usize,
    /// What goes with the useful ones.
    going: Going,
    /// What the useless ones keep.
    restored: Vec<NodeId>,
}

impl Chosen {
    /// Returns what the useful groups free.
    fn weigh(&self, scale: &[u64], adds: &[Vec<NodeId>]) -> u64 {
        let all = adds[..self.n].iter().map(|nodes| weigh(scale, nodes));
        let all = all.fold(0, u64::saturating_add);
        all.saturating_sub(weigh(scale, &self.restored))
    }
}

impl Choice<'_> {
    /// Returns the useful ones of as many groups as the caps allow, and the key of the cap that ended
    /// the choice.
    fn within_caps(&self) -> (Chosen, Option<&'static str>) {
        let mut above = self.unmet.len();
        let all = self.useful(above);
        let Some(mut cap) = self.exceeded(&all) else {
            return (all, None);
        };
        // With each further group the useful ones only become more.
        let mut within = self.useful(0);
        while above - within.n > 1 {
            let middle = self.useful(within.n.midpoint(above));
            if let Some(exceeded) = self.exceeded(&middle) {
                (above, cap) = (middle.n, exceeded);
            } else {
                within = middle;
            }
        }
        (within, Some(cap))
    }

    /// Returns the key of the cap that these exceed.
    fn exceeded(&self, chosen: &Chosen) -> Option<&'static str> {
        let (max_images, max_bytes) = (self.images.max_images, self.images.max_bytes);
        if max_images.is_some_and(|max| chosen.n_useful > max) {
            Some("max_images")
        } else if max_bytes.is_some_and(|max| chosen.weigh(self.bytes, self.adds) > max) {
            Some("max_bytes")
        } else {
            None
        }
    }

    /// Leaves out of the first `n` groups, from the most recently used on, those that free nothing
    /// towards a goal that the groups before them have not met.
    fn useful(&self, n: usize) -> Chosen {
        let going = &self.groups[..n];
        let all = all_of(going);
        let mut chosen = Chosen {
            n,
            n_useful: 0,
            going: Going::default(),
            restored: Vec::new(),
        };
        if self.images.goals.is_none() {
            chosen.n_useful = going.iter().map(|group| group.digests.len()).sum();
            chosen.going = all;
            return chosen;
        }
        let mut marker = Marker::new(self.graph).without(&all);
        marker.extend_from_holders(self.now);
        marker.extend_from_images(self.now);
        for (group, unmet) in going.iter().zip(self.unmet).rev() {
            let would_keep = marker.would_restore(&group.going, self.now);
            let mut goals = unmet.iter().zip(self.scales);
            let is_useless = goals.all(|(unmet, scale)| !unmet || weigh(scale, &would_keep) == 0);
            if is_useless && !group.is_idle {
                marker.restore(&group.going, self.now);
                chosen.restored.extend(would_keep);
            } else {
                chosen.n_useful += group.digests.len();
                chosen.going.extend(&group.going);
            }
        }
        chosen
    }
}

/// Returns those of the cuts that are among what goes.
fn cuts_of(graph: &Graph<'_>, cuts: &[Cut], going: &Going) -> Vec<Cut> {
    let going: BTreeSet<Edge> = going.references.iter().copied().collect();
    let goes = |cut: &&Cut| {
        let edges = references(graph, [*cut]);
        edges.iter().any(|edge| going.contains(edge))
    };
    cuts.iter().filter(goes).cloned().collect()
}

/// Sets the cap as the reason of what it left out.
fn note_cap(kept: &mut [Kept], digests: &BTreeSet<&Digest>, cap: String) {
    let cap = Holder::new(HolderKind::Rule, cap);
    for kept in kept {
        if kept.reason == KeepReason::NotNeeded && digests.contains(&kept.target) {
            kept.reason = KeepReason::Capped;
            kept.holders = vec![cap.clone()];
        }
    }
}
