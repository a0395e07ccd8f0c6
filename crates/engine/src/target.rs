//! Freeing as much as was asked for, and no more.

use reclaim_model::{
    Container, FreeTarget, GoalUnit, Inventory, Plan, PruneRequest, Selection, SnapshotId,
};
use reclaim_plan::{Account, TooLittle, limit, limit_by_use, shortfall};
use reclaim_store::filesystem_bytes;

use crate::engine::{Engine, RunError};

/// A target that cannot be met, with the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// What was asked for, in bytes.
    pub target: u64,
    /// What removing every image that may go would free.
    pub available: u64,
    /// What holds the rest of the namespace.
    pub account: Account,
}

impl Engine {
    /// Cuts the plan down to the target of the request, if it has one.
    pub(crate) async fn limited(
        &self,
        plan: Plan,
        inventory: &Inventory,
        registered: &[Container],
        request: &PruneRequest,
    ) -> Result<Plan, RunError> {
        if let Selection::Rule(images) = &request.selection {
            let goals = images.goals.iter().flatten();
            if !goals.map(|goal| goal.unit).any(|it| it == GoalUnit::Inodes) {
                return Ok(limit_by_use(plan, inventory, images).plan);
            }
            let mut images = images.clone();
            let snapshots = plan.freed.snapshots.iter().map(|it| it.id.clone());
            let snapshots: Vec<SnapshotId> = snapshots.collect();
            images.inodes = self
                .store
                .snapshot_inodes(&plan.namespace, &snapshots)
                .await?;
            return Ok(limit_by_use(plan, inventory, &images).plan);
        }
        let Some(target) = request.target else {
            return Ok(plan);
        };
        let target = self.target_bytes(target).await?;
        match limit(plan, inventory, target) {
            Ok(plan) => Ok(plan),
            Err(TooLittle { available }) => {
                let namespace = &request.namespace;
                let bytes = self.snapshot_bytes_within(inventory, namespace).await?;
                Err(RunError::TargetNotMet(Box::new(Unmet {
                    target,
                    available,
                    account: shortfall(inventory, registered, request, &bytes),
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
        let size = filesystem_bytes(&root)
            .map_err(|error| unknown(format!("`{}`: {error}", root.display())))?;
        Ok(target.bytes_of(size))
    }
}
