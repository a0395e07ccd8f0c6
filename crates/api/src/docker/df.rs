//! `GET /system/df`.
//!
//! Up to 1.51 an answer lists everything and clients add it up; from 1.52 on it has the sums, and
//! lists only for clients that ask for them. Without that question 1.52 answers in both forms, for
//! clients that take the newest version without knowing it.
//!
//! Source: moby, `daemon/disk_usage.go` and `daemon/server/router/system/`.

use axum::response::Response;
use http::StatusCode;
use reclaim_engine::{Listing, Shared};
use reclaim_model::{Container, ContainerState};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::containers::{self, summaries};
use super::error::ApiError;
use super::list::{self, Wants, bytes, summary};
use super::names::Names;
use super::version::ApiVersion;
use super::{Asked, DockerApi, respond};

/// From here on answers have sums.
const SUMS: &str = "1.52";

/// The key of all bytes of images, where there are lists.
const LAYERS_SIZE: &str = "LayersSize";

/// A kind of thing: by what it is asked for, and its keys in either form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    list: &'static str,
    sums: &'static str,
}

const CONTAINER: Kind = Kind {
    name: "container",
    list: "Containers",
    sums: "ContainerUsage",
};
const IMAGE: Kind = Kind {
    name: "image",
    list: "Images",
    sums: "ImageUsage",
};
const VOLUME: Kind = Kind {
    name: "volume",
    list: "Volumes",
    sums: "VolumeUsage",
};
const BUILD_CACHE: Kind = Kind {
    name: "build-cache",
    list: "BuildCache",
    sums: "BuildCacheUsage",
};
const KINDS: [Kind; 4] = [CONTAINER, IMAGE, VOLUME, BUILD_CACHE];

/// What things of one kind come to. What is zero or empty is left out.
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Which forms an answer has.
#[derive(Debug, Clone, Copy)]
struct Forms {
    lists: bool,
    sums: bool,
}

pub(super) async fn df(api: &DockerApi, asked: &Asked) -> Result<Response, ApiError> {
    let wanted = wanted(asked)?;
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let sums = asked.version.is_at_least(SUMS);
    let lists = !(sums && asked.query.is_on("verbose"));
    let forms = Forms { lists, sums };
    let version = asked.version.clone();
    let adding_up = listing.read(move |it| answer(it, &wanted, forms, &version));
    Ok(adding_up.await)
}

fn answer(listing: &Listing, wanted: &[Kind], forms: Forms, version: &ApiVersion) -> Response {
    let Forms { lists, sums } = forms;
    let mut body = Map::new();
    if !sums {
        // What is not asked for is there, too.
        body.extend(KINDS.map(|kind| (kind.list.to_owned(), Value::Null)));
        body.insert(LAYERS_SIZE.to_owned(), json!(0));
    }
    for kind in wanted.iter().copied() {
        if kind == IMAGE {
            let usage = images(listing, version);
            if lists {
                body.insert(LAYERS_SIZE.to_owned(), json!(usage.total_size));
            }
            put(&mut body, kind, forms, &usage);
        } else if kind == CONTAINER {
            put(&mut body, kind, forms, &running(listing));
        } else {
            // There are none here.
            put(&mut body, kind, forms, &Usage::<Value>::default());
        }
    }
    respond::json(StatusCode::OK, &body)
}

fn put<T: Serialize>(body: &mut Map<String, Value>, kind: Kind, forms: Forms, usage: &Usage<T>) {
    if forms.lists {
        body.insert(kind.list.to_owned(), json!(usage.items));
    }
    if forms.sums {
        body.insert(kind.sums.to_owned(), json!(usage));
    }
}

/// The kinds that are asked for; all if none is named, or the version knows no such question.
fn wanted(asked: &Asked) -> Result<Vec<Kind>, ApiError> {
    let types = asked.query.all("type");
    if types.is_empty() || !asked.version.is_at_least("1.42") {
        return Ok(KINDS.to_vec());
    }
    let is_known = |it: &String| KINDS.iter().any(|kind| kind.name == it);
    if let Some(unknown) = types.iter().find(|it| !is_known(it)) {
        return Err(ApiError::bad(format!("unknown object type: {unknown}")));
    }
    let kinds = KINDS.into_iter();
    Ok(kinds
        .filter(|kind| types.iter().any(|it| it == kind.name))
        .collect())
}

fn images(listing: &Listing, version: &ApiVersion) -> Usage<list::Summary> {
    let wants = Wants {
        shared_size: true,
        manifests: false,
        containers: true,
    };
    let images = listing.details.images.iter();
    let images = images.filter(|it| !(it.has_child && it.is_dangling()));
    let items = images.map(|image| {
        let names = Names::of(image, image.records.iter());
        summary(listing, image, names, wants, version)
    });
    let mut items: Vec<list::Summary> = items.collect();
    list::sort(&mut items);
    // An image of unknown use is none of both.
    let unused = items.iter().filter(|it| it.containers == 0);
    let reclaimable = unused.map(|it| it.size.saturating_sub(it.shared_size));
    Usage {
        active_count: count(items.iter().filter(|it| it.containers > 0)),
        reclaimable: reclaimable.fold(0, i64::saturating_add),
        total_count: count(items.iter()),
        total_size: bytes(listing.details.total_bytes),
        items,
    }
}

/// What containers have written is theirs alone: no size of them is known here.
fn running(listing: &Listing) -> Usage<containers::Summary> {
    let is_active = |it: &&Container| it.state != ContainerState::Stopped;
    Usage {
        active_count: count(listing.containers.iter().filter(is_active)),
        total_count: count(listing.containers.iter()),
        items: summaries(listing),
        reclaimable: 0,
        total_size: 0,
    }
}

fn count<T>(things: impl Iterator<Item = T>) -> i64 {
    i64::try_from(things.count()).unwrap_or(i64::MAX)
}
