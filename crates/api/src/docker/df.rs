//! `GET /system/df`.
//!
//! Up to 1.51 a response lists every object and clients add up the sizes. From 1.52 on it has
//! totals, and with `verbose` only those. Without `verbose`, 1.52 answers in both forms, for clients
//! that use the newest version without knowing it.
//!
//! Source: moby, `daemon/disk_usage.go` and `daemon/server/router/system/`.

use axum::response::Response;
use http::StatusCode;
use reclaim_engine::{ImageDetails, Listing, Shared};
use reclaim_model::{Container, ContainerState};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::api::{ApiRequest, DockerApi};
use super::containers::{self, summaries};
use super::error::ApiError;
use super::list::{self, NoNames, OptionalFields, bytes, summary};
use super::names::Names;
use super::respond;
use super::version::ApiVersion;

/// The first version with totals.
const TOTALS_SINCE: &str = "1.52";

/// The key of the size of all images, in the form with lists.
const LAYERS_SIZE: &str = "LayersSize";

/// A kind of object: its value of the parameter `type`, and its keys in the two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    list: &'static str,
    totals: &'static str,
}

const CONTAINER: Kind = Kind {
    name: "container",
    list: "Containers",
    totals: "ContainerUsage",
};
const IMAGE: Kind = Kind {
    name: "image",
    list: "Images",
    totals: "ImageUsage",
};
const VOLUME: Kind = Kind {
    name: "volume",
    list: "Volumes",
    totals: "VolumeUsage",
};
const BUILD_CACHE: Kind = Kind {
    name: "build-cache",
    list: "BuildCache",
    totals: "BuildCacheUsage",
};
const KINDS: [Kind; 4] = [CONTAINER, IMAGE, VOLUME, BUILD_CACHE];

/// The totals of one kind. Zeros and empty lists are left out, as in Docker.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Usage<T> {
    #[serde(skip_serializing_if = "is_zero")]
    active_count: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<T>,
    #[serde(skip_serializing_if = "is_zero")]
    reclaimable: i64,
    #[serde(skip_serializing_if = "is_zero")]
    total_count: i64,
    #[serde(skip_serializing_if = "is_zero")]
    total_size: i64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The forms of a response.
#[derive(Debug, Clone, Copy)]
struct Forms {
    lists: bool,
    totals: bool,
}

pub(super) async fn df(api: &DockerApi, request: &ApiRequest) -> Result<Response, ApiError> {
    let wanted = wanted(request)?;
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let totals = request.version.is_at_least(TOTALS_SINCE);
    let lists = !(totals && request.query.is_on("verbose"));
    let forms = Forms { lists, totals };
    let version = request.version.clone();
    let response = listing.read(move |listing| answer(listing, &wanted, forms, &version));
    Ok(response.await)
}

fn answer(listing: &Listing, wanted: &[Kind], forms: Forms, version: &ApiVersion) -> Response {
    let Forms { lists, totals } = forms;
    let mut body = Map::new();
    if !totals {
        // Kinds that were not requested are null.
        body.extend(KINDS.map(|kind| (kind.list.to_owned(), Value::Null)));
        body.insert(LAYERS_SIZE.to_owned(), json!(0));
    }
    for kind in wanted.iter().copied() {
        if kind == IMAGE {
            let usage = image_usage(listing, version);
            if lists {
                body.insert(LAYERS_SIZE.to_owned(), json!(usage.total_size));
            }
            put(&mut body, kind, forms, &usage);
        } else if kind == CONTAINER {
            put(&mut body, kind, forms, &container_usage(listing));
        } else {
            // This engine has no volumes and no build cache.
            put(&mut body, kind, forms, &Usage::<Value>::default());
        }
    }
    respond::json(StatusCode::OK, &body)
}

fn put<T: Serialize>(body: &mut Map<String, Value>, kind: Kind, forms: Forms, usage: &Usage<T>) {
    if forms.lists {
        body.insert(kind.list.to_owned(), json!(usage.items));
    }
    if forms.totals {
        body.insert(kind.totals.to_owned(), json!(usage));
    }
}

/// Returns the requested kinds; all if none is named or the version has no parameter `type`.
fn wanted(request: &ApiRequest) -> Result<Vec<Kind>, ApiError> {
    let types = request.query.all("type");
    if types.is_empty() || !request.version.is_at_least("1.42") {
        return Ok(KINDS.to_vec());
    }
    let is_unknown = |name: &&String| KINDS.iter().all(|kind| kind.name != *name);
    if let Some(unknown) = types.iter().find(is_unknown) {
        return Err(ApiError::bad(format!("unknown object type: {unknown}")));
    }
    Ok(KINDS
        .into_iter()
        .filter(|kind| types.iter().any(|name| name == kind.name))
        .collect())
}

fn image_usage(listing: &Listing, version: &ApiVersion) -> Usage<list::Summary> {
    let fields = OptionalFields {
        shared_size: true,
        containers: true,
        names: NoNames::Null,
    };
    let is_shown = |image: &&ImageDetails| !(image.has_child && image.is_dangling());
    let mut items: Vec<list::Summary> = listing
        .details
        .images
        .iter()
        .filter(is_shown)
        .map(|image| {
            let names = Names::of(image, image.records.iter());
            let mut summary = summary(listing, image, names, fields, version);
            // In every version, unlike in the list.
            summary.descriptor = Some((&image.target).into());
            summary
        })
        .collect();
    list::sort(&mut items);
    // -1, an unknown number of containers, is neither active nor reclaimable.
    let reclaimable = items
        .iter()
        .filter(|image| image.containers == 0)
        .map(|image| image.size.saturating_sub(image.shared_size))
        .fold(0, i64::saturating_add);
    Usage {
        active_count: count(items.iter().filter(|image| image.containers > 0)),
        reclaimable,
        total_count: count(items.iter()),
        total_size: bytes(listing.details.total_bytes),
        items,
    }
}

/// Sizes are 0: the engine does not measure what containers have written.
fn container_usage(listing: &Listing) -> Usage<containers::Summary> {
    let is_active = |container: &&Container| container.state != ContainerState::Stopped;
    Usage {
        active_count: count(listing.containers.iter().filter(is_active)),
        total_count: count(listing.containers.iter()),
        items: summaries(listing),
        reclaimable: 0,
        total_size: 0,
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}
