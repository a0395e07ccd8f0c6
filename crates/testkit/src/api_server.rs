//! A Kubernetes API server for Leases and Events: resource versions, conflicts, slow responses and
//! outages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The label with the name of the lock of a lease.
const LABEL: &str = "reclaim/cluster-lock";

/// How the server responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerMode {
    /// Normally.
    #[default]
    Healthy,
    /// With 503.
    Unavailable,
    /// Never, and requests have no effect.
    Silent,
    /// Never, but requests take effect.
    SilentAfterEffect,
    /// With 403.
    Forbidden,
}

#[derive(Debug, Default)]
struct Inner {
    leases: BTreeMap<String, Value>,
    events: BTreeMap<String, Value>,
    version: u64,
    mode: ServerMode,
    requests: u64,
    no_namespace: bool,
}

/// The server. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct ApiServer(Arc<Mutex<Inner>>);

impl ApiServer {
    /// Returns the router of the server.
    pub fn router(&self) -> Router {
        const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases";
        const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/{namespace}/events";
        Router::new()
            .route(LEASES, get(list).post(create))
            .route(
                &format!("{LEASES}/{{name}}"),
                get(read).put(replace).delete(delete),
            )
            .route(EVENTS, post(create_event))
            .route(&format!("{EVENTS}/{{name}}"), patch(patch_event))
            .layer(middleware::from_fn_with_state(
                self.clone(),
                respond_by_mode,
            ))
            .with_state(self.clone())
    }

    /// Sets how the server responds from now on.
    pub fn set_mode(&self, mode: ServerMode) {
        self.inner().mode = mode;
    }

    /// Serves it on a local port until the runtime ends.
    pub async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback address can be bound");
        let address = listener.local_addr().expect("it was just bound");
        tokio::spawn(axum::serve(listener, self.router()).into_future());
        address
    }

    /// Removes the namespace: creating a lease fails from now on.
    pub fn lose_namespace(&self) {
        self.inner().no_namespace = true;
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> u64 {
        self.inner().requests
    }

    /// Returns the holder of each lease.
    pub fn holders(&self) -> Vec<String> {
        let inner = self.inner();
        let leases = inner.leases.values();
        leases
            .map(|lease| lease["spec"]["holderIdentity"].as_str())
            .map(|holder| holder.expect("a lease has a holder").to_owned())
            .collect()
    }

    /// Returns the Events, the oldest first.
    pub fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = self.inner().events.values().cloned().collect();
        events.sort_by_key(|event| event["eventTime"].to_string());
        events
    }

    /// Deletes the Events, as the real server does after an hour.
    pub fn expire_events(&self) {
        self.inner().events.clear();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a lease, whose name is that of the lock, `-` and a node, as that node would.
    pub fn put(&self, name: &str, spec: &Value) {
        let mut inner = self.inner();
        let (lock, _) = name.rsplit_once('-').expect("a lock and a node");
        let labels = json!({ LABEL: lock });
        let metadata = json!({ "name": name, "namespace": "fleet", "labels": labels });
        inner.store(name, json!({ "metadata": metadata, "spec": spec }));
    }

    /// Deletes a lease, as another node would.
    pub fn remove(&self, name: &str) {
        self.inner().leases.remove(name);
    }

    /// Changes an annotation of a lease, so that its version changes.
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
        let version = self.version.to_string();
        let uid = self
            .leases
            .get(name)
            .map(|stored| &stored["metadata"]["uid"]);
        lease["metadata"]["uid"] = uid.cloned().unwrap_or_else(|| json!(version));
        lease["metadata"]["resourceVersion"] = json!(version);
        self.leases.insert(name.to_owned(), lease.clone());
        lease
    }
}

/// Responds by the mode, after a delay that differs between requests.
async fn respond_by_mode(
    State(server): State<ApiServer>,
    request: Request,
    next: Next,
) -> Response {
    let (mode, delay) = {
        let mut inner = server.inner();
        inner.requests += 1;
        (inner.mode, Duration::from_millis(inner.requests * 37 % 211))
    };
    tokio::time::sleep(delay / 2).await;
    let response = match mode {
        ServerMode::Healthy => next.run(request).await,
        ServerMode::Unavailable => status(503, "ServiceUnavailable", "etcd is unavailable"),
        ServerMode::Forbidden => status(403, "Forbidden", "leases is forbidden"),
        ServerMode::Silent => std::future::pending().await,
        ServerMode::SilentAfterEffect => {
            next.run(request).await;
            std::future::pending().await
        }
    };
    tokio::time::sleep(delay / 2).await;
    response
}

async fn list(
    State(server): State<ApiServer>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let selector = query.get("labelSelector").map(String::as_str);
    let lock = selector.and_then(|selector| selector.strip_prefix(LABEL)?.strip_prefix('='));
    let lock = lock.expect("a list of the leases of one lock");
    let inner = server.inner();
    let leases = inner.leases.values();
    let leases: Vec<&Value> = leases
        .filter(|lease| lease["metadata"]["labels"][LABEL] == lock)
        .collect();
    let version = json!({ "resourceVersion": inner.version.to_string() });
    Json(json!({ "kind": "LeaseList", "metadata": version, "items": leases })).into_response()
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
    // The real server accepts exactly six digits of a second's fraction.
    for key in ["acquireTime", "renewTime"] {
        let time = lease["spec"][key].as_str().unwrap_or_default();
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    }
    Json(inner.store(&name, lease)).into_response()
}

async fn create_event(
    State(server): State<ApiServer>,
    Path(namespace): Path<String>,
    Json(event): Json<Value>,
) -> Response {
    // The real server refuses an Event without one of these.
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, regarding) = (text(&event["metadata"]["name"]), &event["regarding"]);
    let time = text(&event["eventTime"]);
    let is_valid = namespace == "default"
        && regarding["kind"] == "Node"
        && regarding["namespace"].is_null()
        && name.starts_with(&text(&regarding["name"]))
        && [
            "action",
            "reason",
            "reportingController",
            "reportingInstance",
        ]
        .iter()
        .all(|field| (1..=128).contains(&text(&event[*field]).len()))
        && text(&event["note"]).len() <= 1024
        && event["type"] == "Warning"
        && (time.len() == 27 && time.ends_with('Z'));
    if !is_valid {
        return status(422, "Invalid", &format!("Event {name:?} is invalid"));
    }
    let mut inner = server.inner();
    inner.events.insert(name, event.clone());
    (StatusCode::CREATED, Json(event)).into_response()
}

async fn patch_event(
    State(server): State<ApiServer>,
    Path((_, name)): Path<(String, String)>,
    Json(patch): Json<Value>,
) -> Response {
    let mut inner = server.inner();
    let Some(event) = inner.events.get_mut(&name) else {
        return status(404, "NotFound", &format!("events {name:?} not found"));
    };
    // Nothing else of an Event may change.
    let is_series = patch.as_object().is_some_and(|fields| fields.len() == 1);
    if !is_series || patch["series"]["count"].as_i64().unwrap_or_default() < 2 {
        return status(422, "Invalid", &format!("Event {name:?} is invalid"));
    }
    event["series"] = patch["series"].clone();
    Json(event.clone()).into_response()
}

async fn delete(
    State(server): State<ApiServer>,
    Path((_, name)): Path<(String, String)>,
    Json(options): Json<Value>,
) -> Response {
    let mut inner = server.inner();
    let Some(stored) = inner.leases.get(&name) else {
        return status(404, "NotFound", &format!("leases {name:?} not found"));
    };
    if stored["metadata"]["uid"] != options["preconditions"]["uid"] {
        return status(409, "Conflict", "the UID in the precondition differs");
    }
    inner.leases.remove(&name);
    Json(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" })).into_response()
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    let code = StatusCode::from_u16(code).expect("a status");
    (code, Json(body)).into_response()
}
