//! A container engine that mounts Reclaim's routes of Docker's API on its own server, so that
//! `docker image prune` works on it.
//!
//! It keeps containers in memory, and creates and removes them over HTTP. The image of a registered
//! container is in use. `crates/engine/examples/engine.rs` embeds Reclaim without a server.
//!
//! ```console
//! $ cargo run -p reclaim-api --example docker_api -- /run/containerd/containerd.sock default /tmp/engine.sock &
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
use reclaim_engine::{
    CancellationToken, Container, Engine, InMemoryContainers, Namespace, RunOptions,
};
use serde::Deserialize;
use tokio::net::UnixListener;

/// The state of the engine.
#[derive(Clone)]
struct Shop {
    containers: Arc<InMemoryContainers>,
    namespace: Namespace,
}

/// The parameters of a new container.
#[derive(Deserialize)]
struct Create {
    image: String,
}

/// Registers a container before creating anything for it: from now on its image is kept.
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

/// Unregisters a container after everything of it has been removed.
async fn remove(State(shop): State<Shop>, Path(id): Path<String>) -> StatusCode {
    match shop.containers.remove(&shop.namespace, &id) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

/// Lists the containers with their images.
async fn list(State(shop): State<Shop>) -> Json<Vec<(String, String)>> {
    let containers = shop.containers.registered(&shop.namespace).into_values();
    Json(
        containers
            .map(|container| (container.id, container.image))
            .collect(),
    )
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
        docker: None,
    };
    // Answers all paths that the engine has no route for.
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [containerd, namespace, socket] = arguments.as_slice() else {
        return Err("usage: docker_api CONTAINERD NAMESPACE SOCKET".into());
    };
    serve(containerd, namespace, socket).await
}
