//! What a prune is asked to do.

use crate::{FreeTarget, Namespace, PruneFilters};

/// Whether a run ends with the plan or carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Stop before anything is changed.
    DryRun,
    /// Remove.
    Apply,
}

/// One request to prune the images of a namespace.
#[derive(Debug, Clone)]
pub struct PruneRequest {
    /// Where.
    pub namespace: Namespace,
    /// Which images. Without `dangling=false` only dangling ones.
    pub filters: PruneFilters,
    /// How much to free: of what the filters select only as much goes, oldest first. All of it
    /// without a target.
    pub target: Option<FreeTarget>,
    /// Whether a plan may leave a namespace that has containers without any image.
    pub may_empty_namespace: bool,
    /// Whether a namespace that does not exist counts as one without images.
    pub may_lack_namespace: bool,
}
