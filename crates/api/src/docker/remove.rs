//! `DELETE /images/{name}`.
//!
//! Source: moby, `daemon/containerd/image_delete.go`.

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use reclaim_engine::Shared;

use super::error::ApiError;
use super::platform::{PlatformWords, platform_of, platforms};
use super::prune::DeletedRow;
use super::removals::Removal;
use super::respond::{RUN, json};
use super::{Asked, DockerApi};

pub(super) async fn remove(
    api: &DockerApi,
    name: String,
    asked: &Asked,
) -> Result<Response, ApiError> {
    if name.trim().is_empty() {
        return Err(ApiError::bad("image name cannot be blank"));
    }
    let force = asked.query.is_on("force");
    if asked.version.is_at_least("1.50") {
        check_platforms(api, &name, asked.query.all("platforms"), force).await?;
    }
    let removal = Removal {
        name,
        force,
        prune_parents: !asked.query.is_on("noprune"),
    };
    let outcome = api.shared.removals.remove(removal).await?;
    let removed = outcome.named.outcome?;
    if let Some(error) = outcome.unfinished {
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error));
    }
    let rows: Vec<DeletedRow> = removed.rows.iter().map(DeletedRow::from).collect();
    let mut response = json(StatusCode::OK, &rows);
    if let Ok(run) = HeaderValue::from_str(&outcome.run.0) {
        response.headers_mut().insert(RUN, run);
    }
    Ok(response)
}

/// A part of an image is content, and content is deleted by containerd alone: only all platforms
/// that are there can go, which is the whole image.
async fn check_platforms(
    api: &DockerApi,
    name: &str,
    texts: &[String],
    force: bool,
) -> Result<(), ApiError> {
    let wanted = texts.iter().map(|it| PlatformWords::parse(it));
    let wanted: Vec<Option<PlatformWords>> = wanted.collect::<Result<_, _>>()?;
    let wanted: Vec<PlatformWords> = wanted.into_iter().flatten().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    if !force {
        // The first of the two dashes is Docker's own.
        return Err(ApiError::bad(
            "Content will be removed from all images referencing this variant. Use \u{2014}-force \
             to force delete.",
        ));
    }
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let image = listing.details.find(name)?;
    let mut there = platforms(image).filter(|it| it.is_available);
    let is_whole = there.all(|manifest| {
        let platform = platform_of(manifest);
        platform.is_some_and(|platform| wanted.iter().any(|it| it.fits(platform)))
    });
    if is_whole {
        return Ok(());
    }
    let message = "single platforms of an image cannot be removed: this engine removes image \
                   records only, and leaves content to containerd's collector";
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message))
}
