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

use super::error::ApiError;
use super::inspect::{choose, config};
use super::list::{bytes, created};
use super::names::Names;
use super::platform::PlatformWords;
use super::respond::json;
use super::{Asked, DockerApi};

/// What stands for the ID of a step that is no image of its own.
const MISSING: &str = "<missing>";

/// One step by which the image was built.
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

/// One step as the configuration has it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Recorded {
    created: Option<String>,
    created_by: String,
    comment: String,
    empty_layer: bool,
}

pub(super) async fn history(
    api: &DockerApi,
    name: &str,
    asked: &Asked,
) -> Result<Response, ApiError> {
    let platform = PlatformWords::parse(asked.query.get("platform"))?;
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let image = listing.details.find(name)?;
    let manifest = choose(image, name, platform.as_ref())?;
    let config = config(api, manifest).await?;
    let steps = steps(&listing.details, image, manifest, &config);
    Ok(json(StatusCode::OK, &steps))
}

/// The last step first.
fn steps(
    details: &DetailedImages,
    image: &ImageDetails,
    manifest: Option<&ManifestDetails>,
    config: &Value,
) -> Vec<Step> {
    let recorded = config["history"].as_array().into_iter().flatten();
    let recorded = recorded.map(|it| Recorded::deserialize(it).unwrap_or_default());
    let mut layers = manifest.into_iter().flat_map(|it| it.layer_bytes.iter());
    let steps = recorded.map(|step| Step {
        size: if step.empty_layer {
            0
        } else {
            bytes(layers.next().copied().unwrap_or(0))
        },
        created: moment(&step, image),
        comment: step.comment,
        created_by: step.created_by,
        id: MISSING.to_owned(),
        tags: None,
    });
    let mut steps: Vec<Step> = steps.collect();
    steps.reverse();
    // The classic builder left an image for each step; others left only the last.
    let mut at = Some(image);
    for step in &mut steps {
        let Some(image) = at else { break };
        let names = Names::of(image, image.records.iter());
        step.id = image.target.digest.to_string();
        step.tags = (!names.tags.is_empty()).then_some(names.tags);
        at = parent(details, image);
    }
    steps
}

fn moment(step: &Recorded, image: &ImageDetails) -> i64 {
    let moment = step
        .created
        .as_ref()
        .and_then(|it| it.parse::<Timestamp>().ok());
    moment.unwrap_or_else(|| created(image)).as_second()
}

fn parent<'a>(details: &'a DetailedImages, image: &ImageDetails) -> Option<&'a ImageDetails> {
    let parent: Digest = image.records.iter().find_map(ImageRecord::parent)?;
    let at = details
        .images
        .binary_search_by(|it| it.target.digest.cmp(&parent));
    at.ok().map(|at| &details.images[at])
}
