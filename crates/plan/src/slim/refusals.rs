//! Why an image must keep a part.

use std::collections::BTreeSet;

use reclaim_model::{HolderKind, HolderRole, KeepReason, RemoveReason};

use super::{Planner, Refusal, mirror};
use crate::last_copy::{has_repository, has_source};
use crate::protected;
use crate::select::Verdict;

impl Planner<'_, '_> {
    /// Returns why an image must keep what was unpacked of it.
    pub(super) fn needs_snapshots(&self, image: usize) -> Option<Refusal> {
        match &self.verdicts[image] {
            Verdict::Keep(reason, holders) => Some((*reason, holders.clone())),
            Verdict::Remove(RemoveReason::Torn) => Some((KeepReason::Unreadable, BTreeSet::new())),
            Verdict::Remove(RemoveReason::Duplicate) => {
                Some((KeepReason::InUse, self.facts.users_of(image)))
            }
            Verdict::Remove(_) => self.kept_by_rule(image),
        }
    }

    /// Returns the rule of a policy that keeps an image whole.
    fn kept_by_rule(&self, image: usize) -> Option<Refusal> {
        let is_used = !matches!(
            self.verdicts[image],
            Verdict::Remove(RemoveReason::Unused | RemoveReason::Dangling)
        );
        self.rule.as_ref()?.keeps(image, is_used)
    }

    /// Returns why no registry is known to have an image; `None` if one has it, or if the policy takes
    /// it nevertheless.
    fn is_last_copy(&self, image: usize) -> Option<Refusal> {
        match &self.rule {
            Some(rule) => rule.keeps_last_copy(image),
            None if has_source(self.facts, image) => None,
            None => Some((KeepReason::LastCopy, BTreeSet::new())),
        }
    }

    /// Refuses content of these images that could not be pulled again for any of them. Returns whether it
    /// could.
    ///
    /// A record without a repository is no loss while another one stays, but nothing can be pulled by it.
    pub(super) fn allows_content(&mut self, images: &[usize]) -> bool {
        let is_named = |image: &&usize| has_repository(self.facts, **image);
        let named: Vec<usize> = images.iter().filter(is_named).copied().collect();
        let pulled = if named.is_empty() { images } else { &named };
        let last = pulled.iter().map(|image| self.is_last_copy(*image));
        let Some(last) = last.collect::<Option<Vec<Refusal>>>() else {
            return true;
        };
        if let Some((reason, holders)) = last.first() {
            self.refuse(images, *reason, holders);
        }
        false
    }

    /// Returns why an image must keep its layers, even if it is unpacked.
    pub(super) fn needs_layers(&self, image: usize) -> Option<Refusal> {
        let needs_content = self.needs_content(image);
        if needs_content.is_none()
            && self.facts.graph.namespace.is_dockers
            && !self.request.docker_layers
        {
            return Some((KeepReason::DockerLayers, BTreeSet::new()));
        }
        needs_content.or_else(|| mirror::keeps(self.facts, self.request, image))
    }

    /// Returns why an image must keep content that its containers do not need.
    pub(super) fn needs_content(&self, image: usize) -> Option<Refusal> {
        match &self.verdicts[image] {
            Verdict::Remove(RemoveReason::Torn) => {
                return Some((KeepReason::Unreadable, BTreeSet::new()));
            }
            Verdict::Remove(_)
            | Verdict::Keep(
                KeepReason::InUse | KeepReason::CriGroup | KeepReason::DependentStays,
                _,
            ) => {}
            Verdict::Keep(reason, holders) => return Some((*reason, holders.clone())),
        }
        if let Some(refusal) = self.kept_by_rule(image) {
            return Some(refusal);
        }
        if let Some(rule) = protected::keeps(self.facts, image) {
            return Some((KeepReason::Protected, BTreeSet::from([rule])));
        }
        // A pull, push or build in progress; the lease of a container only keeps its snapshot.
        let mut leases = self.facts.users_of(image);
        leases.retain(|holder| {
            let role = self.roles.assigned(holder.clone()).role;
            let is_containers = matches!(
                role,
                Some(HolderRole::Container | HolderRole::StoppedContainer)
            );
            holder.kind == HolderKind::Lease && !is_containers
        });
        (!leases.is_empty()).then_some((KeepReason::InUse, leases))
    }
}
