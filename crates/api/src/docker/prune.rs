//! `POST /images/prune`.
//!
//! Source: moby, `daemon/containerd/image_prune.go`.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use reclaim_engine::RunError;
use reclaim_model::{Failed, PruneRequest, Report, Row};
use serde::Serialize;

use super::api::{ApiRequest, DockerApi};
use super::error::ApiError;
use super::options::DockerOptions;
use super::respond::{RUN, json};

/// Docker's report. `Failed` and `Unfinished` are additions, present only if something failed: then
/// Docker returns an error and no report.
#[derive(Serialize)]
struct PruneReport {
    #[serde(rename = "ImagesDeleted")]
    deleted: Option<Vec<DeletedRow>>,
    #[serde(rename = "SpaceReclaimed")]
    reclaimed: u64,
    #[serde(rename = "Failed", skip_serializing_if = "Vec::is_empty")]
    failed: Vec<FailedImage>,
    /// Why the run could not finish. What it removed is held, and can be restored.
    #[serde(rename = "Unfinished", skip_serializing_if = "Option::is_none")]
    unfinished: Option<String>,
}

/// A row of `ImagesDeleted`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) enum DeletedRow {
    /// A name that was removed.
    Untagged(String),
    /// The digest of an image or manifest that was removed.
    Deleted(String),
}

#[derive(Serialize)]
struct FailedImage {
    #[serde(rename = "Image")]
    image: String,
    #[serde(rename = "Error")]
    error: String,
}

impl From<&Row> for DeletedRow {
    fn from(row: &Row) -> Self {
        match row {
            Row::Untagged(name) => Self::Untagged(name.clone()),
            Row::Deleted(digest) => Self::Deleted(digest.to_string()),
        }
    }
}

pub(super) async fn prune(api: &DockerApi, request: &ApiRequest) -> Result<Response, ApiError> {
    let filters = request.query.filters()?;
    let DockerOptions { run, cancel, .. } = &api.shared.options;
    let engine = Arc::new(api.engine().called_by(request.caller.clone()));
    let request = PruneRequest::new(api.namespace().clone(), filters).may_lack_namespace(true);
    let run = engine.start(request, None, run.clone(), cancel);
    match run.await {
        // As in Docker, a running prune is reported before a wrong filter.
        Err(RunError::Filter(_)) if api.engine().is_running() => Err(ApiError::busy()),
        pruned => respond(&pruned?),
    }
}

fn respond(report: &Report) -> Result<Response, ApiError> {
    if let Some(error) = failure(report) {
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error));
    }
    let rows: Vec<DeletedRow> = report.rows.iter().map(DeletedRow::from).collect();
    let body = PruneReport {
        deleted: (!rows.is_empty()).then_some(rows),
        reclaimed: report.reclaimed.0.total_bytes(),
        failed: report.failed.iter().map(failed_image).collect(),
        unfinished: report.unfinished.clone(),
    };
    let mut response = json(StatusCode::OK, &body);
    if let Ok(run) = HeaderValue::from_str(&report.run.0) {
        response.headers_mut().insert(RUN, run);
    }
    Ok(response)
}

/// Returns the error of a run that failed and removed nothing.
fn failure(report: &Report) -> Option<String> {
    if !report.removed.is_empty() {
        return None;
    }
    let errors: Vec<String> = report
        .failed
        .iter()
        .map(|Failed { name, error }| format!("{name}: {error}"))
        .chain(report.unfinished.clone())
        .collect();
    (!errors.is_empty()).then(|| errors.join("\n"))
}

fn failed_image(failed: &Failed) -> FailedImage {
    FailedImage {
        image: failed.name.clone(),
        error: failed.error.clone(),
    }
}
