//! `DELETE /images/{name}`.
//!
//! Source: moby, `daemon/containerd/image_delete.go`.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use reclaim_engine::Shared;
use reclaim_model::{Cut, ImageParts, KeepReason, Part, Platform, PruneRequest};

use super::api::{ApiRequest, DockerApi};
use super::error::ApiError;
use super::options::DockerOptions;
use super::platform::{DockerPlatform, platform_of, platforms};
use super::prune::DeletedRow;
use super::removals::Removal;
use super::respond::{RUN, json};

pub(super) async fn remove(
    api: &DockerApi,
    name: String,
    request: &ApiRequest,
) -> Result<Response, ApiError> {
    if name.trim().is_empty() {
        return Err(ApiError::bad("image name cannot be blank"));
    }
    let force = request.query.is_on("force");
    if request.version.is_at_least("1.50") {
        let platforms = request.query.all("platforms");
        let platforms = parts_of_image(api, &name, platforms, force).await?;
        if !platforms.is_empty() {
            return remove_platforms(api, request, name, platforms).await;
        }
    }
    let removal = Removal {
        caller: request.caller.clone(),
        name,
        force,
        prune_parents: !request.query.is_on("noprune"),
    };
    let outcome = api.shared.removals.remove(removal).await?;
    if let Some(error) = outcome.named.error {
        return Err(error.into());
    }
    let removal = outcome.named.removal;
    if let Some(error) = outcome.unfinished {
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error));
    }
    let untagged = removal.untagged.into_iter().map(DeletedRow::Untagged);
    let deleted = removal.deleted.iter();
    let deleted = deleted.map(|digest| DeletedRow::Deleted(digest.to_string()));
    let rows: Vec<DeletedRow> = untagged.chain(deleted).collect();
    let mut response = json(StatusCode::OK, &rows);
    if let Ok(run) = HeaderValue::from_str(&outcome.run.0) {
        response.headers_mut().insert(RUN, run);
    }
    Ok(response)
}

/// Returns the named platforms if the image is for others, too; none if they are the whole image.
async fn parts_of_image(
    api: &DockerApi,
    name: &str,
    texts: &[String],
    force: bool,
) -> Result<Vec<Platform>, ApiError> {
    let wanted: Vec<DockerPlatform> = texts
        .iter()
        .filter_map(|text| DockerPlatform::parse(text).transpose())
        .collect::<Result<_, _>>()?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    if !force {
        // Docker's text has this long dash.
        return Err(ApiError::bad(
            "Content will be removed from all images referencing this variant. Use \u{2014}-force \
             to force delete.",
        ));
    }
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let image = listing.details.find(name)?;
    let is_wanted = |platform: &Platform| {
        wanted
            .iter()
            .any(|wanted| wanted.is(&DockerPlatform::from(platform)))
    };
    let is_whole = platforms(image)
        .filter(|manifest| manifest.is_available)
        .all(|manifest| platform_of(manifest).is_some_and(is_wanted));
    Ok(if is_whole {
        Vec::new()
    } else {
        wanted.iter().map(Platform::from).collect()
    })
}

/// Frees platforms of an image that stays. Docker deletes the content of every image that has it; here
/// one that another image refers to stays.
async fn remove_platforms(
    api: &DockerApi,
    request: &ApiRequest,
    name: String,
    platforms: Vec<Platform>,
) -> Result<Response, ApiError> {
    let shown = name.clone();
    let parts = ImageParts {
        parts: [Part::Platforms].into(),
        names: vec![name],
        platforms,
        ..ImageParts::default()
    };
    let DockerOptions { run, cancel, .. } = &api.shared.options;
    let engine = Arc::new(api.engine().called_by(request.caller.clone()));
    let request = PruneRequest::new(api.namespace().clone(), parts).may_lack_namespace(true);
    let report = engine.start(request, None, run.clone(), cancel).await?;
    if let Some(error) = report.named.iter().find_map(|named| named.error.clone()) {
        return Err(error.into());
    }
    let failed = report
        .failed
        .iter()
        .map(|failed| failed.error.clone())
        .next();
    if let Some(error) = report.unfinished.or(failed) {
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error));
    }
    let deleted = report.cuts.iter().filter_map(Cut::platform);
    let rows: Vec<DeletedRow> = deleted
        .map(|digest| DeletedRow::Deleted(digest.to_string()))
        .collect();
    if rows.is_empty() {
        let named = report
            .kept
            .iter()
            .filter(|it| it.reason != KeepReason::NotNamed);
        let kept = named.map(|kept| kept.reason.text().to_owned());
        let refused = report
            .refused
            .iter()
            .map(|refused| refused.reason.to_string());
        let reason = refused.chain(kept).next();
        let reason = reason.unwrap_or_else(|| "nothing of these platforms is there".to_owned());
        let message = format!("conflict: unable to delete {shown} (cannot be forced) - {reason}");
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    let mut response = json(StatusCode::OK, &rows);
    if let Ok(run) = HeaderValue::from_str(&report.run.0) {
        response.headers_mut().insert(RUN, run);
    }
    Ok(response)
}
