//! Asking what the snapshots of a plan occupy.
//!
//! They are many, and each is one call. Where the sizes decide something, or somebody waits to
//! see them, they are asked for first. A run that only reports them asks while it removes records
//! and waits: what will go is held until the run releases it, so the answers are the same.

use reclaim_model::{
    Estimate, Namespace, Plan, Report, ResolvedRequest, Selection, SnapshotId, SnapshotSizes, chain,
};
use reclaim_plan::Decision;
use reclaim_store::StoreError;
use tracing::{info_span, warn};

use crate::engine::Engine;
use crate::off_thread::{blocking, for_each_yielding};
use crate::retry::retry;

/// When the snapshots that will go are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measuring {
    /// Before there is a plan.
    First,
    /// While records are removed.
    Meanwhile,
}

impl Measuring {
    /// When a run measures: first, if the sizes decide what goes, or somebody has seen them.
    pub(crate) fn of_run(request: &ResolvedRequest, is_confirmed: bool) -> Self {
        match request.selection {
            _ if is_confirmed => Self::First,
            Selection::Rule(_) => Self::First,
            Selection::Filters(_) | Selection::Named(_) | Selection::Project(_) => {
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
    /// Makes the plan of a decision, with the sizes that are asked for first. What lies beside
    /// the plan is not held by anybody, and so always measured here.
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

    /// Asks what snapshots occupy.
    pub(crate) async fn sizes(
        &self,
        namespace: &Namespace,
        snapshots: &[SnapshotId],
    ) -> Result<SnapshotSizes, StoreError> {
        retry(|| self.store.snapshot_bytes(namespace, snapshots)).await
    }
}

/// Returns the snapshots that go with a plan.
pub(crate) async fn snapshots_of(plan: &Plan) -> Vec<SnapshotId> {
    let mut snapshots = Vec::new();
    for_each_yielding(&plan.freed.snapshots, |it| snapshots.push(it.id.clone())).await;
    snapshots
}

/// Enters into a plan and its report what the snapshots occupy. If nobody can tell they count as
/// nothing, and the run is unfinished as far as that goes: what is freed is freed all the same.
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
            warn!(%error, "snapshots are not measured");
            let unknown = format!("what the snapshots occupied is not counted: {error}");
            report.unfinished = Some(unknown);
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
    fn sizes_come_first_where_they_decide_or_were_seen() {
        let mut request = dangling();
        assert_eq!(Measuring::of_run(&request, false), Measuring::Meanwhile);
        assert_eq!(Measuring::of_run(&request, true), Measuring::First);
        request.target_free = Some(reclaim_model::FreeTarget::Bytes(1));
        assert_eq!(Measuring::of_run(&request, false), Measuring::First);
    }
}
