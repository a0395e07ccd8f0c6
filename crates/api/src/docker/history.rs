//! `GET /images/{name}/history`.
//!
//! Source: moby, `daemon/containerd/image_history.go`.

use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use reclaim_engine::{DetailedImages, ImageDetails, ManifestDetails, Shared};
use reclaim_model::{Digest, ImageRecord, shown_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::{ApiRequest, DockerApi};
use super::error::ApiError;
use super::inspect::{config, lacks};
use super::list::bytes;
use super::names::Names;
use super::platform::{DockerPlatform, best, images, platform_of, platforms};
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
    let platform = if request.version.is_at_least("1.48") {
        DockerPlatform::parse(request.query.get("platform"))?
    } else {
        None
    };
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let (image, record) = listing.details.find_record(name)?;
    let manifest = choose(image, platform.as_ref());
    let manifest = manifest.ok_or_else(|| {
        let name = shown_name(&record.name, &record.target.digest);
        lacks(&name, platform.as_ref())
    })?;
    let config = config(api, Some(manifest)).await?;
    let steps = steps(&listing.details, image, manifest, &config);
    // Docker returns null instead of an empty list.
    Ok(json(StatusCode::OK, &(!steps.is_empty()).then_some(steps)))
}

/// Returns the best manifest for a machine of the platform, by default for this one, among those
/// whose configuration can be read.
fn choose<'a>(
    image: &'a ImageDetails,
    platform: Option<&DockerPlatform>,
) -> Option<&'a ManifestDetails> {
    let Some(wanted) = platform else {
        // An artifact has no platform, but a configuration.
        let artifact = || platforms(image).find(|manifest| manifest.is_available);
        return best(image).or_else(artifact);
    };
    let ranked = images(image).filter_map(|manifest| {
        let rank = wanted.rank(&platform_of(manifest)?.into())?;
        Some((rank, manifest))
    });
    // Of equal ones the first is taken.
    let best = ranked.min_by_key(|(rank, _)| *rank);
    best.map(|(_, manifest)| manifest)
}

/// Returns the steps of the build, the last one first.
fn steps(
    details: &DetailedImages,
    image: &ImageDetails,
    manifest: &ManifestDetails,
    config: &Value,
) -> Vec<Step> {
    let history = config["history"].as_array();
    let mut layers = manifest.layer_bytes.iter();
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
            created: created_second(&step),
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

/// Returns 0 if the step has no time, as Docker does.
fn created_second(step: &ConfigStep) -> i64 {
    let parsed = step.created.as_ref().and_then(|text| text.parse().ok());
    parsed.map_or(0, Timestamp::as_second)
}

fn parent<'a>(details: &'a DetailedImages, image: &ImageDetails) -> Option<&'a ImageDetails> {
    let parent: Digest = image.records.iter().find_map(ImageRecord::parent)?;
    let images = &details.images;
    let found = images.binary_search_by(|image| image.target.digest.cmp(&parent));
    found.ok().map(|index| &images[index])
}
