//! Which images go: Docker's selection, with the differences that keep what is in use.
//!
//! We look for a reason to keep. The rules run in the order of [`KeepReason`]; the first that
//! matches is the verdict. What none of them keeps is a candidate, and of each target that is
//! in use the best-named candidate is then kept for it.
//!
//! Source: Docker's image pruner for containerd; `docs/differences-from-docker.md` lists where
//! and why we differ.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Digest, Holder, HolderKind, ImageRecord, KeepReason, LabelFilter, NamespaceInventory,
    PruneFilters, Reference, RemoveReason,
};

use crate::anatomy::Anatomy;
use crate::usage::{Anatomies, Usage};

/// The judgement on one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Remove(RemoveReason),
    Keep(KeepReason, BTreeSet<Holder>),
}

impl Verdict {
    fn keep(reason: KeepReason) -> Self {
        Self::Keep(reason, BTreeSet::new())
    }

    fn is_removal(&self) -> bool {
        matches!(self, Self::Remove(_))
    }
}

/// Judges every image of a namespace; the verdicts are in the order of its images.
pub(crate) fn select(
    namespace: &NamespaceInventory,
    anatomies: &Anatomies<'_>,
    usage: &Usage<'_>,
    filters: &PruneFilters,
) -> Vec<Verdict> {
    let images = &namespace.images;
    let judged = images.iter().enumerate().map(|(index, image)| {
        let anatomy = &anatomies[&image.target.digest];
        judge(index, image, anatomy, usage, filters)
    });
    let mut verdicts: Vec<Verdict> = judged.collect();
    let groups = group_by_target(images);
    for (target, holders) in &usage.targets {
        if let Some(group) = groups.get(target) {
            keep_for_users(group, images, holders, &mut verdicts);
        }
    }
    for group in groups.values() {
        keep_cri_groups_whole(group, images, &mut verdicts);
    }
    verdicts
}

fn judge(
    index: usize,
    image: &ImageRecord,
    anatomy: &Anatomy<'_>,
    usage: &Usage<'_>,
    filters: &PruneFilters,
) -> Verdict {
    let is_dangling = image.is_dangling();
    if filters.dangling_only() && !is_dangling {
        return Verdict::keep(KeepReason::NotDangling);
    }
    let is_old_enough = image.created_at.map_or(filters.until.is_none(), |created| {
        filters.is_old_enough(created)
    });
    if !is_old_enough {
        return Verdict::keep(KeepReason::TooRecent);
    }
    if image.is_pinned() {
        return Verdict::keep(KeepReason::Pinned);
    }
    if anatomy.unreadable.is_some() {
        return Verdict::keep(KeepReason::Unreadable);
    }
    if !matches_labels(anatomy, &filters.labels) {
        return Verdict::keep(KeepReason::LabelFilter);
    }
    if let Some(holders) = usage.records.get(&index) {
        return Verdict::Keep(KeepReason::InUse, holders.clone());
    }
    if !usage.untraced.is_empty() {
        return Verdict::Keep(KeepReason::UsageUnknown, usage.untraced.clone());
    }
    if anatomy.is_incomplete && !usage.unexplained.is_empty() {
        return Verdict::Keep(KeepReason::UsageUnknown, usage.unexplained.clone());
    }
    Verdict::Remove(if is_dangling {
        RemoveReason::Dangling
    } else {
        RemoveReason::Unused
    })
}

/// Whether the labels of the image let it go.
///
/// All conditions must hold on one and the same configuration, and no other platform that is
/// present may carry what a negated condition protects. Without a configuration there is
/// nothing to compare, and the image stays.
fn matches_labels(anatomy: &Anatomy<'_>, filters: &[LabelFilter]) -> bool {
    if filters.is_empty() {
        return true;
    }
    let configs = &anatomy.configs;
    let is_spared = configs.iter().any(|config| {
        let mut negated = filters.iter().filter(|filter| filter.negated);
        negated.any(|filter| !filter.matches(&config.labels))
    });
    let is_meant = configs
        .iter()
        .any(|config| LabelFilter::all_match(filters, &config.labels));
    is_meant && !is_spared
}

fn group_by_target(images: &[ImageRecord]) -> BTreeMap<&Digest, Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        groups.entry(&image.target.digest).or_default().push(index);
    }
    groups
}

/// How good a name is for an image that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum NameRank {
    Dangling,
    Other,
    Tag,
}

impl NameRank {
    fn of(image: &ImageRecord) -> Self {
        let has_tag = Reference::parse_normalized(&image.name)
            .is_ok_and(|reference| reference.tag().is_some());
        if image.is_dangling() {
            Self::Dangling
        } else if has_tag {
            Self::Tag
        } else {
            Self::Other
        }
    }
}

/// Keeps a record for a target that is in use: one that stays anyway, if its name is as good
/// as any, or else the best-named candidate; among equals the last by name, as Docker does.
fn keep_for_users(
    group: &[usize],
    images: &[ImageRecord],
    holders: &BTreeSet<Holder>,
    verdicts: &mut [Verdict],
) {
    let rank = |index: &usize| (NameRank::of(&images[*index]), *index);
    let is_removal = |index: &&usize| verdicts[**index].is_removal();
    let best_candidate = group.iter().filter(is_removal).max_by_key(|it| rank(it));
    let kept = group.iter().filter(|it| !is_removal(it));
    let best_kept = kept.map(|it| rank(it).0).max();
    let Some(best) = best_candidate.copied() else {
        return;
    };
    if best_kept.is_none_or(|kept| kept < rank(&best).0) {
        verdicts[best] = Verdict::Keep(KeepReason::InUse, holders.clone());
    }
    for index in group {
        if verdicts[*index].is_removal() {
            verdicts[*index] = Verdict::Remove(RemoveReason::Duplicate);
        }
    }
}

/// Keeps all records of a CRI image if one of them stays: the CRI plugin takes tag, digest
/// and ID for one image, and is lost when some of them are gone.
fn keep_cri_groups_whole(group: &[usize], images: &[ImageRecord], verdicts: &mut [Verdict]) {
    let managed = || {
        group
            .iter()
            .filter(|index| images[**index].is_cri_managed())
    };
    let Some(kept) = managed().find(|index| !verdicts[**index].is_removal()) else {
        return;
    };
    let holder = Holder {
        kind: HolderKind::Image,
        id: images[*kept].name.clone(),
    };
    for index in managed() {
        if verdicts[*index].is_removal() {
            let holders = BTreeSet::from([holder.clone()]);
            verdicts[*index] = Verdict::Keep(KeepReason::CriGroup, holders);
        }
    }
}
