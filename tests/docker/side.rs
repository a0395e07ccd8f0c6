//! The two sides of a comparison, with the same images: a Docker Engine, and Reclaim next to one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use reclaim_testkit::Dockerd;
use serde_json::json;
use tokio::net::UnixStream;

use crate::built;
use crate::daemon::{Answer, Daemon, ask_on};
use crate::images;

/// The engine that answers.
pub(crate) enum Side {
    Docker(Dockerd),
    /// Reclaim's daemon, on the images and containers of a Docker Engine.
    Reclaim(Dockerd, Daemon),
}

impl Side {
    pub(crate) async fn docker() -> Self {
        let dockerd = Dockerd::start().await;
        prepare(&dockerd).await;
        Self::Docker(dockerd)
    }

    pub(crate) async fn reclaim() -> Self {
        let dockerd = Dockerd::start().await;
        prepare(&dockerd).await;
        let address = dockerd.address();
        let args = ["--docker", &address];
        let daemon = Daemon::start(dockerd.containerd().address(), &args).await;
        Self::Reclaim(dockerd, daemon)
    }

    /// Returns the socket of the engine that answers.
    pub(crate) fn socket(&self) -> PathBuf {
        match self {
            Self::Docker(dockerd) => socket_of(dockerd),
            Self::Reclaim(_, daemon) => daemon.socket().to_owned(),
        }
    }

    pub(crate) fn dockerd(&self) -> &Dockerd {
        match self {
            Self::Docker(dockerd) | Self::Reclaim(dockerd, _) => dockerd,
        }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        ask(&self.socket(), method, path).await
    }

    /// Returns the names of all images, with their targets.
    pub(crate) async fn names(&self) -> BTreeMap<String, String> {
        let images = self.dockerd().namespace().images().await.unwrap();
        images
            .into_iter()
            .map(|(name, digest)| (name, digest.to_string()))
            .collect()
    }

    /// Builds or loads removed images again.
    pub(crate) async fn fill(&self) {
        images::fill(&self.dockerd().namespace()).await;
        built::load(self.dockerd()).await;
    }
}

/// Creates the images and the containers.
async fn prepare(dockerd: &Dockerd) {
    images::fill(&dockerd.namespace()).await;
    built::load(dockerd).await;
    let ids = dockerd.namespace().images().await.unwrap();
    for name in images::CONTAINERS {
        let image = match name.strip_prefix("ID of ") {
            Some(name) => ids[name].to_string(),
            None => (*name).to_owned(),
        };
        create(dockerd, json!({"Image": image, "Cmd": ["x"]})).await;
    }
    let mount = json!({"Type": "image", "Source": images::MOUNTED, "Target": "/m"});
    let body = json!({"Image": "used:1", "Cmd": ["x"], "HostConfig": {"Mounts": [mount]}});
    create(dockerd, body).await;
}

/// Creates a container, and returns its ID.
pub(crate) async fn create(dockerd: &Dockerd, body: serde_json::Value) -> String {
    let stream = UnixStream::connect(socket_of(dockerd)).await.unwrap();
    let body: &'static str = body.to_string().leak();
    let headers = [("content-type", "application/json")];
    let created = ask_on(stream, "POST", "/v1.51/containers/create", &headers, body)
        .await
        .unwrap();
    assert_eq!(created.status, 201, "{created:#?}");
    created.json()["Id"].as_str().unwrap().to_owned()
}

pub(crate) fn socket_of(dockerd: &Dockerd) -> PathBuf {
    dockerd.address().strip_prefix("unix://").unwrap().into()
}

pub(crate) async fn ask(socket: &Path, method: &str, path: &str) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    ask_on(stream, method, path, &[], "").await.unwrap()
}

/// Returns the rows of a prune. Their order is random in Docker's answer.
pub(crate) fn rows(answer: &Answer) -> BTreeSet<String> {
    let body = answer.json();
    let rows = body["ImagesDeleted"].as_array().into_iter().flatten();
    rows.map(ToString::to_string).collect()
}
