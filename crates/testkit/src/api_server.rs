//! The API server of a cluster, as far as leases ask for it: versions, conflicts, slow answers, and
//! days on which nothing works.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// It answers.
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
pub struct ApiServer(Arc<Mutex<Inner>>);

impl ApiServer {
    /// Returns what answers requests.
    pub fn router(&self) -> Router {
        const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases";
        Router::new()
            .route(LEASES, post(create))
            .route(&format!("{LEASES}/{{name}}"), get(read).put(replace))
            .layer(middleware::from_fn_with_state(self.clone(), in_its_mood))
            .with_state(self.clone())
    }

    /// Says how it is from here on.
    pub fn set_mood(&self, mood: Mood) {
        self.inner().mood = mood;
    }

    /// Serves it on a port of this machine, as long as the runtime lives.
    pub async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("this machine has an address of its own");
        let address = listener.local_addr().expect("it was just bound");
        tokio::spawn(axum::serve(listener, self.router()).into_future());
        address
    }

    /// From here on it does not know the namespace.
    pub fn lose_namespace(&self) {
        self.inner().no_namespace = true;
    }

    /// Returns how often it was asked something.
    pub fn requests(&self) -> u64 {
        self.inner().requests
    }

    /// Returns who holds each lease, as the leases say.
    pub fn holders(&self) -> Vec<Option<String>> {
        let inner = self.inner();
        let holders = inner.leases.values();
        let holders = holders.map(|lease| lease["spec"]["holderIdentity"].as_str());
        holders.map(|holder| holder.map(str::to_owned)).collect()
    }

    /// Returns a lease as it is.
    pub fn lease(&self, name: &str) -> Value {
        self.inner().leases[name].clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a lease there, as if somebody else had.
    pub fn put(&self, name: &str, spec: &Value) {
        let mut inner = self.inner();
        let lease = json!({ "metadata": { "name": name, "namespace": "fleet" }, "spec": spec });
        inner.store(name, lease);
    }

    /// Changes what does not matter, so that the version is another.
    pub fn annotate(&self, name: &str) {
        let mut inner = self.inner();
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
async fn in_its_mood(State(server): State<ApiServer>, request: Request, next: Next) -> Response {
    let (mood, delay) = {
        let mut inner = server.inner();
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
    State(server): State<ApiServer>,
    Path((_, name)): Path<(String, String)>,
) -> Response {
    match server.inner().leases.get(&name) {
        Some(lease) => Json(lease.clone()).into_response(),
        None => status(404, "NotFound", &format!("leases {name:?} not found")),
    }
}

async fn create(State(server): State<ApiServer>, Json(lease): Json<Value>) -> Response {
    let mut inner = server.inner();
    if inner.no_namespace {
        return status(404, "NotFound", "namespaces \"fleet\" not found");
    }
    let name = lease["metadata"]["name"].as_str();
    let name = name.expect("a lease has a name").to_owned();
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
    State(server): State<ApiServer>,
    Path((_, name)): Path<(String, String)>,
    Json(lease): Json<Value>,
) -> Response {
    let mut inner = server.inner();
    let Some(stored) = inner.leases.get(&name) else {
        return status(404, "NotFound", &format!("leases {name:?} not found"));
    };
    if stored["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] {
        return status(409, "Conflict", "the object has been modified");
    }
    // The server's own parser takes six digits and no other number of them.
    for key in ["acquireTime", "renewTime"] {
        let time = lease["spec"][key].as_str().unwrap_or_default();
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    }
    Json(inner.store(&name, lease)).into_response()
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    let code = StatusCode::from_u16(code).expect("a status");
    (code, Json(body)).into_response()
}
