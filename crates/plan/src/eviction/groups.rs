//! What goes or stays together, in the eviction order.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use reclaim_model::{Cut, Digest, Plan, RuleImages};

use crate::cuts::references;
use crate::dependents::joined;
use crate::graph::{Graph, Node};
use crate::mark::Going;
use crate::rule::{Times, is_seen_twice};

/// What goes or stays together: the records of one target, or the parts that they lose.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) times: Times,
    pub(super) name: String,
    pub(super) digests: Vec<Digest>,
    /// The blobs that lose references.
    blobs: BTreeSet<Digest>,
    pub(super) going: Going,
    pub(super) is_idle: bool,
}

/// Groups what goes by target, least recently used first.
pub(super) fn groups(graph: &Graph<'_>, plan: &Plan, images: &RuleImages) -> Vec<Group> {
    let records = &graph.namespace.images;
    let mut cuts: BTreeMap<&Digest, Vec<&Cut>> = BTreeMap::new();
    for cut in &plan.cuts {
        cuts.entry(&cut.blob).or_default().push(cut);
    }
    let mut members: BTreeMap<&Digest, Vec<usize>> = BTreeMap::new();
    let mut blobs: BTreeMap<&Digest, BTreeSet<Digest>> = BTreeMap::new();
    let steps = plan.steps.iter().map(|step| &step.image.name);
    let slimmed = plan.slimmed.iter().map(|slimmed| &slimmed.name);
    for name in steps.chain(slimmed) {
        if let Some(Node::Image(index)) = graph.find_image(name).map(|id| graph.node(id)) {
            let digest = &records[index].target.digest;
            members.entry(digest).or_default().push(index);
        }
    }
    for slimmed in &plan.slimmed {
        let of_target = blobs.entry(&slimmed.target).or_default();
        of_target.extend(slimmed.parts.values().flatten().cloned());
    }
    let of_images: BTreeSet<Digest> = blobs.values().flatten().cloned().collect();
    let mut groups: Vec<Group> = Vec::new();
    for (digest, indexes) in members {
        let mut group = Group::of(digest, &indexes, images, graph);
        match blobs.remove(digest) {
            Some(blobs) => group.blobs = blobs,
            None => group.going.images = indexes,
        }
        groups.push(group);
    }
    // What no image has: build history, whose use is unknown.
    let without_image = cuts.keys().filter(|blob| !of_images.contains(blob));
    groups.extend(without_image.map(|blob| Group {
        times: Times {
            used: images.uses.now,
            pulled: graph.observed_at,
        },
        name: blob.to_string(),
        digests: Vec::new(),
        blobs: BTreeSet::from([(*blob).clone()]),
        going: Going::default(),
        is_idle: false,
    }));
    let mut groups = join(graph, groups);
    for group in &mut groups {
        let cuts = group.blobs.iter().filter_map(|blob| cuts.get(blob));
        group.going.references = references(graph, cuts.flatten().copied());
    }
    groups.sort_by(|a, b| (a.times, &a.name).cmp(&(b.times, &b.name)));
    groups
}

/// Joins groups that go or stay together: those whose images do, and those that lose references of the
/// same blob.
fn join(graph: &Graph<'_>, groups: Vec<Group>) -> Vec<Group> {
    let images: Vec<&[usize]> = groups.iter().map(|group| &*group.going.images).collect();
    let joined_to = joined(graph, &images);
    let joined_to = joined_by_blob(joined_to, &groups);
    let mut joined: BTreeMap<usize, Group> = BTreeMap::new();
    for (group, first) in groups.into_iter().zip(joined_to) {
        match joined.entry(first) {
            Entry::Vacant(entry) => drop(entry.insert(group)),
            Entry::Occupied(mut entry) => entry.get_mut().join(group),
        }
    }
    joined.into_values().collect()
}

/// Joins groups that have a blob in common. Takes and returns for each group the first one with which it
/// belongs together.
fn joined_by_blob(mut first: Vec<usize>, groups: &[Group]) -> Vec<usize> {
    fn root(first: &[usize], mut at: usize) -> usize {
        while first[at] != at {
            at = first[at];
        }
        at
    }
    let mut of_blob: BTreeMap<&Digest, usize> = BTreeMap::new();
    for (at, group) in groups.iter().enumerate() {
        for blob in &group.blobs {
            let other = *of_blob.entry(blob).or_insert(at);
            let (one, other) = (root(&first, at), root(&first, other));
            first[one.max(other)] = one.min(other);
        }
    }
    (0..first.len()).map(|at| root(&first, at)).collect()
}

impl Group {
    /// Returns the group of a target, by the indexes of its images. Nothing of it goes yet.
    fn of(digest: &Digest, indexes: &[usize], images: &RuleImages, graph: &Graph<'_>) -> Self {
        let max_unused = images.max_unused;
        let max_unused =
            max_unused.map(|it| SignedDuration::try_from(it).unwrap_or(SignedDuration::MAX));
        let records = || indexes.iter().map(|index| &graph.namespace.images[*index]);
        let times = Times::of(digest, records(), &images.uses, graph.observed_at);
        let names = records().map(|image| image.name.clone());
        Self {
            times,
            name: names.max().unwrap_or_default(),
            digests: vec![digest.clone()],
            is_idle: max_unused.is_some_and(|max| {
                let uses = &images.uses;
                uses.now.duration_since(times.used) >= max && is_seen_twice(digest, uses, max)
            }),
            blobs: BTreeSet::new(),
            going: Going::default(),
        }
    }

    /// Adds a group, which makes this one as recently used and pulled as the later of both.
    fn join(&mut self, other: Self) {
        self.times.used = self.times.used.max(other.times.used);
        self.times.pulled = self.times.pulled.max(other.times.pulled);
        if other.name > self.name {
            self.name = other.name;
        }
        self.digests.extend(other.digests);
        self.blobs.extend(other.blobs);
        self.going.extend(&other.going);
        self.is_idle &= other.is_idle;
    }
}

/// Returns what goes with all of these.
pub(super) fn all_of(groups: &[Group]) -> Going {
    let mut all = Going::default();
    for group in groups {
        all.extend(&group.going);
    }
    all
}
