//! What a run would do, and the report that it begins with.

use std::time::Duration;

use reclaim_model::{
    Amount, Estimate, Freed, Inventory, Mode, Plan, Reclaimed, Removed, Report, RunId, Step,
};
use reclaim_plan::rows;
use uuid::Uuid;

use crate::off_thread::blocking;

/// A plan with what it was made from.
#[derive(Debug)]
pub struct Preview {
    /// What was seen.
    pub inventory: Inventory,
    /// What would be done.
    pub plan: Plan,
}

impl Preview {
    /// Reports the plan as a dry run.
    pub fn report(&self) -> Report {
        let images = self.plan.steps.iter().map(|step| &step.image);
        Report {
            removed: self.plan.steps.iter().map(removed).collect(),
            freed: self.plan.freed.clone(),
            rows: rows(images, &self.inventory, &self.plan.freed.blobs),
            unpinned: self.plan.unpins.clone(),
            ..blank_report(new_run(), Mode::DryRun, &self.plan)
        }
    }

    /// As [`Self::report`], off the async threads: with 100,000 images it takes long, and so
    /// does freeing the inventory. Returns the plan, too.
    pub async fn into_report(self) -> (Report, Plan) {
        let reporting = move || {
            let report = self.report();
            let Self { inventory, plan } = self;
            drop(inventory);
            (report, plan)
        };
        blocking(reporting).await
    }
}

/// A report of a plan of which nothing has been done yet.
pub(crate) fn blank_report(run: RunId, mode: Mode, plan: &Plan) -> Report {
    Report {
        run,
        namespace: plan.namespace.clone(),
        mode,
        removed: Vec::new(),
        kept: plan.kept.clone(),
        refused: Vec::new(),
        failed: Vec::new(),
        estimate: Estimate(plan.freed.amount()),
        estimate_at_least: Estimate(plan.at_least()),
        not_counted: plan.not_counted.clone(),
        reclaimed: Reclaimed(Amount::default()),
        freed: Freed::default(),
        left: Vec::new(),
        stranded: Vec::new(),
        unpinned: Vec::new(),
        rows: Vec::new(),
        named: plan.named.clone(),
        warnings: plan.warnings.clone(),
        guard: None,
        held_until: None,
        unfinished: None,
        policy: None,
        took: Duration::ZERO,
        collection: None,
    }
}

pub(crate) fn removed(step: &Step) -> Removed {
    Removed {
        name: step.image.name.clone(),
        target: step.image.target.digest.clone(),
        reason: step.reason,
    }
}

/// Names a new run. The names of later runs sort after those of earlier ones.
pub(crate) fn new_run() -> RunId {
    RunId(Uuid::now_v7().to_string())
}
