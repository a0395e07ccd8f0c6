//! Where a run of a policy stands, and what follows from it. Pure: what was seen is passed in.
//!
//! [`Maintenance::run`](super::Maintenance::run) asks it between its steps.

use std::collections::BTreeSet;
use std::time::Duration;

use reclaim_model::{
    Filesystem, KeepReason, Mode, Namespace, PruneRequest, RefuseReason, Report, RuleImages,
};

use super::outcome::{Outcome, PolicyRun};
use super::pressure::{Occupied, goals};
use crate::policy::Policy;

/// A run that is under way: what it is for, what it found and did so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    /// The policy.
    pub(super) policy: &'a Policy,
    /// What was found and done.
    pub(super) run: &'a PolicyRun,
    /// The filesystems at the last look.
    pub(super) filesystems: &'a [Filesystem],
    /// What content and snapshots occupied then, where the policy needs it.
    pub(super) occupied: Option<Occupied>,
}

impl Standing<'_> {
    /// Whether no further namespace has to give anything.
    pub(super) fn is_over(&self) -> bool {
        let pressure = &self.policy.pressure;
        let is_relieved = pressure.is_any() && self.run.missing.is_empty();
        is_relieved && self.policy.max_unused.is_none()
            || self.images_left() == Some(0)
            || self.bytes_left() == Some(0)
    }

    /// Returns what is asked of the prune of the next namespace. `images` are those that the
    /// policy lets go there, without any pressure.
    pub(super) fn request(&self, namespace: &Namespace, mut images: RuleImages) -> PruneRequest {
        let pressure = &self.policy.pressure;
        images.goals = pressure
            .is_any()
            .then(|| goals(&self.run.missing, self.filesystems));
        images.max_images = self.images_left();
        images.max_bytes = self.bytes_left();
        request(self.policy, namespace, images)
    }

    /// Returns how long what that prune removes is held. What is held makes no room.
    pub(super) fn undo_window(&self) -> Duration {
        if self.run.missing.is_empty() {
            self.policy.undo_window
        } else {
            Duration::ZERO
        }
    }

    /// Says how a run ended that no error ended.
    pub(super) fn outcome(&self) -> Outcome {
        let reports = || self.run.reports.iter();
        let is_broken = |it: &Report| it.is_partial();
        let is_capped = |it: &Report| it.kept.iter().any(|it| it.reason == KeepReason::Capped);
        let was_stopped = |it: &Report| {
            let mut refused = it.refused.iter();
            refused.any(|it| matches!(it.reason, RefuseReason::Cancelled | RefuseReason::OutOfTime))
        };
        let is_dry = self.policy.mode == Mode::DryRun;
        if reports().any(|it| is_broken(it) || was_stopped(it)) {
            Outcome::Partial
        } else if reports().any(is_capped)
            || self.images_left() == Some(0) && self.run.removed() > 0
        {
            Outcome::Capped
        } else if !self.run.missing.is_empty() && !is_dry {
            Outcome::Unmet
        } else if self.run.removed() > 0 || !self.run.wanted.is_empty() && !is_dry {
            // A collection, or a hold that was released, may have been enough.
            Outcome::Done
        } else {
            Outcome::Nothing
        }
    }

    /// How many images the cap still lets go.
    fn images_left(&self) -> Option<usize> {
        let max = self.policy.max_images?;
        let reports = self.run.reports.iter();
        let gone = reports.map(targets).sum();
        Some(max.saturating_sub(gone))
    }

    /// How many bytes the cap, and what is reserved, still let go.
    fn bytes_left(&self) -> Option<u64> {
        let spent: u64 = self.run.reports.iter().map(bytes).sum();
        let by_cap = self.policy.max_bytes.map(|max| max.saturating_sub(spent));
        let by_reserve = self.policy.pressure.spare(self.occupied);
        // Nothing was removed by a dry run that a look could see.
        let by_reserve = by_reserve.map(|spare| match self.policy.mode {
            Mode::DryRun => spare.saturating_sub(spent),
            Mode::Apply => spare,
        });
        by_cap.into_iter().chain(by_reserve).min()
    }
}

/// Counts the bytes that a run took. What it holds it has taken, though nothing is freed yet.
fn bytes(report: &Report) -> u64 {
    let is_freed = report.mode == Mode::Apply && report.held_until.is_none();
    let amount = if is_freed {
        report.reclaimed.0
    } else {
        report.estimate.0
    };
    amount.total_bytes()
}

/// Returns what a policy asks of a prune of one namespace.
pub(super) fn request(policy: &Policy, namespace: &Namespace, images: RuleImages) -> PruneRequest {
    PruneRequest {
        namespace: namespace.clone(),
        selection: images.into(),
        target: None,
        may_empty_namespace: false,
        may_lack_namespace: true,
        history: policy.history,
    }
}

/// Counts the targets that a run removed: three names of one image are one.
fn targets(report: &Report) -> usize {
    let targets = report.removed.iter().map(|it| &it.target);
    targets.collect::<BTreeSet<_>>().len()
}
