//! `POST /images/prune`.
//!
//! Source: moby, `daemon/containerd/image_prune.go`.

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use reclaim_engine::RunError;
use reclaim_model::{Failed, PruneRequest, Report, Row};
use serde::Serialize;

use super::error::ApiError;
use super::respond::{RUN, json};
use super::{Asked, DockerApi, DockerOptions};

/// Docker's report. `Failed` and `Unfinished` are ours, and only there if something failed: Docker
/// drops the report then.
#[derive(Serialize)]
struct PruneReport {
    #[serde(rename = "ImagesDeleted")]
    deleted: Option<Vec<DeletedRow>>,
    #[serde(rename = "SpaceReclaimed")]
    reclaimed: u64,
    #[serde(rename = "Failed", skip_serializing_if = "Vec::is_empty")]
    failed: Vec<FailedImage>,
    /// Why the run could not free or look again; what it removed is held, and can be restored.
    #[serde(rename = "Unfinished", skip_serializing_if = "Option::is_none")]
    unfinished: Option<String>,
}

/// One row of what was removed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) enum DeletedRow {
    /// A name that is gone.
    Untagged(String),
    /// An image or manifest that is gone.
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

pub(super) async fn prune(api: &DockerApi, asked: &Asked) -> Result<Response, ApiError> {
    let filters = asked.query.filters()?;
    let request = PruneRequest::new(api.namespace().clone(), filters).may_lack_namespace(true);
    let DockerOptions { run, cancel, .. } = &api.shared.options;
    let run = api.engine().start(request, None, run.clone(), cancel);
    match run.await {
        // While a prune runs, Docker checks nothing else.
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

/// What is said if nothing came of the run but failures.
fn failure(report: &Report) -> Option<String> {
    if !report.removed.is_empty() {
        return None;
    }
    let failed = report.failed.iter();
    let failed = failed.map(|Failed { name, error }| format!("{name}: {error}"));
    let failed: Vec<String> = failed.chain(report.unfinished.clone()).collect();
    (!failed.is_empty()).then(|| failed.join("\n"))
}

fn failed_image(failed: &Failed) -> FailedImage {
    FailedImage {
        image: failed.name.clone(),
        error: failed.error.clone(),
    }
}
