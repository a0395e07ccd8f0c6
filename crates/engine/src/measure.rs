//! Measures the snapshots of a plan.
//!
//! There are many, and each takes one call. If the plan depends on the sizes, or the user sees them
//! first, they are measured before the plan. Otherwise they are measured during the removals: the
//! hold keeps the snapshots, so the sizes are the same.

use reclaim_model::{
    Estimate, Namespace, Plan, Report, ResolvedRequest, Selection, SnapshotId, SnapshotSizes, chain,
};
use reclaim_plan::Decision;
use reclaim_store::StoreError;
use tracing::{info_span, warn};

use crate::engine::Engine;
use crate::off_thread::{blocking, for_each_yielding};
use crate::retry::retry;

/// When the snapshots of a plan are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measuring {
    /// Before the plan.
    First,
    /// While records are removed.
    Meanwhile,
}

impl Measuring {
    /// Returns when a run measures: first, if the plan depends on the sizes or the user has seen them.
    pub(crate) fn of_run(request: &ResolvedRequest, is_confirmed: bool) -> Self {
        match request.selection {
            _ if is_confirmed => Self::First,
            Selection::Rule(_) => Self::First,
            Selection::Filters(_)
            | Selection::Named(_)
            | Selection::Project(_)
            | Selection::Parts(_) => {
                if request.target_free.is_some() {
                    Self::First
                } else {
                    Self::Meanwhile
                }
            }
        }
    }
}

impl Engine {
    /// Returns the plan of a decision, with the sizes that are measured first. Those always include
    /// snapshots that the plan does not count, because no hold keeps them.
    pub(crate) async fn measured(
        &self,
        namespace: &Namespace,
        decision: Decision,
        measuring: Measuring,
    ) -> Result<Plan, StoreError> {
        let (decision, snapshots) = blocking(move || {
            let mut snapshots =
                [decision.pending_snapshots(), decision.history_snapshots()].concat();
            snapshots.extend(decision.leased_snapshots());
            if measuring == Measuring::First {
                snapshots.extend_from_slice(decision.snapshots());
            }
            (decision, snapshots)
        })
        .await;
        let sizing = self.sizes(namespace, &snapshots);
        let bytes = self.phase(info_span!("size"), sizing).await?;
        let planning = blocking(move || {
            if measuring == Measuring::First {
                return decision.into_plan(&bytes);
            }
            let mut plan = decision.into_unmeasured_plan();
            plan.not_counted.pending.measure(&bytes);
            plan.not_counted.history.freed.measure(&bytes);
            plan.not_counted.leased.measure(&bytes);
            plan.warnings.extend(bytes.warnings());
            plan
        });
        Ok(planning.await)
    }

    /// Measures snapshots.
    pub(crate) async fn sizes(
        &self,
        namespace: &Namespace,
        snapshots: &[SnapshotId],
    ) -> Result<SnapshotSizes, StoreError> {
        retry(|| self.store.snapshot_bytes(namespace, snapshots)).await
    }
}

/// Returns the snapshots that a plan frees.
pub(crate) async fn snapshots_of(plan: &Plan) -> Vec<SnapshotId> {
    let mut snapshots = Vec::new();
    for_each_yielding(&plan.freed.snapshots, |it| snapshots.push(it.id.clone())).await;
    snapshots
}

/// Enters the sizes of snapshots into a plan and its report. If they could not be measured, they
/// count as zero and the report says so; the snapshots are still freed.
pub(crate) fn enter_sizes(
    plan: &mut Plan,
    report: &mut Report,
    sizes: Result<SnapshotSizes, StoreError>,
) {
    match sizes {
        Ok(sizes) => {
            plan.freed.measure(&sizes);
            plan.not_counted.doubtful.measure(&sizes);
            report.warnings.extend(sizes.warnings());
        }
        Err(error) => {
            let error = chain(&error);
            warn!(%error, "cannot measure snapshots");
            let problem = format!("the sizes of snapshots are not counted: {error}");
            report.unfinished = Some(problem);
        }
    }
    report.estimate = Estimate(plan.freed.amount());
    report.estimate_at_least = Estimate(plan.at_least());
    report.not_counted = plan.not_counted.clone();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::dangling;

    #[test]
    fn sizes_that_decide_or_were_shown_are_measured_first() {
        let mut request = dangling();
        assert_eq!(Measuring::of_run(&request, false), Measuring::Meanwhile);
        assert_eq!(Measuring::of_run(&request, true), Measuring::First);
        let target = reclaim_model::FreeAmount::Bytes(1);
        request.target_free = Some(reclaim_model::FreeTarget::new(target));
        assert_eq!(Measuring::of_run(&request, false), Measuring::First);
    }
}
