//! `GET /containers/json`: the containers of all stores, as far as images are concerned.
//!
//! Source: moby, `daemon/list.go`.

use std::collections::BTreeMap;

use axum::response::Response;
use http::StatusCode;
use reclaim_engine::{Listing, Shared};
use reclaim_model::{Container, ContainerState, FilterArgs, FilterError};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Asked, DockerApi, respond};

/// The filters that an engine has here.
const KEYS: [&str; 17] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "label!",
    "until",
];

/// One container of the list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    id: String,
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Vec<Value>,
    labels: BTreeMap<String, String>,
    state: &'static str,
    status: &'static str,
    host_config: Value,
    network_settings: Value,
    mounts: Vec<Value>,
}

pub(super) async fn list(api: &DockerApi, asked: &Asked) -> Result<Response, ApiError> {
    let filters = asked.query.filters()?;
    if let Some(key) = filters.keys().find(|key| !KEYS.contains(key)) {
        return Err(FilterError::UnknownKey(key.to_owned()).into());
    }
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    if let Some(why) = listing.unreadable.first() {
        // Part of a list would look like all of it.
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let all = asked.query.is_on("all") || filters.contains_key("status");
    let listed = summaries(&listing).into_iter();
    let listed = listed.filter(|it| (all || it.state == RUNNING) && matches(it, &filters));
    let limit = asked.query.get("limit").parse().ok().filter(|it| *it > 0);
    let listed: Vec<Summary> = listed.take(limit.unwrap_or(usize::MAX)).collect();
    Ok(respond::json(StatusCode::OK, &listed))
}

const RUNNING: &str = "running";

/// Every container that is known, sorted by ID.
pub(super) fn summaries(listing: &Listing) -> Vec<Summary> {
    listing.containers.iter().map(summary).collect()
}

fn summary(container: &Container) -> Summary {
    let Container {
        id,
        image,
        image_digest,
        labels,
        state,
        ..
    } = container;
    let (state, status) = match state {
        ContainerState::Running | ContainerState::Unknown => (RUNNING, "Up"),
        ContainerState::Stopped => ("exited", "Exited"),
    };
    let digest = image_digest.as_ref().map(ToString::to_string);
    Summary {
        id: id.clone(),
        names: vec![format!("/{id}")],
        image: image.clone(),
        image_id: digest.unwrap_or_default(),
        command: String::new(),
        created: 0,
        ports: Vec::new(),
        labels: labels.clone(),
        state,
        status,
        host_config: json!({"NetworkMode": "default"}),
        network_settings: json!({"Networks": {}}),
        mounts: Vec::new(),
    }
}

/// Values of one filter are alternatives, but for labels; all filters must hold. What nothing is
/// known of matches nothing.
fn matches(container: &Summary, filters: &FilterArgs) -> bool {
    filters.keys().all(|key| {
        let mut values = filters.values(key);
        match key {
            "label" => values.all(|it| has_label(container, it)),
            "label!" => values.all(|it| !has_label(container, it)),
            "id" => values.any(|it| container.id.starts_with(it)),
            "name" => values.any(|it| container.id.contains(it.trim_start_matches('/'))),
            "status" => values.any(|it| container.state == it),
            "ancestor" => values.any(|it| container.image == it || container.image_id == it),
            _ => false,
        }
    })
}

fn has_label(container: &Summary, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => container.labels.get(key).is_some_and(|it| it == value),
        None => container.labels.contains_key(wanted),
    }
}
