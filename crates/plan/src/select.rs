//! Which images go: Docker's selection, with the differences that keep what is in use.
//!
//! The rules look for a reason to keep. They run in the order of [`KeepReason`]; the first that
//! matches is the verdict. Most of them look at one record; a user of a *target* needs only one
//! of its records, so the best-named one of those left is kept for it and the others may go.
//!
//! Source: Docker's image pruner for containerd; `docs/differences-from-docker.md` lists where
//! and why Reclaim differs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reclaim_model::{
    Holder, HolderKind, ImageRecord, KeepReason, LabelFilter, NamespaceInventory, Pin,
    PruneFilters, Reference, RemoveReason,
};

use crate::contents::ImageContents;
use crate::dependents::keep_for_dependents;
use crate::facts::Facts;
use crate::names::Names;
use crate::parallel::in_parts;
use crate::protected::keep_protected;

/// What is to happen to one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Remove(RemoveReason),
    Keep(KeepReason, BTreeSet<Holder>),
}

impl Verdict {
    fn keep(reason: KeepReason) -> Self {
        Self::Keep(reason, BTreeSet::new())
    }

    pub(crate) fn is_removal(&self) -> bool {
        matches!(self, Self::Remove(_))
    }
}

/// Evaluates every image of a namespace; the verdicts are in the order of its images.
pub(crate) fn select(facts: &Facts<'_>, filters: &PruneFilters) -> Vec<Verdict> {
    let Facts {
        graph,
        targets,
        usage,
        names,
        ..
    } = facts;
    let images = &graph.namespace.images;
    let parts = in_parts(images.len(), |part| {
        let verdicts = part.map(|index| evaluate(facts, index, filters));
        verdicts.collect::<Vec<Verdict>>()
    });
    let mut verdicts: Vec<Verdict> = parts.into_iter().flatten().collect();
    for (id, target) in targets.iter() {
        let group = &target.images;
        if let Some(holders) = usage.targets.get(&id) {
            keep_for_users(group, images, names, holders, &mut verdicts);
        }
        let mut is_named = group.iter().map(|image| usage.records.contains_key(image));
        if usage.targets.contains_key(&id) || is_named.any(|it| it) {
            mark_duplicates(group, &mut verdicts);
        }
        let holders = usage.possible(graph, &target.contents);
        if !holders.is_empty() {
            keep_for_possible_users(group, &holders, &mut verdicts);
        }
        keep_protected(facts, group, &mut verdicts);
        keep_cri_group_whole(group, images, &mut verdicts);
    }
    keep_for_dependents(facts, &mut verdicts);
    verdicts
}

/// Evaluates every image as a prune of dangling images does.
pub(crate) fn select_dangling(facts: &Facts<'_>) -> Vec<Verdict> {
    select(facts, &PruneFilters::default())
}

/// Evaluates every image as a prune of all unused images does.
pub(crate) fn select_unused(facts: &Facts<'_>) -> Vec<Verdict> {
    let filters = PruneFilters {
        dangling: Some(false),
        ..PruneFilters::default()
    };
    select(facts, &filters)
}

/// Evaluates a record by itself, by its index.
fn evaluate(facts: &Facts<'_>, index: usize, filters: &PruneFilters) -> Verdict {
    let namespace = facts.graph.namespace;
    let image = &namespace.images[index];
    let contents = &facts.targets.of_image(index).contents;
    let is_dangling = facts.names.is_dangling(index);
    if filters.dangling_only() && !is_dangling {
        return Verdict::keep(KeepReason::NotDangling);
    }
    let is_old_enough = image.created_at.map_or(filters.until.is_none(), |created| {
        filters.is_old_enough(created)
    });
    if !is_old_enough {
        return Verdict::keep(KeepReason::TooRecent);
    }
    if !matches_labels(contents, &filters.labels, facts.label_keys) {
        return Verdict::keep(KeepReason::LabelFilter);
    }
    if let Some(pin) = image.pin() {
        return Verdict::Keep(KeepReason::Pinned, pinned_by(pin));
    }
    if is_unreadable(contents, namespace) {
        return Verdict::keep(KeepReason::Unreadable);
    }
    if let Some(holders) = facts.usage.records.get(&index) {
        return Verdict::Keep(KeepReason::InUse, holders.clone());
    }
    if !image.is_holdable() {
        return Verdict::keep(KeepReason::Unholdable);
    }
    Verdict::Remove(if contents.defect.is_some() {
        RemoveReason::Torn
    } else if is_dangling {
        RemoveReason::Dangling
    } else {
        RemoveReason::Unused
    })
}

/// Whether an image is kept because it cannot be read. A torn one is not, unless its unreadable part
/// may be what an unlisted container was created from.
pub(crate) fn is_unreadable(contents: &ImageContents<'_>, namespace: &NamespaceInventory) -> bool {
    contents
        .defect
        .is_some_and(|defect| !defect.is_torn() || namespace.has_unlisted_containers)
}

/// Returns the pin as a holder.
pub(crate) fn pinned_by(pin: Pin) -> BTreeSet<Holder> {
    BTreeSet::from([Holder::new(HolderKind::Label, pin.label())])
}

/// Whether the label filters select the image.
///
/// All conditions must hold on one and the same configuration, and no other platform that is
/// present may carry what a negated condition protects. An image without a configuration, or with
/// an unreadable part, is not selected.
fn matches_labels(
    contents: &ImageContents<'_>,
    filters: &[LabelFilter],
    label_keys: &BTreeSet<String>,
) -> bool {
    if filters.is_empty() {
        return true;
    }
    let configs = &contents.configs;
    let is_spared = configs.iter().any(|config| {
        let mut negated = filters.iter().filter(|filter| filter.negated);
        negated.any(|filter| {
            !filter.matches(&config.labels) || config.may_have(&filter.key, label_keys)
        })
    });
    let is_meant = configs
        .iter()
        .any(|config| LabelFilter::all_match(filters, &config.labels));
    is_meant && !is_spared && contents.defect.is_none()
}

/// How well a record keeps an image that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    /// It expires at that time, and its content with it: the later, the better.
    Fleeting(Timestamp),
    /// Not a name, or one that a tool made up.
    Dangling,
    /// A name by which Docker does not find it, or finds it only by its digest. The CRI plugin's
    /// `sha256:<config>` is one, though it reads like a tag.
    Other,
    /// A tag in full.
    Tag,
}

impl Fitness {
    fn of(index: usize, images: &[ImageRecord], names: &Names) -> Self {
        let image = &images[index];
        let is_tag = || {
            Reference::parse_normalized(&image.name).is_ok_and(|reference| {
                reference.tag().is_some() && reference.to_string() == image.name
            })
        };
        if let Some(expires) = image.expires {
            Self::Fleeting(expires)
        } else if !names.is_name(index) {
            Self::Dangling
        } else if is_tag() {
            Self::Tag
        } else {
            Self::Other
        }
    }
}

/// Returns the record that keeps an image best: among equals the last by name.
pub(crate) fn best<'i>(
    group: impl Iterator<Item = &'i usize>,
    images: &[ImageRecord],
    names: &Names,
) -> Option<usize> {
    let best = group.max_by_key(|index| (Fitness::of(**index, images, names), **index));
    best.copied()
}

/// Keeps a record for a target that is in use: one that stays anyway, if it is as fit as any,
/// or else the fittest; among equals the last by name, as Docker does.
fn keep_for_users(
    group: &[usize],
    images: &[ImageRecord],
    names: &Names,
    holders: &BTreeSet<Holder>,
    verdicts: &mut [Verdict],
) {
    let fitness = |index: &usize| Fitness::of(*index, images, names);
    let is_removal = |index: &&usize| verdicts[**index].is_removal();
    let Some(fittest) = best(group.iter().filter(is_removal), images, names) else {
        return;
    };
    let kept = group.iter().filter(|it| !is_removal(it));
    if kept
        .map(fitness)
        .max()
        .is_none_or(|kept| kept < fitness(&fittest))
    {
        verdicts[fittest] = Verdict::Keep(KeepReason::InUse, holders.clone());
    }
}

/// Sets the reason of the records that go though their content is in use.
fn mark_duplicates(group: &[usize], verdicts: &mut [Verdict]) {
    for index in group {
        if verdicts[*index].is_removal() {
            verdicts[*index] = Verdict::Remove(RemoveReason::Duplicate);
        }
    }
}

/// Keeps the remaining records, because something unseen may use them.
fn keep_for_possible_users(group: &[usize], holders: &BTreeSet<Holder>, verdicts: &mut [Verdict]) {
    for index in group {
        if verdicts[*index].is_removal() {
            verdicts[*index] = Verdict::Keep(KeepReason::UsageUnknown, holders.clone());
        }
    }
}

/// Keeps all records of a CRI image if one of them stays: the CRI plugin treats tag, digest and
/// ID as one image, and fails if some of them are gone.
pub(crate) fn keep_cri_group_whole(
    group: &[usize],
    images: &[ImageRecord],
    verdicts: &mut [Verdict],
) {
    let managed = || {
        group
            .iter()
            .filter(|index| images[**index].is_cri_managed())
    };
    let Some(kept) = managed().find(|index| !verdicts[**index].is_removal()) else {
        return;
    };
    let holder = Holder::new(HolderKind::Image, images[*kept].name.clone());
    for index in managed() {
        if verdicts[*index].is_removal() {
            let holders = BTreeSet::from([holder.clone()]);
            verdicts[*index] = Verdict::Keep(KeepReason::CriGroup, holders);
        }
    }
}
