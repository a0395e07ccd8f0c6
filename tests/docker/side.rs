//! One of two sides that have the same: a Docker Engine, and on the other side us beside one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use reclaim_testkit::Dockerd;
use serde_json::json;
use tokio::net::UnixStream;

use crate::daemon::{Answer, Daemon, ask_on};
use crate::images;

/// Who answers.
pub(crate) enum Side {
    /// A Docker Engine itself.
    Docker(Dockerd),
    /// Our daemon, with its images and its containers.
    Ours(Dockerd, Daemon),
}

impl Side {
    pub(crate) async fn docker() -> Self {
        let dockerd = Dockerd::start().await;
        prepare(&dockerd).await;
        Self::Docker(dockerd)
    }

    pub(crate) async fn ours() -> Self {
        let dockerd = Dockerd::start().await;
        prepare(&dockerd).await;
        let address = dockerd.address();
        let args = ["--docker", &address];
        let daemon = Daemon::start(dockerd.containerd().address(), &args).await;
        Self::Ours(dockerd, daemon)
    }

    /// Returns the socket of whoever answers.
    pub(crate) fn socket(&self) -> PathBuf {
        match self {
            Self::Docker(dockerd) => socket_of(dockerd),
            Self::Ours(_, daemon) => daemon.socket().to_owned(),
        }
    }

    pub(crate) fn dockerd(&self) -> &Dockerd {
        match self {
            Self::Docker(dockerd) | Self::Ours(dockerd, _) => dockerd,
        }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        ask(&self.socket(), method, path).await
    }

    /// The names that are there, with their targets.
    pub(crate) async fn names(&self) -> BTreeMap<String, String> {
        let images = self.dockerd().namespace().images().await.unwrap();
        let images = images.into_iter();
        images
            .map(|(name, digest)| (name, digest.to_string()))
            .collect()
    }

    /// Builds again what is gone.
    pub(crate) async fn fill(&self) {
        images::fill(&self.dockerd().namespace()).await;
    }
}

/// Makes the images and the containers.
async fn prepare(dockerd: &Dockerd) {
    images::fill(&dockerd.namespace()).await;
    let ids = dockerd.namespace().images().await.unwrap();
    for image in images::CONTAINERS {
        let image = match image.strip_prefix("ID of ") {
            Some(name) => ids[name].to_string(),
            None => (*image).to_owned(),
        };
        create(dockerd, json!({"Image": image, "Cmd": ["x"]})).await;
    }
    let mount = json!({"Type": "image", "Source": images::MOUNTED, "Target": "/m"});
    let body = json!({"Image": "used:1", "Cmd": ["x"], "HostConfig": {"Mounts": [mount]}});
    create(dockerd, body).await;
}

async fn create(dockerd: &Dockerd, body: serde_json::Value) {
    let stream = UnixStream::connect(socket_of(dockerd)).await.unwrap();
    let body: &'static str = body.to_string().leak();
    let headers = [("content-type", "application/json")];
    let created = ask_on(stream, "POST", "/v1.51/containers/create", &headers, body).await;
    let created = created.unwrap();
    assert_eq!(created.status, 201, "{created:#?}");
}

fn socket_of(dockerd: &Dockerd) -> PathBuf {
    dockerd.address().strip_prefix("unix://").unwrap().into()
}

pub(crate) async fn ask(socket: &Path, method: &str, path: &str) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    ask_on(stream, method, path, &[], "").await.unwrap()
}

/// The rows of a prune, without their order, in which Docker follows a hash.
pub(crate) fn rows(answer: &Answer) -> BTreeSet<String> {
    let body = answer.json();
    let rows = body["ImagesDeleted"].as_array().into_iter().flatten();
    rows.map(ToString::to_string).collect()
}
