//! The state that the steps of a run share.

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Freed, Inventory, NotCounted, Plan, RefuseReason, Report, ResolvedRequest, RunId, Step,
};
use reclaim_store::EventWatcher;
use tokio_util::sync::CancellationToken;

use crate::audit::Audited;
use crate::controls::{ProgressSink, RunOptions};
use crate::grace::HoldTime;
use crate::kubernetes::RestrictedImages;
use crate::measure::Measuring;
use crate::outcomes::CutOutcomes;
use crate::retry::Patience;
use crate::stranded::Before;

/// The time that the second look and the release may take after the grace period.
const FINAL_STEPS: SignedDuration = SignedDuration::from_hours(1);

/// The request and controls of a run.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) id: &'a RunId,
    pub(crate) request: &'a ResolvedRequest,
    pub(crate) audited: &'a Audited,
    pub(crate) options: &'a RunOptions,
    pub(crate) progress: &'a ProgressSink<'a>,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) measuring: Measuring,
    /// When the guard's lease expires.
    pub(crate) expires: Timestamp,
    /// The retry budget of the steps after the first removal.
    pub(crate) patience: &'a Patience,
    /// How long its hold took, from which an adapted grace period follows.
    pub(crate) hold_time: &'a HoldTime,
}

impl Run<'_> {
    /// Returns why the run must stop removing, if so.
    pub(crate) fn stop(self, now: Timestamp) -> Option<RefuseReason> {
        let left = now.duration_until(self.expires);
        let grace = SignedDuration::try_from(self.options.grace.longest());
        let grace = grace.unwrap_or(SignedDuration::MAX);
        if self.cancel.is_cancelled() {
            Some(RefuseReason::Cancelled)
        } else if left < grace.saturating_add(FINAL_STEPS) {
            Some(RefuseReason::OutOfTime)
        } else {
            None
        }
    }
}

/// The state of a run that carries out its plan.
pub(crate) struct Execution<'a> {
    pub(crate) run: Run<'a>,
    /// The inventory that the plan was made from.
    pub(crate) inventory: &'a mut Inventory,
    pub(crate) report: &'a mut Report,
    pub(crate) watcher: Option<&'a EventWatcher>,
    /// The snapshot directories before the first removal.
    pub(crate) directories: Option<Before>,
    /// The images that only some pods may use.
    pub(crate) restricted: &'a RestrictedImages,
    /// What became of the cuts so far.
    pub(crate) cuts: CutOutcomes,
}

/// Returns a plan that has only these steps.
pub(crate) fn with_steps(plan: &Plan, steps: Vec<Step>) -> Plan {
    Plan {
        namespace: plan.namespace.clone(),
        steps,
        slimmed: Vec::new(),
        kept: Vec::new(),
        cuts: Vec::new(),
        named: Vec::new(),
        freed: Freed::default(),
        not_counted: NotCounted::default(),
        warnings: Vec::new(),
        target_free: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reclaim_fake::Fake;
    use reclaim_model::AuditRequest;
    use reclaim_store::Containerd;

    use super::*;
    use crate::controls::no_progress;
    use crate::engine::Engine;
    use crate::fixture::dangling;
    use crate::grace::Grace;
    use crate::preview::new_run;

    #[tokio::test]
    async fn a_run_stops_before_its_guard_expires() {
        let id = new_run();
        let request = dangling();
        let engine = Engine::new(Containerd::from_channel(Fake::new("2.1.9").channel()));
        let long = AuditRequest::Long { bytes: 0 };
        let audited = engine.audited(&id, &request.namespace, long);
        let grace = Grace::Fixed(Duration::from_secs(90));
        let options = RunOptions {
            grace,
            ..RunOptions::default()
        };
        let cancel = CancellationToken::new();
        let expires = "2026-01-10T12:00:00Z".parse().unwrap();
        let run = Run {
            id: &id,
            request: &request,
            audited: &audited,
            options: &options,
            progress: &no_progress,
            cancel: &cancel,
            measuring: Measuring::First,
            expires,
            patience: &Patience::default(),
            hold_time: &HoldTime::default(),
        };
        let last = expires - (SignedDuration::from_secs(90) + FINAL_STEPS);
        assert_eq!(run.stop(last), None);
        let late = last + SignedDuration::from_nanos(1);
        assert_eq!(run.stop(late), Some(RefuseReason::OutOfTime));
        assert_eq!(run.stop(expires), Some(RefuseReason::OutOfTime));
        cancel.cancel();
        assert_eq!(run.stop(last), Some(RefuseReason::Cancelled));
    }
}
