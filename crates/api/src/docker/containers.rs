//! `GET /containers/json` and `/containers/{id}/json`: the containers of all stores.
//!
//! A container that a Docker Engine lists is shown as the engine shows it. Of others, only what concerns
//! their images is known.
//!
//! Source: moby, `daemon/list.go`, and `daemon/container.go`, `GetContainer`.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use reclaim_engine::ContainerList;
use reclaim_model::{Container, ContainerSource, ContainerState, FilterArgs, FilterError};
use serde::Serialize;
use serde_json::{Value, json};

use super::api::{ApiRequest, DockerApi};
use super::engines::{self, parsed};
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
    let known = api.engine().containers(api.namespace()).await?;
    if let Some(error) = known.unreadable.first() {
        // A partial list would look complete.
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error));
    }
    let limit = request.query.get("limit").parse().ok();
    let limit = limit.filter(|limit| *limit > 0);
    let all = request.query.is_on("all") || filters.contains_key("status") || limit.is_some();
    let mut listed = Vec::new();
    let path = format!("/containers/json?{}", request.query.encoded());
    for engine in api.engines().await? {
        let body = engines::get(&engine, &request.version, &path).await?;
        listed.extend(parsed::<Vec<Value>>(&body)?);
    }
    let others: Vec<Summary> = others(&known.containers, &listed)
        .into_iter()
        .filter(|container| all || container.state == RUNNING)
        .filter(|container| matches(container, &filters))
        .collect();
    let is_mixed = !listed.is_empty() && !others.is_empty();
    listed.extend(others.iter().map(|container| json!(container)));
    if is_mixed {
        listed.sort_by_key(|container| std::cmp::Reverse(container["Created"].as_i64()));
    }
    listed.truncate(limit.unwrap_or(usize::MAX));
    Ok(respond::json(StatusCode::OK, &listed))
}

const RUNNING: &str = "running";

/// Returns the containers that no Docker Engine lists, sorted by ID. `listed` are those of the engines.
pub(super) fn others(containers: &[Container], listed: &[Value]) -> Vec<Summary> {
    let now = reclaim_engine::now();
    // An engine may have created one since the containers were listed.
    let ids: BTreeSet<&str> = listed.iter().filter_map(|it| it["Id"].as_str()).collect();
    let is_other = |container: &&Container| !is_listed(container) && !ids.contains(&*container.id);
    let others = containers.iter().filter(is_other);
    others.map(|container| summary(container, now)).collect()
}

/// Whether a Docker Engine lists a container.
fn is_listed(container: &Container) -> bool {
    container.source == ContainerSource::Docker
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

pub(super) async fn inspect(
    api: &DockerApi,
    text: &str,
    request: &ApiRequest,
) -> Result<Response, ApiError> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let theirs = match in_engines(api, name, request).await {
        Ok(Some(container)) if is_exact(&container, name) => return shown(&container),
        theirs => theirs,
    };
    let known = api.engine().containers(api.namespace()).await?;
    let ContainerList {
        containers,
        unreadable,
    } = &known;
    // Together, because the beginning of several IDs names no container.
    match find(containers, name)? {
        Some(container) if !is_listed(container) => {
            return Ok(respond::json(StatusCode::OK, &details(container)));
        }
        Some(_) | None => {}
    }
    if let Some(container) = theirs? {
        return shown(&container);
    }
    Err(match unreadable.first() {
        Some(error) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error),
        None => ApiError::new(StatusCode::NOT_FOUND, format!("No such container: {text}")),
    })
}

/// Returns a container as a Docker Engine shows it, if one has it.
async fn in_engines(
    api: &DockerApi,
    name: &str,
    request: &ApiRequest,
) -> Result<Option<Bytes>, ApiError> {
    // No name or ID of Docker has other characters.
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins_well = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !begins_well || !name.bytes().all(is_of_name) {
        return Ok(None);
    }
    let size = u8::from(request.query.is_on("size"));
    let path = format!("/containers/{name}/json?size={size}");
    for engine in api.engines().await? {
        match engines::get(&engine, &request.version, &path).await {
            Err(error) if error.status == StatusCode::NOT_FOUND => {}
            found => return found.map(Some),
        }
    }
    Ok(None)
}

/// Whether a container was found by its ID or its name, and not by the beginning of its ID.
fn is_exact(container: &Bytes, name: &str) -> bool {
    let Ok(container) = parsed::<Value>(container) else {
        return true;
    };
    let has =
        |key: &str| container[key].as_str().map(|it| it.trim_start_matches('/')) == Some(name);
    has("Id") || has("Name")
}

/// Shows a container as its engine does, without the variables of its environment: they often are
/// secrets, and not every client of this socket may use the engine.
fn shown(container: &Bytes) -> Result<Response, ApiError> {
    let mut details: Value = parsed(container)?;
    let variables = details.pointer_mut("/Config/Env");
    match variables.and_then(Value::as_array_mut) {
        Some(variables) if !variables.is_empty() => {
            variables.clear();
            Ok(respond::json(StatusCode::OK, &details))
        }
        Some(_) | None => Ok(respond::json_text(StatusCode::OK, container.to_vec())),
    }
}

/// Finds a container by its ID, which is the name of one that no Docker Engine lists, or by the beginning
/// of the ID.
fn find<'a>(containers: &'a [Container], text: &str) -> Result<Option<&'a Container>, ApiError> {
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
