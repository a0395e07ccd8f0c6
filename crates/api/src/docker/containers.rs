//! `GET /containers/json` and `/containers/{id}/json`: the containers of all stores, as far as images
//! are concerned.
//!
//! Source: moby, `daemon/list.go`, and `daemon/container.go`, `GetContainer`.

use std::collections::BTreeMap;

use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use reclaim_engine::{Listing, Shared};
use reclaim_model::{Container, ContainerState, FilterArgs, FilterError};
use serde::Serialize;
use serde_json::{Value, json};

use super::api::{ApiRequest, DockerApi};
use super::error::ApiError;
use super::identity::NO_TIME;
use super::respond;

/// The filters that Docker accepts here.
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

/// A container of the list.
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

pub(super) async fn list(api: &DockerApi, request: &ApiRequest) -> Result<Response, ApiError> {
    let filters = request.query.filters()?;
    if let Some(key) = filters.keys().find(|key| !KEYS.contains(key)) {
        return Err(FilterError::UnknownKey(key.to_owned()).into());
    }
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    if let Some(error) = listing.unreadable.first() {
        // A partial list would look complete.
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error));
    }
    let all = request.query.is_on("all") || filters.contains_key("status");
    let limit = request.query.get("limit").parse().ok();
    let listed: Vec<Summary> = summaries(&listing)
        .into_iter()
        .filter(|container| all || container.state == RUNNING)
        .filter(|container| matches(container, &filters))
        .take(limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX))
        .collect();
    Ok(respond::json(StatusCode::OK, &listed))
}

const RUNNING: &str = "running";

/// Returns all containers, sorted by ID.
pub(super) fn summaries(listing: &Listing) -> Vec<Summary> {
    let now = reclaim_engine::now();
    let containers = listing.containers.iter();
    containers
        .map(|container| summary(container, now))
        .collect()
}

/// Returns the state and the status of a container.
fn shown_state(state: ContainerState) -> (&'static str, &'static str) {
    match state {
        ContainerState::Running | ContainerState::Unknown => (RUNNING, "Up"),
        ContainerState::Stopped => ("exited", "Exited"),
    }
}

/// An unknown creation time is `now`: clients print an age in any case, and that of 0 is 56 years.
fn summary(container: &Container, now: Timestamp) -> Summary {
    let Container {
        id,
        image,
        image_digest,
        labels,
        state,
        created,
        ..
    } = container;
    let (state, status) = shown_state(*state);
    let digest = image_digest.as_ref().map(ToString::to_string);
    Summary {
        id: id.clone(),
        names: vec![format!("/{id}")],
        image: image.clone(),
        image_id: digest.unwrap_or_default(),
        command: String::new(),
        created: created.unwrap_or(now).as_second(),
        ports: Vec::new(),
        labels: labels.clone(),
        state,
        status,
        host_config: json!({"NetworkMode": "default"}),
        network_settings: json!({"Networks": {}}),
        mounts: Vec::new(),
    }
}

pub(super) async fn inspect(api: &DockerApi, text: &str) -> Result<Response, ApiError> {
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let Some(container) = find(&listing.containers, text)? else {
        let missing = || ApiError::new(StatusCode::NOT_FOUND, format!("No such container: {text}"));
        let unlisted = |error| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error);
        return Err(listing.unreadable.first().map_or_else(missing, unlisted));
    };
    Ok(respond::json(StatusCode::OK, &details(container)))
}

/// Finds a container by its ID, by its name, which is the ID, or by the beginning of the ID.
fn find<'a>(containers: &'a [Container], text: &str) -> Result<Option<&'a Container>, ApiError> {
    let text = text.strip_prefix('/').unwrap_or(text);
    let exact = containers.iter().find(|container| container.id == text);
    if exact.is_some() || text.is_empty() {
        return Ok(exact);
    }
    let mut beginning = containers
        .iter()
        .filter(|container| container.id.starts_with(text));
    match (beginning.next(), beginning.next()) {
        (Some(_), Some(_)) => Err(ApiError::bad(format!(
            "multiple IDs found with provided prefix: {text}"
        ))),
        (found, _) => Ok(found),
    }
}

/// Returns what is known about a container, and the empty fields that clients need.
fn details(container: &Container) -> Value {
    let (status, _) = shown_state(container.state);
    let created = container.created.map(|created| created.to_string());
    let digest = container.image_digest.as_ref().map(ToString::to_string);
    json!({
        "Id": container.id,
        "Created": created.as_deref().unwrap_or(NO_TIME),
        "Path": "",
        "Args": [],
        "State": {
            "Status": status,
            "Running": status == RUNNING,
            "Paused": false,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": false,
            "Pid": 0,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": NO_TIME,
            "FinishedAt": NO_TIME,
        },
        "Image": digest.unwrap_or_default(),
        "Name": format!("/{}", container.id),
        "RestartCount": 0,
        "Driver": "",
        "Platform": "linux",
        "HostConfig": {"NetworkMode": "default"},
        "Mounts": [],
        "Config": {"Image": container.image, "Labels": container.labels},
        "NetworkSettings": {"Networks": {}},
    })
}

/// Whether a container matches all filters: all values of `label` and `label!`, any value of others.
/// Filters on unknown properties match nothing.
fn matches(container: &Summary, filters: &FilterArgs) -> bool {
    filters.keys().all(|key| {
        let mut values = filters.values(key);
        match key {
            "label" => values.all(|label| has_label(container, label)),
            "label!" => values.all(|label| !has_label(container, label)),
            "id" => values.any(|prefix| container.id.starts_with(prefix)),
            "name" => values.any(|part| container.id.contains(part.trim_start_matches('/'))),
            "status" => values.any(|state| container.state == state),
            "ancestor" => {
                values.any(|image| container.image == image || container.image_id == image)
            }
            _ => false,
        }
    })
}

fn has_label(container: &Summary, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => container
            .labels
            .get(key)
            .is_some_and(|found| found == value),
        None => container.labels.contains_key(wanted),
    }
}
