//! `GET /system/df`.
//!
//! Up to 1.51 a response lists every object and clients add up the sizes. From 1.52 on it has
//! totals, and with `verbose` only those. Without `verbose`, 1.52 answers in both forms, for clients
//! that use the newest version without knowing it.
//!
//! Containers, volumes and build cache are those that the Docker Engines report, and containers that no
//! engine lists. As in Docker, a request fails if one kind of what it requests cannot be measured.
//!
//! Source: moby, `daemon/disk_usage.go` and `daemon/server/router/system/`.

use std::collections::BTreeMap;

use axum::response::Response;
use http::StatusCode;
use reclaim_engine::{ImageDetails, Listing, Shared};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::api::{ApiRequest, DockerApi};
use super::containers::others;
use super::engines::{self, parsed, version_of};
use super::error::ApiError;
use super::list::{self, NoNames, OptionalFields, bytes, summary};
use super::names::Names;
use super::respond;
use super::version::ApiVersion;

/// The first version with totals.
const TOTALS_SINCE: &str = "1.52";

/// The key of the size of all images, in the form with lists.
const LAYERS_SIZE: &str = "LayersSize";

/// The key of the size of the build cache, up to 1.41.
const BUILDER_SIZE: &str = "BuilderSize";

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
    let reading = async { Ok(api.engine().listing(api.namespace()).await?) };
    let (listing, engines) = tokio::try_join!(reading, of_engines(api, request, &wanted))?;
    let listing = Shared::new(listing);
    let totals = request.version.is_at_least(TOTALS_SINCE);
    let lists = !(totals && request.query.is_on("verbose"));
    let forms = Forms { lists, totals };
    let version = request.version.clone();
    let response = listing.read(move |listing| answer(listing, engines, &wanted, forms, &version));
    Ok(response.await)
}

/// What the Docker Engines report.
#[derive(Debug, Default)]
struct OfEngines {
    /// The objects of each kind, by the key of their list.
    items: BTreeMap<&'static str, Vec<Value>>,
    /// The size of the build cache, which they report up to 1.41.
    builder_size: Option<i64>,
}

/// Requests from each engine what it alone knows: everything but images.
async fn of_engines(
    api: &DockerApi,
    request: &ApiRequest,
    wanted: &[Kind],
) -> Result<OfEngines, ApiError> {
    let mut found = OfEngines::default();
    let kinds: Vec<Kind> = wanted.iter().copied().filter(|it| *it != IMAGE).collect();
    if kinds.is_empty() {
        return Ok(found);
    }
    for engine in api.engines().await? {
        let version = version_of(&engine, &request.version);
        let has_totals = version.is_at_least(TOTALS_SINCE);
        let types = kinds.iter().map(|kind| format!("type={}&", kind.name));
        let verbose = u8::from(has_totals);
        let path = format!("/system/df?{}verbose={verbose}", types.collect::<String>());
        let body = engines::get(&engine, &version, &path).await?;
        let mut body: Map<String, Value> = parsed(&body)?;
        for kind in &kinds {
            let items = match (has_totals, body.get_mut(kind.totals)) {
                (true, usage) => usage.and_then(|usage| usage.get_mut("Items")),
                (false, _) => body.get_mut(kind.list),
            };
            if let Some(Value::Array(items)) = items.map(Value::take) {
                found.items.entry(kind.list).or_default().extend(items);
            }
        }
        if let Some(size) = body.get(BUILDER_SIZE).and_then(Value::as_i64) {
            found.builder_size = Some(found.builder_size.unwrap_or(0).saturating_add(size));
        }
    }
    Ok(found)
}

fn answer(
    listing: &Listing,
    mut engines: OfEngines,
    wanted: &[Kind],
    forms: Forms,
    version: &ApiVersion,
) -> Response {
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
        } else {
            let mut items = engines.items.remove(kind.list).unwrap_or_default();
            if kind == CONTAINER {
                let others = others(&listing.containers, &items);
                items.extend(others.iter().map(|container| json!(container)));
            }
            put(&mut body, kind, forms, &usage(kind, items));
        }
    }
    if let Some(size) = engines.builder_size {
        body.insert(BUILDER_SIZE.to_owned(), json!(size));
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

/// Adds up objects that are not images, as Docker does from 1.52 on. Of a container that no engine lists,
/// what it has written is unknown, and 0.
///
/// Source: moby, `daemon/disk_usage.go`, and `DiskUsage` of `daemon/internal/builder-next/builder.go`.
fn usage(kind: Kind, items: Vec<Value>) -> Usage<Value> {
    let mut usage = Usage {
        total_count: count(items.iter()),
        ..Usage::default()
    };
    for item in &items {
        let Measured {
            size,
            is_active,
            is_reclaimable,
        } = Measured::of(kind, item);
        usage.total_size = usage.total_size.saturating_add(size);
        usage.active_count += i64::from(is_active);
        if is_reclaimable {
            usage.reclaimable = usage.reclaimable.saturating_add(size);
        }
    }
    usage.items = items;
    usage
}

/// One object, as far as it counts.
struct Measured {
    size: i64,
    is_active: bool,
    is_reclaimable: bool,
}

impl Measured {
    fn of(kind: Kind, item: &Value) -> Self {
        let number = |item: &Value| item.as_i64().unwrap_or_default();
        let is_on = |key: &str| item[key].as_bool().unwrap_or_default();
        let (size, is_active, is_reclaimable) = if kind == VOLUME {
            let data = &item["UsageData"];
            // -1 is an unknown size, and such a volume counts as active.
            let is_unused = number(&data["Size"]) != -1 && number(&data["RefCount"]) == 0;
            (number(&data["Size"]).max(0), !is_unused, is_unused)
        } else if kind == BUILD_CACHE {
            let is_active = is_on("InUse");
            let is_reclaimable = !is_active && !is_on("Shared");
            (number(&item["Size"]), is_active, is_reclaimable)
        } else {
            let state = item["State"].as_str();
            let is_active = matches!(state, Some("running" | "paused" | "restarting"));
            (number(&item["SizeRw"]), is_active, !is_active)
        };
        Self {
            size,
            is_active,
            is_reclaimable,
        }
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}
