//! The state that the parts of a run share.

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Freed, Inventory, NotCounted, Plan, RefuseReason, Report, ResolvedRequest, RunId, Step,
};
use reclaim_store::EventWatcher;
use tokio_util::sync::CancellationToken;

use crate::controls::{ProgressSink, RunOptions};
use crate::measure::Measuring;
use crate::retry::Patience;
use crate::stranded::Before;

/// How long looking again and releasing may take, after the grace.
const TO_END: SignedDuration = SignedDuration::from_hours(1);

/// What a run is and how it goes about its work.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) id: &'a RunId,
    pub(crate) request: &'a ResolvedRequest,
    pub(crate) options: &'a RunOptions,
    pub(crate) progress: &'a ProgressSink<'a>,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) measuring: Measuring,
    /// When the guard's lease expires.
    pub(crate) expires: Timestamp,
    /// For what brings the run to its end.
    pub(crate) patience: &'a Patience,
}

impl Run<'_> {
    /// Returns why nothing more may be taken away, if so.
    pub(crate) fn stop(self, now: Timestamp) -> Option<RefuseReason> {
        let left = now.duration_until(self.expires);
        let grace = SignedDuration::try_from(self.options.grace).unwrap_or(SignedDuration::MAX);
        if self.cancel.is_cancelled() {
            Some(RefuseReason::Cancelled)
        } else if left < grace.saturating_add(TO_END) {
            Some(RefuseReason::OutOfTime)
        } else {
            None
        }
    }
}

/// A run that removes.
pub(crate) struct Going<'a> {
    pub(crate) run: Run<'a>,
    /// What the plan was made from.
    pub(crate) inventory: &'a mut Inventory,
    pub(crate) report: &'a mut Report,
    pub(crate) watcher: Option<&'a EventWatcher>,
    /// The directories of snapshots before the first removal.
    pub(crate) directories: Option<Before>,
}

/// A plan of nothing but these steps.
pub(crate) fn part(plan: &Plan, steps: Vec<Step>) -> Plan {
    Plan {
        namespace: plan.namespace.clone(),
        steps,
        kept: Vec::new(),
        unpins: Vec::new(),
        named: Vec::new(),
        freed: Freed::default(),
        not_counted: NotCounted::default(),
        warnings: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::controls::no_progress;
    use crate::fixture::dangling;
    use crate::preview::new_run;

    #[test]
    fn a_run_stops_while_its_hold_lasts_for_the_grace_and_what_follows() {
        let id = new_run();
        let request = dangling();
        let grace = Duration::from_secs(90);
        let options = RunOptions {
            grace,
            ..RunOptions::default()
        };
        let cancel = CancellationToken::new();
        let expires = "2026-01-10T12:00:00Z".parse().unwrap();
        let run = Run {
            id: &id,
            request: &request,
            options: &options,
            progress: &no_progress,
            cancel: &cancel,
            measuring: Measuring::First,
            expires,
            patience: &Patience::default(),
        };
        let last = expires - (SignedDuration::from_secs(90) + TO_END);
        assert_eq!(run.stop(last), None);
        let late = last + SignedDuration::from_nanos(1);
        assert_eq!(run.stop(late), Some(RefuseReason::OutOfTime));
        assert_eq!(run.stop(expires), Some(RefuseReason::OutOfTime));
        cancel.cancel();
        assert_eq!(run.stop(last), Some(RefuseReason::Cancelled));
    }
}
