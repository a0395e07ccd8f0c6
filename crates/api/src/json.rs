//! The JSON API: `/reclaim/v1` on the daemon's socket. See `docs/json.md`.
//!
//! Requests and answers are the model's types, in the same form as `--format json` prints. Runs
//! answer with one JSON object a line: progress, and the report or the error at the end.

mod client;
mod forecast;
mod form;
mod namespaces;
mod restore;
mod routes;
mod timeline;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use reclaim_engine::{RunHandle, RunOptions, blocking, no_progress};
use reclaim_model::{
    Answers, AuditQuery, EntryPoint, HeldRuns, Mode, Namespace, PinRequest, Pins, PruneRequest,
    Separator, Versioned,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::access::Role;
use crate::caller::Sender;
use crate::page;
use crate::service::{Service, ServiceError, events};

use routes::Routes;

pub use crate::plans::MAX_PLANS;
pub use client::{HostClient, HostError, HostRuns};
pub use form::{ErrorForm, Options, PolicyForecasts, PolicyHistory, RunRequest, Undo};

/// Where the API is.
pub(crate) const ROOT: &str = "/reclaim/v1";

/// The largest request that is read, in bytes.
const MAX_REQUEST: usize = 16 << 20;

/// How long the body of a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(15);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

type Served = Result<Response, Failure>;

/// Returns a router with the API.
pub fn router(service: Arc<Service>) -> Router {
    Router::new().nest(ROOT, routes().router.with_state(service))
}

/// Returns the methods of the API, and the roles that they need.
pub(crate) fn methods() -> Vec<(Method, &'static str, Role)> {
    routes().methods
}

fn routes() -> Routes {
    Routes::default()
        .post("/plan", Role::Read, plan)
        .post("/plans/{plan}/apply", Role::Prune, apply)
        .post("/prune", Role::Prune, prune)
        .get("/namespaces", Role::Read, namespaces::namespaces)
        .get("/images", Role::Read, images)
        .get("/projects", Role::Read, projects)
        .get("/df", Role::Read, disk_usage)
        .get("/map", Role::Read, store_map)
        .get("/page", Role::Read, page)
        .get("/forecast", Role::Read, forecast::forecast)
        .get("/timeline", Role::Read, timeline::timeline)
        .get("/why", Role::Read, why)
        .get("/history", Role::Read, history)
        .get("/history/all", Role::Read, audit)
        .post("/undo", Role::Admin, undo)
        .post("/release", Role::Admin, release)
        .post("/pins", Role::Admin, pins)
        .post("/restore", Role::Admin, restore::restore)
        .get("/policies", Role::Read, policies)
        .post("/policies/run", Role::Prune, run_policies)
        .get("/policies/history", Role::Read, policy_history)
}

/// The body of a request.
struct Received(Bytes);

impl<S: Sync> FromRequest<S> for Received {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let received = timeout(REQUEST_TIME, to_bytes(request.into_body(), MAX_REQUEST)).await;
        let problem = match received {
            Ok(Ok(body)) => return Ok(Self(body)),
            Ok(Err(_)) => format!("accepted are up to {MAX_REQUEST} bytes"),
            Err(_) => format!("it did not arrive within {} s", REQUEST_TIME.as_secs()),
        };
        Err(ServiceError::invalid("body", problem).into())
    }
}

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(
            EntryPoint::Json,
            &parts.extensions,
            &parts.headers,
        ))
    }
}

/// An error as an answer.
struct Failure(ServiceError);

impl<E: Into<ServiceError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let form = ErrorForm::of(&self.0);
        let status = form::status(&self.0);
        let body = serde_json::to_vec(&form::Failed { error: form }).expect(form::ALWAYS_JSON);
        respond(status, JSON, body)
    }
}

fn respond(status: StatusCode, kind: HeaderValue, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Answers with a value, which is written off the async threads: a report names every image.
async fn answer<T: Serialize + Send + 'static>(value: T) -> Served {
    let body = blocking(move || {
        let mut body = serde_json::to_vec(&Versioned::new(value)).expect(form::ALWAYS_JSON);
        body.push(b'\n');
        body
    });
    Ok(respond(StatusCode::OK, JSON, body.await))
}

/// Reads the body of a request; an empty one is `{}`.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, ServiceError> {
    let text = if body.is_empty() { b"{}" } else { &body[..] };
    serde_json::from_slice(text).map_err(|error| ServiceError::invalid("body", error))
}

impl Service {
    fn namespace_or_default(&self, namespace: Option<Namespace>) -> Namespace {
        namespace.unwrap_or_else(|| self.parts.namespace.clone())
    }

    /// Reads the body of a request. The object at `path` in it gets the default namespace if it
    /// has none.
    fn read<T: DeserializeOwned>(&self, body: &Bytes, path: &[&str]) -> Result<T, ServiceError> {
        let mut value: Value = read(body)?;
        let mut place = Some(&mut value);
        for key in path {
            place = place.and_then(|value| value.get_mut(key));
        }
        if let Some(object) = place.and_then(Value::as_object_mut) {
            let namespace = || self.parts.namespace.as_str().into();
            object.entry("namespace").or_insert_with(namespace);
        }
        serde_json::from_value(value).map_err(|error| ServiceError::invalid("body", error))
    }

    fn options(&self, form: form::Options) -> Result<RunOptions, ServiceError> {
        form.over(&self.parts.run)
    }
}

async fn plan(
    State(service): State<Arc<Service>>,
    sender: Sender,
    Received(body): Received,
) -> Served {
    let request: PruneRequest = service.read(&body, &[])?;
    service.check(&request)?;
    answer(service.plan(request, &sender).await?).await
}

async fn prune(
    State(service): State<Arc<Service>>,
    sender: Sender,
    Received(body): Received,
) -> Served {
    let RunRequest { request, options } = service.read(&body, &["request"])?;
    service.check(&request)?;
    let options = service.options(options)?;
    Ok(run_lines(service.start(request, None, options, sender)?))
}

async fn apply(
    State(service): State<Arc<Service>>,
    Path(plan): Path<String>,
    sender: Sender,
    Received(body): Received,
) -> Served {
    // Before the plan is taken: it can be applied only once.
    let options = service.options(read(&body)?)?;
    Ok(run_lines(service.apply(&plan, options, sender)?))
}

async fn images(
    State(service): State<Arc<Service>>,
    Query(query): Query<form::InNamespace>,
) -> Served {
    let namespace = service.namespace_or_default(query.namespace);
    let listing = service
        .parts
        .engine
        .images(&namespace, query.may_lack_namespace);
    let list = listing.await.map_err(ServiceError::from)?;
    answer(form::Images {
        observed_at: list.observed_at,
        list,
    })
    .await
}

async fn projects(
    State(service): State<Arc<Service>>,
    Query(query): Query<form::Projects>,
) -> Served {
    let namespace = service.namespace_or_default(query.namespace);
    let separator = Separator::of_compatibility(query.compatibility);
    let engine = &service.parts.engine;
    let listing = engine.projects(&namespace, query.may_lack_namespace, separator);
    answer(listing.await.map_err(ServiceError::from)?).await
}

async fn disk_usage(State(service): State<Arc<Service>>) -> Served {
    let usage = service.parts.engine.disk_usage(&no_progress).await;
    answer(usage.map_err(ServiceError::from)?).await
}

async fn store_map(State(service): State<Arc<Service>>) -> Served {
    let map = service.parts.engine.store_map(&no_progress).await;
    answer(map.map_err(ServiceError::from)?).await
}

/// Answers with a page for a browser, which may load nothing else.
async fn page(State(service): State<Arc<Service>>) -> Served {
    let records = service.audit(AuditQuery::default()).await.ok();
    let records = records.map(|found| found.records);
    let now = service.parts.engine.store().now();
    let parts = page::PageParts::of_daemon(&service.parts.scheduler, records, now).await;
    let page = page::page(&service.parts.engine, parts, &no_progress).await;
    let mut response = Response::new(Body::from(page.map_err(ServiceError::from)?));
    page::page_headers(response.headers_mut());
    Ok(response)
}

async fn why(State(service): State<Arc<Service>>, Query(query): Query<form::Why>) -> Served {
    let namespace = service.namespace_or_default(query.namespace);
    let answers = service.parts.engine.why(&namespace, &query.thing).await;
    let answers = answers.map_err(ServiceError::from)?;
    answer(Answers { answers }).await
}

async fn history(
    State(service): State<Arc<Service>>,
    Query(query): Query<form::InNamespace>,
) -> Served {
    let namespace = service.namespace_or_default(query.namespace);
    let holds = service.parts.engine.history(&namespace).await;
    let holds = holds.map_err(ServiceError::from)?;
    let runs = holds.iter().map(Into::into).collect();
    answer(HeldRuns { namespace, runs }).await
}

async fn audit(State(service): State<Arc<Service>>, Query(query): Query<AuditQuery>) -> Served {
    answer(service.audit(query).await?).await
}

async fn undo(
    State(service): State<Arc<Service>>,
    Sender { caller, .. }: Sender,
    Received(body): Received,
) -> Served {
    let undo: Undo = read(&body)?;
    answer(service.undo(undo, caller).await?).await
}

async fn release(
    State(service): State<Arc<Service>>,
    Sender { caller, .. }: Sender,
    Received(body): Received,
) -> Served {
    let form::Release { namespace, run } = read(&body)?;
    let namespace = service.namespace_or_default(namespace);
    let run = service.release(namespace, run, caller).await?;
    answer(form::Released { run }).await
}

async fn pins(
    State(service): State<Arc<Service>>,
    Sender { caller, .. }: Sender,
    Received(body): Received,
) -> Served {
    let request: PinRequest = service.read(&body, &[])?;
    let images = service.pin(request.clone(), caller).await?;
    answer(Pins::new(&request, images)).await
}

async fn policies(
    State(service): State<Arc<Service>>,
    Query(names): Query<Vec<(String, String)>>,
) -> Served {
    let names = form::names(&names)?;
    let policies = service.parts.scheduler.explain(&names).await;
    let explained = policies.map_err(ServiceError::from)?;
    let policies = explained
        .into_iter()
        .map(|(_, forecast)| forecast)
        .collect();
    answer(PolicyForecasts { policies }).await
}

async fn policy_history(
    State(service): State<Arc<Service>>,
    Query(names): Query<Vec<(String, String)>>,
) -> Served {
    let names = form::names(&names)?;
    let mut runs = service.parts.scheduler.history();
    if !names.is_empty() {
        runs.retain(|run| names.iter().any(|name| name.as_str() == run.policy));
    }
    answer(PolicyHistory { runs }).await
}

async fn run_policies(
    State(service): State<Arc<Service>>,
    Sender { caller, .. }: Sender,
    Received(body): Received,
) -> Served {
    let form::RunPolicies { names, dry_run } = read(&body)?;
    form::limit_names(names.len(), "names")?;
    let mode = if dry_run { Mode::DryRun } else { Mode::Apply };
    let requested = service.parts.scheduler.run(names, mode, caller).await;
    let requested = requested.map_err(ServiceError::from)?;
    let runs = stream::unfold(Some(requested), |requested| async {
        let mut requested = requested?;
        match requested.next().await {
            Ok(Some(run)) => Some((
                line(form::PolicyRunLine::Run(Box::new(run))).await,
                Some(requested),
            )),
            Ok(None) => None,
            Err(error) => {
                let error = ErrorForm::of(&error.into());
                Some((line(form::PolicyRunLine::Error(error)).await, None))
            }
        }
    });
    Ok(lines(runs))
}

/// Streams the events of a run, one a line.
fn run_lines(run: RunHandle) -> Response {
    lines(events(run).then(|event| line(form::RunLine::from(event))))
}

async fn line<T: Serialize + Send + 'static>(value: T) -> Bytes {
    let written = blocking(move || {
        let mut line = serde_json::to_vec(&value).expect(form::ALWAYS_JSON);
        line.push(b'\n');
        line
    });
    written.await.into()
}

fn lines(lines: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
    respond(StatusCode::OK, NDJSON, body)
}
