//! The options of Docker's API.

use std::sync::Arc;

use reclaim_engine::{DockerContainers, RunOptions};
use reclaim_model::Namespace;
use tokio_util::sync::CancellationToken;

/// Options of the API and of its runs.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// The namespace whose images the API manages.
    pub namespace: Namespace,
    /// The options of every run.
    pub run: RunOptions,
    /// Stops runs: they end after the removals under way, and report.
    pub cancel: CancellationToken,
    /// The Docker Engines whose containers are shown as the engines report them.
    pub docker: Option<Arc<DockerContainers>>,
}
