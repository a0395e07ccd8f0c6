//! `GET /images/{name}/history`.
//!
//! Source: moby, `daemon/containerd/image_history.go`.

use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use reclaim_engine::{DetailedImages, ImageDetails, ManifestDetails, Shared};
use reclaim_model::{Digest, ImageRecord};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::{ApiRequest, DockerApi};
use super::error::ApiError;
use super::inspect::{choose, config};
use super::list::bytes;
use super::names::Names;
use super::platform::{DockerPlatform, created};
use super::respond::json;

/// The ID of a step that is not an image of its own.
const MISSING: &str = "<missing>";

/// A step of the build, as Docker returns it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    comment: String,
    created: i64,
    created_by: String,
    id: String,
    size: i64,
    tags: Option<Vec<String>>,
}

/// A step of the build, as in the image's configuration.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigStep {
    created: Option<String>,
    created_by: String,
    comment: String,
    empty_layer: bool,
}

pub(super) async fn history(
    api: &DockerApi,
    name: &str,
    request: &ApiRequest,
) -> Result<Response, ApiError> {
    let platform = DockerPlatform::parse(request.query.get("platform"))?;
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let image = listing.details.find(name)?;
    let manifest = choose(image, name, platform.as_ref())?;
    let config = config(api, manifest).await?;
    let steps = steps(&listing.details, image, manifest, &config);
    Ok(json(StatusCode::OK, &steps))
}

/// Returns the steps of the build, the last one first.
fn steps(
    details: &DetailedImages,
    image: &ImageDetails,
    manifest: Option<&ManifestDetails>,
    config: &Value,
) -> Vec<Step> {
    let history = config["history"].as_array();
    let mut layers = manifest
        .into_iter()
        .flat_map(|manifest| &manifest.layer_bytes);
    let mut steps: Vec<Step> = history
        .into_iter()
        .flatten()
        .map(|step| ConfigStep::deserialize(step).unwrap_or_default())
        .map(|step| Step {
            size: if step.empty_layer {
                0
            } else {
                bytes(layers.next().copied().unwrap_or(0))
            },
            created: created_second(&step, image),
            comment: step.comment,
            created_by: step.created_by,
            id: MISSING.to_owned(),
            tags: None,
        })
        .collect();
    steps.reverse();
    // The classic builder left an image for each step; other builders leave only the last.
    let mut next = Some(image);
    for step in &mut steps {
        let Some(image) = next else { break };
        let names = Names::of(image, image.records.iter());
        step.id = image.target.digest.to_string();
        step.tags = (!names.tags.is_empty()).then_some(names.tags);
        next = parent(details, image);
    }
    steps
}

fn created_second(step: &ConfigStep, image: &ImageDetails) -> i64 {
    let parsed = step.created.as_ref().and_then(|text| text.parse().ok());
    let moment: Timestamp = parsed.unwrap_or_else(|| created(image));
    moment.as_second()
}

fn parent<'a>(details: &'a DetailedImages, image: &ImageDetails) -> Option<&'a ImageDetails> {
    let parent: Digest = image.records.iter().find_map(ImageRecord::parent)?;
    let images = &details.images;
    let found = images.binary_search_by(|image| image.target.digest.cmp(&parent));
    found.ok().map(|index| &images[index])
}
