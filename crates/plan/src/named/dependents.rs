//! What goes along when a name is removed: the images that containerd keeps only as long as that one.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reclaim_model::{
    Conflict, ConflictCause, Digest, Holder, HolderKind, KeepReason, NamedRemoval, NotRemoved,
    RemoveReason, familiar_name,
};

use super::lookup::{lookup, no_ids};
use super::{Removal, holders};
use crate::protected;
use crate::select::{Verdict, pinned_by};

impl Removal<'_, '_> {
    /// Whether removing some names of an image removes all that it has.
    pub(super) fn goes_whole(&self, names: &[usize], all: &[usize]) -> bool {
        names.len() == all.len() || {
            let lost = self.lost_with(names, None, self.facts.graph.observed_at);
            all.iter().all(|it| names.contains(it) || lost.contains(it))
        }
    }

    /// Returns the dependent images that go along with these records.
    ///
    /// # Errors
    ///
    /// The conflict with one that has to stay. One that expires later goes later, and stays for the
    /// same reasons.
    pub(super) fn dependents_of(
        &mut self,
        going: &[usize],
        replaced: Option<usize>,
    ) -> Result<Vec<usize>, NotRemoved> {
        let lost = self.lost_with(going, replaced, self.facts.graph.observed_at);
        let lost_later = self.lost_with(going, replaced, Timestamp::MAX);
        let all: BTreeSet<usize> = lost.union(&lost_later).copied().collect();
        for dependent in &all {
            if let Some((reason, conflict)) = self.must_stay(*dependent, going, &all, replaced) {
                let (kept_for, holders) = reason;
                self.spare(&[*dependent], kept_for, &holders);
                let name = &self.images[*dependent].name;
                let holder = BTreeSet::from([Holder::new(HolderKind::Image, name.clone())]);
                self.spare(going, KeepReason::DependentStays, &holder);
                return Err(NotRemoved::Conflict(conflict));
            }
        }
        Ok(lost.into_iter().collect())
    }

    /// Whether a dependent image would go along with these records, now or later.
    pub(super) fn has_dependents(&self, going: &[usize]) -> bool {
        !self.lost_with(going, None, Timestamp::MAX).is_empty()
            || !self
                .lost_with(going, None, self.facts.graph.observed_at)
                .is_empty()
    }

    /// Sets the reason of the records of an image that went with the names of the request.
    pub(super) fn mark_dependents(&mut self, names: &[usize], all: &[usize]) {
        for index in all.iter().filter(|it| !names.contains(it)) {
            if self.verdicts[*index] == Verdict::Remove(RemoveReason::Named) {
                self.verdicts[*index] = Verdict::Remove(RemoveReason::Dependent);
            }
        }
    }

    /// Removes dependent images along with `going`, in addition to what a removal has so far.
    pub(super) fn remove_dependents(
        &mut self,
        dependents: &[usize],
        going: &[usize],
        removal: &mut NamedRemoval,
    ) {
        for index in dependents {
            let image = &self.images[*index];
            removal.records.push(image.name.clone());
            if !image.is_dangling() {
                removal.untagged.push(familiar_name(&image.name));
            }
            self.verdicts[*index] = Verdict::Remove(RemoveReason::Dependent);
        }
        let digest = |index: &usize| &self.images[*index].target.digest;
        let mut others: BTreeSet<&Digest> = dependents.iter().map(digest).collect();
        let stays = |index: &usize| !self.verdicts[*index].is_removal();
        let stays = (0..self.images.len()).filter(stays);
        for index in stays.chain(going.iter().copied()) {
            others.remove(digest(&index));
        }
        removal.deleted.extend(others.into_iter().cloned());
    }

    /// Whether a text names an image that went along with one that the request names before it.
    pub(super) fn went_along(&self, text: &str) -> bool {
        let dependent = Verdict::Remove(RemoveReason::Dependent);
        let found = lookup(
            self.images,
            |it| self.verdicts[it] == dependent,
            no_ids,
            text,
        );
        found.is_ok_and(|found| found.record.is_some())
    }

    /// Returns the dependent images that are lost with these records and what went before.
    fn lost_with(
        &self,
        going: &[usize],
        replaced: Option<usize>,
        now: Timestamp,
    ) -> BTreeSet<usize> {
        let Some(dependents) = &self.dependents else {
            return BTreeSet::new();
        };
        let is_replaced = |it: &usize| {
            replaced == Some(*it) || self.verdicts[*it] == Verdict::Remove(RemoveReason::Replaced)
        };
        let removed = (0..self.images.len()).filter(|it| self.verdicts[*it].is_removal());
        let removed: BTreeSet<usize> = removed.chain(going.iter().copied()).collect();
        let replaced: Vec<usize> = removed.iter().copied().filter(is_replaced).collect();
        dependents.lost(&removed, &replaced, now)
    }

    /// Returns why a dependent image has to stay, as the reason and the conflict.
    fn must_stay(
        &self,
        dependent: usize,
        going: &[usize],
        dependents: &BTreeSet<usize>,
        replaced: Option<usize>,
    ) -> Option<((KeepReason, BTreeSet<Holder>), Conflict)> {
        let image = &self.images[dependent];
        let conflict = |can_be_forced, cause| Conflict {
            image: familiar_name(&image.name),
            can_be_forced,
            cause,
        };
        if let Some(pin) = image.pin().filter(|_| !self.request.force) {
            let reason = (KeepReason::Pinned, pinned_by(pin));
            return Some((reason, conflict(true, ConflictCause::Pinned)));
        }
        if let Some(rule) = protected::keeps(self.facts, dependent) {
            let cause = ConflictCause::Other(format!("image is protected by {rule}"));
            let reason = (KeepReason::Protected, BTreeSet::from([rule]));
            return Some((reason, conflict(false, cause)));
        }
        let digest = &image.target.digest;
        let is_replaced = |it: usize| self.images[it].target.digest == *digest;
        let lasts = |(index, other): (usize, &reclaim_model::ImageRecord)| {
            let goes = going.contains(&index) || dependents.contains(&index);
            let goes = goes || self.verdicts[index].is_removal();
            !goes && other.expires.is_none() && other.target.digest == *digest
        };
        if replaced.is_some_and(is_replaced) || self.images.iter().enumerate().any(lasts) {
            return None;
        }
        let users = self.users(&[dependent]);
        let user = users.first()?;
        let reason = (KeepReason::InUse, holders(&users));
        Some((reason, conflict(false, user.cause())))
    }
}
