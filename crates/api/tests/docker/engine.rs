//! A Docker Engine that answers with what a test puts in, and notes what is requested.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Json, Response};
use futures::stream::{self, StreamExt};
use http::StatusCode;
use reclaim_engine::{DockerAddress, DockerContainers};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

use crate::stage::{NAMESPACE, Stage};

/// A path without its version, and the response.
type Answers = BTreeMap<&'static str, (u16, Value)>;

pub(crate) struct DockerDouble {
    pub(crate) stage: Stage,
    pub(crate) docker: Arc<DockerContainers>,
    requested: Arc<Mutex<Vec<String>>>,
    hangs_at: Arc<Mutex<Option<&'static str>>>,
    serving: AbortHandle,
    _directory: TempDir,
}

impl DockerDouble {
    /// Starts an engine whose newest version of the API is `version`, and our API beside it.
    pub(crate) fn start(version: &str, containers: &Value, answers: Answers) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("d.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut answers = answers;
        let namespaces = json!({"Containers": NAMESPACE, "Plugins": "plugins.moby"});
        let info = json!({"Containerd": {"Namespaces": namespaces}});
        answers.entry("/info").or_insert((200, info));
        let about = json!({"ApiVersion": version, "MinAPIVersion": "1.44"});
        answers.insert("/version", (200, about));
        answers.insert("/containers/json", (200, containers.clone()));
        let requested = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requested);
        let hangs_at = Arc::new(Mutex::new(None));
        let hanging: Arc<Mutex<Option<&'static str>>> = Arc::clone(&hangs_at);
        let router = Router::new().fallback(async move |request: Request| {
            noted.lock().unwrap().push(request.uri().to_string());
            let path = request.uri().path();
            if hanging
                .lock()
                .unwrap()
                .is_some_and(|end| path.ends_with(end))
            {
                let first = stream::iter([Ok::<_, Infallible>("[")]);
                return Body::from_stream(first.chain(stream::pending())).into_response();
            }
            answer(&answers, path)
        });
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let address = format!("unix://{}", socket.display());
        let address = DockerAddress::new(&address, None).unwrap();
        let docker = Arc::new(DockerContainers::new(vec![address]));
        Self {
            stage: Stage::beside(Some(Arc::clone(&docker))),
            docker,
            requested,
            hangs_at,
            serving: serving.abort_handle(),
            _directory: directory,
        }
    }

    /// Returns the last request.
    pub(crate) fn last(&self) -> String {
        self.requested.lock().unwrap().last().unwrap().clone()
    }

    /// Returns the last request for disk usage. Containers are listed at the same time.
    pub(crate) fn last_usage(&self) -> String {
        let requested = self.requested.lock().unwrap();
        let mut usage = requested.iter().filter(|uri| uri.contains("/system/df"));
        usage.next_back().unwrap().clone()
    }

    /// Returns how many requests there were.
    pub(crate) fn requests(&self) -> usize {
        self.requested.lock().unwrap().len()
    }

    /// Never responds to requests for this path from now on, after the first byte of the body.
    pub(crate) fn hang_at(&self, path: &'static str) {
        *self.hangs_at.lock().unwrap() = Some(path);
    }

    pub(crate) fn stop(&self) {
        self.serving.abort();
    }
}

fn answer(answers: &Answers, path: &str) -> Response {
    let unversioned = path.strip_prefix("/v1.").and_then(|rest| rest.find('/'));
    let path = unversioned.map_or(path, |at| &path["/v1.".len() + at..]);
    let missing = json!({"message": format!("No such container: {path}")});
    let (status, body) = answers.get(path).cloned().unwrap_or((404, missing));
    let status = StatusCode::from_u16(status).unwrap();
    (status, Json(body)).into_response()
}
