//! Runs that outlive the request that started them.

use std::sync::Arc;

use http::StatusCode;
use reclaim_engine::{Controls, Engine, RunError, RunOptions, no_progress};
use reclaim_model::{Namespace, PruneRequest, Report};
use tokio_util::sync::CancellationToken;

use super::error::ApiError;

/// Options of the API and of its runs.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// The namespace whose images the API manages.
    pub namespace: Namespace,
    /// The options of every run.
    pub run: RunOptions,
    /// Stops runs: they end after the removals under way, and report.
    pub cancel: CancellationToken,
}

/// Prunes in a task of its own: the run goes on if the client disconnects.
pub(super) async fn run(
    engine: Arc<Engine>,
    request: PruneRequest,
    options: RunOptions,
    cancel: CancellationToken,
) -> Result<Report, ApiError> {
    let run = tokio::spawn(async move {
        let controls = Controls {
            options: &options,
            progress: &no_progress,
            cancel: &cancel,
        };
        engine.prune(&request, None, controls).await
    });
    let finished: Result<Report, RunError> = run.await.map_err(|error| {
        let message = format!("the run ended without a report: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    Ok(finished?)
}
