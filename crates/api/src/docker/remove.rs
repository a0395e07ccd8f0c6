//! `DELETE /images/{name}`.
//!
//! Source: moby, `daemon/containerd/image_delete.go`.

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use reclaim_engine::Shared;
use reclaim_model::Platform;

use super::api::{ApiRequest, DockerApi};
use super::error::ApiError;
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
        check_platforms(api, &name, request.query.all("platforms"), force).await?;
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

/// Checks that the named platforms are all that are there, which is the whole image. A single
/// platform is content, and only containerd deletes content.
async fn check_platforms(
    api: &DockerApi,
    name: &str,
    texts: &[String],
    force: bool,
) -> Result<(), ApiError> {
    let wanted: Vec<DockerPlatform> = texts
        .iter()
        .filter_map(|text| DockerPlatform::parse(text).transpose())
        .collect::<Result<_, _>>()?;
    if wanted.is_empty() {
        return Ok(());
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
    if is_whole {
        return Ok(());
    }
    let message = "single platforms of an image cannot be removed: this engine removes image \
                   records only, and leaves content to containerd's collector";
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message))
}
