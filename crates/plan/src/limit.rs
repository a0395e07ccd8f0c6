//! Cutting a plan down to the images that free the requested bytes.
//!
//! # The rule
//!
//! The records of one target go or stay together: its bytes go with the last of them, and a CRI
//! image must not lose some of its names. So do targets of which one leads to a dependent image of
//! the other (see [`dependents`](crate::dependents)). Targets go oldest first, by their youngest record (when
//! it was created, then its name; an unknown age is the youngest), until enough is free. Then,
//! from the youngest to the oldest of those, each that is not needed is left out: an old image
//! that frees little may not be, once a younger one frees much. The rest cannot lose a member
//! and still free enough. Another choice might need fewer bytes or images: age comes first.
//!
//! # Why it is exact
//!
//! What a set of images frees is not a sum over them, since they share layers. Restoring images
//! to a marker one by one shows what each adds to those that are already there, so that every
//! step of the choice knows the bytes of its whole set. What a gap of the inventory may keep
//! counts as nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use reclaim_model::{
    Cut, Digest, Filesystem, Freed, Inventory, KeepReason, Kept, Part, Plan, SnapshotId, Step,
};

use crate::cuts::useful;
use crate::dependents::joined;
use crate::freed::{Difference, difference, difference_by_cuts};
use crate::graph::{Graph, NodeId};
use crate::leased::is_spare;
use crate::mark::{Going, Marker};
use crate::roles::Roles;
use crate::things::Things;

/// The error of a plan that as a whole frees less than the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLittle {
    /// What it frees for certain, in bytes.
    pub available: u64,
}

/// The records of one target and those with which it goes or stays, by index of the image.
#[derive(Debug, Default)]
struct Group {
    age: (bool, Option<Timestamp>, String),
    going: Going,
}

/// Removes from `plan` what is not needed to free `target` bytes on `filesystem`; without it, all
/// content and snapshots count.
///
/// # Errors
///
/// [`TooLittle`] if the whole plan does not free that much.
pub fn limit(
    plan: Plan,
    inventory: &Inventory,
    target: u64,
    filesystem: Option<&Filesystem>,
) -> Result<Plan, TooLittle> {
    let available = filesystem.map_or_else(
        || plan.at_least().total_bytes(),
        |filesystem| {
            let bytes = |things: &Freed| filesystem.bytes_of(things, 1);
            bytes(&plan.freed).saturating_sub(bytes(&plan.not_counted.doubtful))
        },
    );
    if available < target {
        return Err(TooLittle { available });
    }
    let Some(namespace) = inventory.namespaces.get(&plan.namespace) else {
        return Ok(plan);
    };
    let graph = Graph::new(namespace, inventory);
    let weights = certain_bytes(&graph, &plan, filesystem);
    let groups = groups(&graph, &plan.steps);
    let chosen = choose(&graph, &weights, &groups, target, inventory.observed_at);
    Ok(cut(plan, inventory, &graph, &chosen))
}

/// Returns the bytes that each node frees for certain on the filesystem once nothing keeps it.
fn certain_bytes(graph: &Graph<'_>, plan: &Plan, filesystem: Option<&Filesystem>) -> Vec<u64> {
    let mut weights = vec![0; graph.len()];
    let has_content = filesystem.is_none_or(|it| it.has_content);
    let has =
        |id: &SnapshotId| filesystem.is_none_or(|it| it.snapshotters.contains(&id.snapshotter));
    let mut enter = |things: &Freed, is_certain: bool| {
        let blobs = graph.sorted_blobs(&things.blobs).filter(|_| has_content);
        let blobs = blobs.map(|(id, blob)| (id, blob.bytes));
        let snapshots = graph.sorted_snapshots(&things.snapshots, |it| &it.id);
        let snapshots = snapshots.filter(|(_, it)| has(&it.id));
        let snapshots = snapshots.map(|(id, it)| (id, it.bytes.unwrap_or(0)));
        for (id, bytes) in blobs.chain(snapshots) {
            weights[id as usize] = if is_certain { bytes } else { 0 };
        }
    };
    enter(&plan.freed, true);
    enter(&plan.not_counted.doubtful, false);
    weights
}

/// Groups the steps by target, oldest first.
fn groups(graph: &Graph<'_>, steps: &[Step]) -> Vec<Group> {
    let indexes = indexes(graph, steps);
    let mut members: Vec<_> = steps.iter().zip(indexes).collect();
    members.sort_by_key(|(step, _)| &step.image.target.digest);
    let same = members.chunk_by(|(a, _), (b, _)| a.image.target.digest == b.image.target.digest);
    let groups = same.map(|steps| {
        let ages = steps.iter().map(|(step, _)| {
            let created = step.image.created_at;
            (created.is_none(), created, step.image.name.clone())
        });
        let images = steps.iter().filter_map(|(_, index)| *index);
        Group {
            age: ages.max().unwrap_or_default(),
            going: Going::images(images.collect()),
        }
    });
    let mut groups = join(graph, groups.collect());
    groups.sort_by(|a, b| a.age.cmp(&b.age));
    groups
}

/// Returns the index of the image of each step. Both are sorted by name.
fn indexes(graph: &Graph<'_>, steps: &[Step]) -> Vec<Option<usize>> {
    let mut images = graph.namespace.images.iter().enumerate().peekable();
    let indexes = steps.iter().map(|step| {
        let name = &step.image.name;
        while images.next_if(|(_, image)| image.name < *name).is_some() {}
        let found = images.next_if(|(_, image)| image.name == *name);
        found.map(|(index, _)| index)
    });
    indexes.collect()
}

/// Joins groups that go or stay together.
fn join(graph: &Graph<'_>, groups: Vec<Group>) -> Vec<Group> {
    let images: Vec<&[usize]> = groups.iter().map(|group| &*group.going.images).collect();
    let joined_to = joined(graph, &images);
    let mut joined: BTreeMap<usize, Group> = BTreeMap::new();
    for (group, first) in groups.into_iter().zip(joined_to) {
        let whole = joined.entry(first).or_default();
        whole.going.extend(&group.going);
        whole.age = group.age.max(std::mem::take(&mut whole.age));
    }
    joined.into_values().collect()
}

/// Chooses groups by the rule above and returns the images of those that go, ascending.
fn choose(
    graph: &Graph<'_>,
    weights: &[u64],
    groups: &[Group],
    target: u64,
    now: Timestamp,
) -> Vec<usize> {
    let mut marker = Marker::new(graph).without(&all_of(groups));
    marker.extend_from_holders(now);
    marker.extend_from_images(now);
    // From the youngest on, what each adds is what removing it frees when all older ones are gone.
    let mut adds: Vec<u64> = groups
        .iter()
        .rev()
        .map(|group| bytes_of(weights, &marker.restored(&group.going, now)))
        .collect();
    adds.reverse();
    let mut freed = 0_u64;
    let enough = adds.iter().position(|bytes| {
        freed += bytes;
        freed >= target
    });
    let oldest = &groups[..enough.map_or(groups.len(), |at| at + 1)];

    let mut marker = Marker::new(graph).without(&all_of(oldest));
    marker.extend_from_holders(now);
    marker.extend_from_images(now);
    let mut chosen = Vec::new();
    for group in oldest.iter().rev() {
        let would_keep = marker.would_restore(&group.going, now);
        let without = freed - bytes_of(weights, &would_keep);
        if without >= target {
            freed = without;
            marker.restore(&group.going, now);
        } else {
            chosen.extend(&group.going.images);
        }
    }
    chosen.sort_unstable();
    chosen
}

fn all_of(groups: &[Group]) -> Going {
    let mut all = Going::default();
    for group in groups {
        all.extend(&group.going);
    }
    all
}

fn bytes_of(weights: &[u64], nodes: &[NodeId]) -> u64 {
    nodes.iter().map(|id| weights[*id as usize]).sum()
}

/// Reduces the plan to the steps of these images and to what they free.
pub(crate) fn cut(plan: Plan, inventory: &Inventory, graph: &Graph<'_>, chosen: &[usize]) -> Plan {
    let roles = Roles::new(graph.namespace, &[]);
    let is_spare = |holding: &_| is_spare(holding, &roles);
    let difference = difference(inventory, &plan.namespace, graph, chosen, is_spare);
    let mut plan = plan;
    let mut goes = vec![false; graph.namespace.images.len()];
    for index in chosen {
        goes[*index] = true;
    }
    let indexes = indexes(graph, &plan.steps).into_iter();
    let mut goes = indexes.map(|index| index.is_some_and(|index| goes[index]));
    let spared = plan.steps.extract_if(.., |_| goes.next() != Some(true));
    plan.kept.extend(spared.map(|step| Kept {
        name: step.image.name,
        target: step.image.target.digest,
        reason: KeepReason::NotNeeded,
        holders: Vec::new(),
    }));
    plan.kept.sort_by(|a, b| a.name.cmp(&b.name));
    retain_freed(&mut plan, &difference);
    let leased = &mut plan.not_counted.leased;
    let spare = Things::of(graph, &difference.spare);
    retain(&mut leased.things, &spare);
    for holding in &mut leased.leases {
        retain(&mut holding.things, &spare);
    }
    leased.leases.retain(|it| it.things != Freed::default());
    plan
}

/// Reduces the plan to these of its cuts and to what they free.
pub(crate) fn cut_parts(
    plan: Plan,
    inventory: &Inventory,
    graph: &Graph<'_>,
    cuts: Vec<Cut>,
) -> Plan {
    let mut plan = plan;
    plan.cuts = useful(inventory, graph, cuts);
    let difference = difference_by_cuts(inventory, &plan.namespace, graph, &plan.cuts);
    retain_freed(&mut plan, &difference);
    let cut: BTreeSet<(Part, &Digest)> =
        plan.cuts.iter().map(|cut| (cut.part, &cut.blob)).collect();
    let mut spared = Vec::new();
    for slimmed in &mut plan.slimmed {
        slimmed.parts.retain(|part, blobs| {
            blobs.retain(|blob| cut.contains(&(*part, blob)));
            !blobs.is_empty()
        });
        if slimmed.parts.is_empty() {
            spared.push(Kept {
                name: slimmed.name.clone(),
                target: slimmed.target.clone(),
                reason: KeepReason::NotNeeded,
                holders: Vec::new(),
            });
        }
    }
    plan.slimmed.retain(|slimmed| !slimmed.parts.is_empty());
    plan.kept.append(&mut spared);
    plan.kept.sort_by(|a, b| a.name.cmp(&b.name));
    plan
}

fn retain_freed(plan: &mut Plan, difference: &Difference) {
    retain(&mut plan.freed, &difference.freed);
    retain(&mut plan.not_counted.doubtful, &difference.uncertain);
    let kept_elsewhere = difference.kept_elsewhere.clone();
    plan.not_counted.kept_elsewhere = Freed::new(kept_elsewhere, Vec::new());
}

/// Reduces what was measured to `things`.
fn retain(measured: &mut Freed, things: &Things) {
    // All of these lists are sorted.
    let mut blobs = things.blobs.iter().map(|blob| &blob.digest).peekable();
    measured.blobs.retain(|blob| {
        while blobs.next_if(|it| **it < blob.digest).is_some() {}
        blobs.peek() == Some(&&blob.digest)
    });
    let mut snapshots = things.snapshots.iter().peekable();
    measured.snapshots.retain(|snapshot| {
        let is_same = |it: &SnapshotId| {
            Arc::ptr_eq(&it.key, &snapshot.id.key) && it.snapshotter == snapshot.id.snapshotter
        };
        while snapshots
            .next_if(|it| !is_same(it) && **it < snapshot.id)
            .is_some()
        {}
        snapshots
            .peek()
            .is_some_and(|it| is_same(it) || **it == snapshot.id)
    });
}
