//! An engine in a hundred lines: its containers are its own, its prune is ours.
//!
//! It keeps containers in memory, creates and removes them over HTTP, and mounts the routes of
//! Docker's API for images on its own server, so that `docker image prune` asks it. What it
//! registers is in use from that moment on.
//!
//! ```console
//! $ cargo run --example engine -- /run/containerd/containerd.sock default /tmp/engine.sock &
//! $ curl --unix-socket /tmp/engine.sock -X PUT http://engine/containers/web?image=app:1
//! $ DOCKER_HOST=unix:///tmp/engine.sock docker image prune -a -f
//! $ curl --unix-socket /tmp/engine.sock -X DELETE http://engine/containers/web
//! ```

use std::error::Error;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use reclaim_api::docker::{DockerApi, DockerOptions};
use reclaim_engine::{Engine, InMemoryContainers, RunOptions};
use reclaim_model::{Container, Namespace};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// What the engine knows.
#[derive(Clone)]
struct Shop {
    containers: Arc<InMemoryContainers>,
    namespace: Namespace,
}

/// What a container is created from.
#[derive(Deserialize)]
struct Create {
    image: String,
}

/// Registers a container before anything is done for it: from here on its image stays.
async fn create(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    Query(Create { image }): Query<Create>,
) -> StatusCode {
    let container = Container {
        id,
        image,
        ..Container::default()
    };
    shop.containers.upsert(&shop.namespace, container);
    StatusCode::CREATED
}

/// Takes a container off when nothing of it is left.
async fn remove(State(shop): State<Shop>, Path(id): Path<String>) -> StatusCode {
    match shop.containers.remove(&shop.namespace, &id) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

/// Lists the containers with what they were created from.
async fn list(State(shop): State<Shop>) -> Json<Vec<(String, String)>> {
    let containers = shop.containers.registered(&shop.namespace).into_values();
    Json(containers.map(|it| (it.id, it.image)).collect())
}

/// Serves until the process ends.
pub(crate) async fn serve(
    containerd: &str,
    namespace: &str,
    socket: &str,
) -> Result<(), Box<dyn Error>> {
    let shop = Shop {
        containers: Arc::new(InMemoryContainers::new()),
        namespace: namespace.parse()?,
    };
    let engine = Engine::connect(containerd).await?;
    let engine = engine.with_containers(Arc::clone(&shop.containers) as _);
    let options = DockerOptions {
        namespace: shop.namespace.clone(),
        run: RunOptions::default(),
        cancel: CancellationToken::new(),
    };
    // Ours for everything that the engine has no route for.
    let images = DockerApi::new(Arc::new(engine), options).router();
    let router = Router::new()
        .route("/containers/{id}", put(create).delete(remove))
        .route("/containers", get(list))
        .with_state(shop)
        .merge(images);
    axum::serve(UnixListener::bind(socket)?, router).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [containerd, namespace, socket] = words.as_slice() else {
        return Err("usage: engine CONTAINERD NAMESPACE SOCKET".into());
    };
    serve(containerd, namespace, socket).await
}
