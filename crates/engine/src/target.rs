//! Freeing as much as was asked for, and no more.

use reclaim_model::{FreeTarget, GoalUnit, Plan, Selection, UsageByColumn};
use reclaim_plan::{TooLittle, limit, limit_by_use, shortfall};

use crate::engine::{Engine, Evidence, RunError};
use crate::measure::snapshots_of;
use crate::off_thread::Shared;

/// A target that cannot be met, with the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// What was asked for, in bytes.
    pub target: u64,
    /// What removing every image that may go would free.
    pub available: u64,
    /// What holds the rest of the namespace.
    pub usage: UsageByColumn,
}

impl Engine {
    /// Cuts the plan down to the target of the request, if it has one.
    pub(crate) async fn limited(
        &self,
        plan: Plan,
        evidence: &Shared<Evidence>,
    ) -> Result<Plan, RunError> {
        let request = &evidence.request;
        if let Selection::Rule(images) = &request.selection {
            let mut images = images.clone();
            let goals = images.goals.iter().flatten();
            if goals.map(|goal| goal.unit).any(|it| it == GoalUnit::Inodes) {
                let snapshots = snapshots_of(&plan).await;
                let measuring = self.store.snapshot_inodes(&plan.namespace, &snapshots);
                images.inodes = measuring.await?;
            }
            let limiting = evidence.read(move |it| limit_by_use(plan, &it.inventory, &images).plan);
            return Ok(limiting.await);
        }
        let Some(target) = request.target_free else {
            return Ok(plan);
        };
        let target = self.target_bytes(target).await?;
        match evidence
            .read(move |it| limit(plan, &it.inventory, target))
            .await
        {
            Ok(plan) => Ok(plan),
            Err(TooLittle { available }) => {
                let namespace = &request.namespace;
                let bytes = self.snapshot_bytes_within(&evidence.inventory, namespace);
                let bytes = bytes.await?;
                let counting = evidence
                    .read(move |it| shortfall(&it.inventory, &it.registered, &it.request, &bytes));
                Err(RunError::TargetNotMet(Box::new(Unmet {
                    target,
                    available,
                    usage: counting.await,
                })))
            }
        }
    }

    /// Returns the bytes that are meant; for a percentage, of the filesystem with the content.
    async fn target_bytes(&self, target: FreeTarget) -> Result<u64, RunError> {
        let FreeTarget::Percent(_) = target else {
            return Ok(target.bytes_of(0));
        };
        let unknown = |why: String| RunError::UnknownFilesystem { why };
        let root = self.store.content_root().await?;
        let root =
            root.ok_or_else(|| unknown("containerd names none, or is elsewhere".to_owned()))?;
        let size = self.store.filesystem_bytes(root.clone()).await;
        let size = size.map_err(|error| unknown(format!("`{}`: {error}", root.display())))?;
        Ok(target.bytes_of(size))
    }
}
