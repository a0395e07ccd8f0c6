//! Calls of bollard.

use std::path::Path;

use bollard::Docker;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::{
    EventsOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    PruneImagesOptionsBuilder, RemoveImageOptions, RemoveImageOptionsBuilder,
};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::built;

#[expect(clippy::disallowed_types, reason = "the library's type")]
type Filters = std::collections::HashMap<String, Vec<String>>;

/// The requests have no version, whichever is set: each engine answers in its newest.
pub(super) fn connect(socket: &Path) -> Docker {
    let address = format!("unix://{}", socket.display());
    Docker::connect_with_unix(&address, 60, bollard::API_DEFAULT_VERSION).unwrap()
}

/// Calls the engine, and returns a line for each result, without IDs of containers and times.
pub(super) async fn calls(socket: &Path) -> Vec<String> {
    let docker = connect(socket);
    let begin = jiff::Timestamp::now().as_second();
    let mut lines = reads(&docker).await;
    lines.extend(removals(&docker).await);
    let end = jiff::Timestamp::now().as_second() + 1;
    let options = EventsOptionsBuilder::new()
        .since(&begin.to_string())
        .until(&end.to_string())
        .filters(&filters(&[("type", "image")]))
        .build();
    let events = docker.events(Some(options)).try_collect::<Vec<_>>();
    let mut events: Vec<String> = events
        .await
        .unwrap()
        .into_iter()
        .map(|event| (event.action.unwrap(), event.actor.unwrap()))
        .filter(|(action, _)| ["untag", "delete"].contains(&action.as_str()))
        .map(|(action, actor)| {
            format!("event {action} {:?}", actor.attributes.unwrap().get("name"))
        })
        .collect();
    events.sort();
    lines.extend(events);
    lines
}

async fn reads(docker: &Docker) -> Vec<String> {
    let mut lines = vec![
        line("ping", &docker.ping().await.unwrap()),
        line("version", &docker.version().await.unwrap().os),
        line("info", &docker.info().await.unwrap().os_type),
    ];
    for of_filters in [
        &[][..],
        &[("reference", "keep")],
        &[("label", "keep=1")],
        &[("dangling", "true")],
    ] {
        lines.push(line("list", &list(docker, of_filters).await));
    }
    for name in [
        "attested:1",
        "several:1",
        "whole:1",
        "plain:1",
        "quay.io/team/far:1",
    ] {
        let image = docker.inspect_image(name).await.unwrap();
        let config = image.config.unwrap();
        let shown = json!([
            image.id,
            image.repo_tags,
            image.architecture,
            image.os,
            [json!(config.cmd), json!(config.env), json!(config.labels)],
            image.root_fs,
            image.descriptor.unwrap().media_type,
        ]);
        lines.push(line("inspect", &shown));
    }
    for name in built::NAMES {
        let steps = docker.image_history(name).await.unwrap();
        lines.push(line("history", &steps));
    }
    for name in ["missing:1", "UPPER"] {
        lines.push(refused(docker.inspect_image(name).await));
        lines.push(refused(docker.image_history(name).await));
    }
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let containers = docker.list_containers(Some(options)).await.unwrap();
    let mut containers: Vec<String> = containers
        .into_iter()
        .map(|container| json!([container.image, container.image_id, container.labels]).to_string())
        .collect();
    containers.sort();
    lines.push(line("containers", &containers));
    lines
}

async fn removals(docker: &Docker) -> Vec<String> {
    let remove = async |name: &str, options: RemoveImageOptions| {
        docker.remove_image(name, Some(options), None).await
    };
    let plain = || RemoveImageOptionsBuilder::new().build();
    let force = RemoveImageOptionsBuilder::new().force(true).build();
    let used = docker.inspect_image("used:1").await.unwrap().id.unwrap();
    let mut lines = vec![
        line("remove", &remove("plain:1", plain()).await.unwrap()),
        line("remove", &remove("keep:1", plain()).await.unwrap()),
        line("remove", &remove("whole:1", force).await.unwrap()),
        refused(remove("missing:1", plain()).await),
        refused(remove(&used, plain()).await),
    ];
    for of_filters in [
        &[][..],
        &[("dangling", "false"), ("label", "several")],
        &[("reference", "x")],
    ] {
        let options = PruneImagesOptionsBuilder::new()
            .filters(&filters(of_filters))
            .build();
        let pruned = docker.prune_images(Some(options)).await;
        lines.push(match pruned {
            Ok(pruned) => {
                let rows = pruned.images_deleted.unwrap_or_default();
                let mut rows: Vec<String> = rows.iter().map(|row| json!(row).to_string()).collect();
                rows.sort();
                line("prune", &rows)
            }
            refusal @ Err(_) => refused(refusal),
        });
        lines.push(line("list", &list(docker, &[]).await));
    }
    lines
}

/// Returns what all images of the list are.
async fn list(docker: &Docker, of_filters: &[(&str, &str)]) -> Vec<String> {
    let options = ListImagesOptionsBuilder::new()
        .all(true)
        .filters(&filters(of_filters))
        .manifests(true)
        .build();
    let images = docker.list_images(Some(options)).await.unwrap();
    let mut images: Vec<String> = images
        .into_iter()
        .map(|image| {
            let platforms = image.manifests.unwrap_or_default();
            let platforms: Vec<Value> = platforms
                .into_iter()
                .map(|manifest| json!([manifest.id, manifest.kind, manifest.available]))
                .collect();
            json!([
                image.id,
                image.repo_tags,
                image.size,
                image.labels,
                platforms
            ])
            .to_string()
        })
        .collect();
    images.sort();
    images
}

fn filters(pairs: &[(&str, &str)]) -> Filters {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()]))
        .collect()
}

fn line(call: &str, result: &impl serde::Serialize) -> String {
    format!("{call} {}", json!(result))
}

/// Returns the error, without the ID of a container in it.
fn refused<T>(result: Result<T, ApiError>) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(ApiError::DockerResponseServerError {
            status_code,
            message,
        }) => {
            let mut words: Vec<&str> = message.split(' ').collect();
            for at in 1..words.len() {
                if words[at - 1] == "container" {
                    words[at] = "ID";
                }
            }
            format!("refused {status_code} {}", words.join(" "))
        }
        Err(other) => format!("refused {other}"),
    }
}
