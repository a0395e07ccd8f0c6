//! The progress of a policy run, and what follows from it. Pure: measurements are passed in.
//!
//! [`Maintenance::run`](crate::Maintenance::run) consults it between its steps.

use std::collections::BTreeSet;
use std::time::Duration;

use reclaim_model::{
    Filesystem, KeepReason, Mode, Namespace, PolicyPart, PruneRequest, RefuseReason, Report,
    RuleImages,
};

use crate::policy::Policy;
use crate::policy_run::{PolicyOutcome, PolicyRun};
use crate::pressure::{Excess, Occupied, goals};

/// A policy run that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct PolicyProgress<'a> {
    /// The policy.
    pub(super) policy: &'a Policy,
    /// What the run found and did so far.
    pub(super) run: &'a PolicyRun,
    /// The filesystems as last measured.
    pub(super) filesystems: &'a [Filesystem],
    /// What content and snapshots occupied then, if the policy needs it.
    pub(super) occupied: Option<Occupied>,
    /// Of a dry run: what its steps so far leave to be freed. Nothing shows that on the filesystems.
    pub(super) simulated: Option<&'a [Excess]>,
}

impl PolicyProgress<'_> {
    /// Returns what is still to be freed, apart from what is on its way.
    pub(super) fn outstanding(&self) -> Vec<Excess> {
        let simulated = self.simulated.map(<[Excess]>::to_vec);
        simulated.unwrap_or_else(|| self.run.outstanding())
    }

    /// Whether the run needs no further step.
    pub(super) fn is_over(&self) -> bool {
        let pressure = &self.policy.pressure;
        let is_relieved = pressure.is_any() && self.outstanding().is_empty();
        is_relieved && self.policy.max_unused.is_none()
            || self.images_left() == Some(0)
            || self.bytes_left() == Some(0)
    }

    /// Whether a step may have something to do: without pressure only what is unused for too long goes.
    pub(super) fn may_free(&self, part: PolicyPart) -> bool {
        !self.policy.pressure.is_any()
            || !self.outstanding().is_empty()
            || self.policy.max_unused_of(part).is_some()
    }

    /// Adds to the images that the policy selects for the next step how much may and has to go.
    pub(super) fn limited(&self, mut images: RuleImages) -> RuleImages {
        let pressure = &self.policy.pressure;
        images.goals = pressure
            .is_any()
            .then(|| goals(&self.outstanding(), self.filesystems));
        images.max_images = self.images_left();
        images.max_bytes = self.bytes_left();
        images
    }

    /// Returns how long that prune holds what it removes: under pressure not at all, because a hold
    /// frees nothing.
    pub(super) fn undo_window(&self) -> Duration {
        if self.run.outstanding().is_empty() {
            self.policy.undo_window
        } else {
            Duration::ZERO
        }
    }

    /// Returns the outcome of a run that no error ended.
    pub(super) fn outcome(&self) -> PolicyOutcome {
        let reports = || self.run.reports.iter();
        let is_capped = |report: &Report| {
            let mut kept = report.kept.iter();
            kept.any(|image| image.reason == KeepReason::Capped)
        };
        let was_stopped = |report: &Report| {
            let mut reasons = report.refused.iter().map(|image| &image.reason);
            reasons.any(|it| matches!(it, RefuseReason::Cancelled | RefuseReason::OutOfTime))
        };
        let is_dry = self.policy.mode == Mode::DryRun;
        if reports().any(|report| report.is_partial() || was_stopped(report)) {
            PolicyOutcome::Partial
        } else if reports().any(is_capped)
            || self.images_left() == Some(0) && self.run.has_changes()
        {
            PolicyOutcome::Capped
        } else if !self.run.outstanding().is_empty() && !is_dry {
            PolicyOutcome::Unmet
        } else if self.run.has_changes() || !self.run.wanted.is_empty() && !is_dry {
            // A collection or the release of a hold may have been enough.
            PolicyOutcome::Done
        } else {
            PolicyOutcome::Nothing
        }
    }

    /// How many images the cap still allows to remove.
    fn images_left(&self) -> Option<usize> {
        let max = self.policy.max_images?;
        let reports = self.run.reports.iter();
        let gone = reports.map(targets).sum();
        Some(max.saturating_sub(gone))
    }

    /// How many bytes the cap and the reserve still allow to free.
    fn bytes_left(&self) -> Option<u64> {
        let spent: u64 = self.run.reports.iter().map(freed_bytes).sum();
        let by_cap = self.policy.max_bytes.map(|max| max.saturating_sub(spent));
        let spare = self.policy.pressure.spare(self.occupied);
        // The measurement still has what a dry run would have removed.
        let by_reserve = spare.map(|spare| match self.policy.mode {
            Mode::DryRun => spare.saturating_sub(spent),
            Mode::Apply => spare,
        });
        by_cap.into_iter().chain(by_reserve).min()
    }
}

/// Counts the bytes of what a run removed, also if they are held and not freed yet.
pub(super) fn freed_bytes(report: &Report) -> u64 {
    let is_freed = report.mode == Mode::Apply && report.held_until.is_none();
    let amount = if is_freed {
        report.reclaimed.0
    } else {
        report.estimate.0
    };
    amount.total_bytes()
}

/// Returns the request for one step of a policy in one namespace.
pub(super) fn request(namespace: &Namespace, images: RuleImages) -> PruneRequest {
    PruneRequest::new(namespace.clone(), images)
        .may_empty_namespace(false)
        .may_lack_namespace(true)
}

/// Counts the targets that a run removed or slimmed: three names of one target count once.
pub(super) fn targets(report: &Report) -> usize {
    let removed = report.removed.iter().map(|it| &it.target);
    let slimmed = report.slimmed.iter().map(|it| &it.target);
    removed.chain(slimmed).collect::<BTreeSet<_>>().len()
}
