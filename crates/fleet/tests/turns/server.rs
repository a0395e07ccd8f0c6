//! An API server, as far as leases ask for it: versions, conflicts, slow answers, and days on
//! which nothing works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// It answers 503.
    Broken,
    /// It takes requests and never answers.
    Silent,
    /// It does what it is told and never answers.
    SilentAfterwards,
    /// It answers 403.
    Forbidding,
}

#[derive(Debug, Default)]
struct Inner {
    leases: BTreeMap<String, Value>,
    version: u64,
    mood: Mood,
    requests: u64,
    no_namespace: bool,
}

/// The server. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server(Arc<Mutex<Inner>>);

impl Server {
    pub(crate) fn router(&self) -> Router {
        const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases";
        Router::new()
            .route(LEASES, post(create))
            .route(&format!("{LEASES}/{{name}}"), get(read).put(replace))
            .layer(middleware::from_fn_with_state(self.clone(), in_its_mood))
            .with_state(self.clone())
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    /// From here on it does not know the namespace.
    pub(crate) fn lose_namespace(&self) {
        self.0.lock().unwrap().no_namespace = true;
    }

    pub(crate) fn requests(&self) -> u64 {
        self.0.lock().unwrap().requests
    }

    /// Returns who holds each lease, as the leases say.
    pub(crate) fn holders(&self) -> Vec<Option<String>> {
        let inner = self.0.lock().unwrap();
        let holders = inner.leases.values();
        let holders = holders.map(|lease| lease["spec"]["holderIdentity"].as_str());
        holders.map(|holder| holder.map(str::to_owned)).collect()
    }

    pub(crate) fn lease(&self, name: &str) -> Value {
        self.0.lock().unwrap().leases[name].clone()
    }

    /// Puts a lease there, as if somebody else had.
    pub(crate) fn put(&self, name: &str, spec: &Value) {
        let mut inner = self.0.lock().unwrap();
        let lease = json!({ "metadata": { "name": name, "namespace": "fleet" }, "spec": spec });
        inner.store(name, lease);
    }

    /// Changes what does not matter, so that the version is another.
    pub(crate) fn annotate(&self, name: &str) {
        let mut inner = self.0.lock().unwrap();
        let mut lease = inner.leases[name].clone();
        lease["metadata"]["annotations"] = json!({ "seen": "yes" });
        inner.store(name, lease);
    }
}

impl Inner {
    fn store(&mut self, name: &str, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.leases.insert(name.to_owned(), lease.clone());
        lease
    }
}

/// Answers late, each time by another while, or as the mood is.
async fn in_its_mood(
    State(Server(inner)): State<Server>,
    request: Request,
    next: Next,
) -> Response {
    let (mood, delay) = {
        let mut inner = inner.lock().unwrap();
        inner.requests += 1;
        (inner.mood, Duration::from_millis(inner.requests * 37 % 211))
    };
    tokio::time::sleep(delay / 2).await;
    let answer = match mood {
        Mood::Well => next.run(request).await,
        Mood::Broken => status(503, "ServiceUnavailable", "etcd is away"),
        Mood::Forbidding => status(403, "Forbidden", "leases is forbidden"),
        Mood::Silent => std::future::pending().await,
        Mood::SilentAfterwards => {
            next.run(request).await;
            std::future::pending().await
        }
    };
    tokio::time::sleep(delay / 2).await;
    answer
}

async fn read(
    State(Server(inner)): State<Server>,
    Path((_, name)): Path<(String, String)>,
) -> Response {
    match inner.lock().unwrap().leases.get(&name) {
        Some(lease) => Json(lease.clone()).into_response(),
        None => status(404, "NotFound", &format!("leases {name:?} not found")),
    }
}

async fn create(State(Server(inner)): State<Server>, Json(lease): Json<Value>) -> Response {
    let mut inner = inner.lock().unwrap();
    if inner.no_namespace {
        return status(404, "NotFound", "namespaces \"fleet\" not found");
    }
    let name = lease["metadata"]["name"].as_str().unwrap().to_owned();
    if inner.leases.contains_key(&name) {
        return status(
            409,
            "AlreadyExists",
            &format!("leases {name:?} already exists"),
        );
    }
    (StatusCode::CREATED, Json(inner.store(&name, lease))).into_response()
}

async fn replace(
    State(Server(inner)): State<Server>,
    Path((_, name)): Path<(String, String)>,
    Json(lease): Json<Value>,
) -> Response {
    let mut inner = inner.lock().unwrap();
    let Some(stored) = inner.leases.get(&name) else {
        return status(404, "NotFound", &format!("leases {name:?} not found"));
    };
    if stored["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] {
        return status(409, "Conflict", "the object has been modified");
    }
    // The server's own parser takes six digits and no other number of them.
    for key in ["acquireTime", "renewTime"] {
        let time = lease["spec"][key].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    }
    Json(inner.store(&name, lease)).into_response()
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    let code = StatusCode::from_u16(code).unwrap();
    (code, Json(body)).into_response()
}
