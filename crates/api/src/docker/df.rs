//! `GET /system/df`.
//!
//! Source: moby, `daemon/disk_usage.go` and `daemon/containerd/service.go`.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::containers::summaries;
use super::error::ApiError;
use super::list::{Wants, bytes, summary};
use super::names::Names;
use super::{Asked, DockerApi, respond};

const TYPES: [&str; 4] = ["container", "image", "volume", "build-cache"];

pub(super) async fn df(api: &DockerApi, asked: &Asked) -> Result<Response, ApiError> {
    let types = asked.query.all("type");
    if let Some(unknown) = types.iter().find(|it| !TYPES.contains(&it.as_str())) {
        return Err(ApiError::bad(format!("unknown object type: {unknown}")));
    }
    let is_wanted = |what: &str| types.is_empty() || types.iter().any(|it| it == what);
    let listing = api.engine().listing(api.namespace()).await?;
    let wants = Wants {
        shared_size: true,
        manifests: false,
        containers: true,
    };
    let mut body = Map::from_iter([("LayersSize".to_owned(), json!(0))]);
    let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
    for key in ["Images", "Containers", "Volumes", "BuildCache"] {
        put(key, Value::Null);
    }
    if is_wanted("image") {
        let images = listing.catalog.images.iter();
        let images = images.filter(|it| !(it.has_child && it.is_dangling()));
        let images = images.map(|image| {
            let names = Names::of(image, image.records.iter());
            summary(&listing, image, names, wants, &asked.version)
        });
        put("LayersSize", json!(bytes(listing.catalog.total_bytes)));
        put("Images", json!(images.collect::<Vec<_>>()));
    }
    if is_wanted("container") {
        put("Containers", json!(summaries(&listing)));
    }
    if is_wanted("volume") {
        put("Volumes", json!([]));
    }
    if is_wanted("build-cache") {
        put("BuildCache", json!([]));
    }
    Ok(respond::json(StatusCode::OK, &body))
}
