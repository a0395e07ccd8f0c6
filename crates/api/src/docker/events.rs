//! `GET /events`: what runs have done, while they do it and a little afterwards.
//!
//! Source: moby, `daemon/events/`.

mod filter;
mod form;
mod window;

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use reclaim_engine::Engine;
use reclaim_model::{Digest, Mode, Namespace, Report, shown_name};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::{Asked, DockerApi};
use filter::Filter;
use form::Form;
use window::Window;

/// How many events are remembered, as in Docker.
const REMEMBERED: usize = 256;

/// Something that happened to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "Action")]
    action: &'static str,
    #[serde(rename = "Actor")]
    actor: Actor,
    scope: &'static str,
    time: i64,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: Value,
}

/// The events of one namespace.
#[derive(Debug, Clone)]
pub(super) struct Events {
    past: Arc<Mutex<VecDeque<Arc<Event>>>>,
    live: broadcast::Sender<Arc<Event>>,
}

impl Events {
    /// Begins to listen to the engine.
    pub(super) fn of(engine: &Engine, namespace: Namespace) -> Self {
        let events = Self {
            past: Arc::default(),
            live: broadcast::Sender::new(REMEMBERED * 4),
        };
        let mut reports = engine.reports();
        let heard = events.clone();
        tokio::spawn(async move {
            loop {
                match reports.recv().await {
                    Ok(report) if report.namespace == namespace => heard.add(&report),
                    // Of those that were missed nothing can be told.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => break,
                }
            }
        });
        events
    }

    fn add(&self, report: &Report) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events(report, reclaim_engine::now()) {
            let event = Arc::new(event);
            past.push_back(Arc::clone(&event));
            // Nobody may be listening.
            drop(self.live.send(event));
        }
        let too_many = past.len().saturating_sub(REMEMBERED);
        past.drain(..too_many);
    }

    /// Returns what is remembered, and what comes after it, without a gap between them.
    fn subscribe(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        (past.iter().cloned().collect(), self.live.subscribe())
    }
}

/// What a run has done, in Docker's order: each name that went, its image when it is gone, and at
/// the end of a prune what it freed.
fn events(report: &Report, now: Timestamp) -> Vec<Event> {
    if report.mode == Mode::DryRun {
        return Vec::new();
    }
    let gone: BTreeSet<&Digest> = report.freed.blobs.iter().map(|it| &it.digest).collect();
    let mut events = Vec::new();
    let mut rest: Vec<&Digest> = report.removed.iter().map(|it| &it.target).collect();
    rest.reverse();
    for removed in &report.removed {
        rest.pop();
        let name = shown_name(&removed.name, &removed.target);
        let attributes = json!({"name": name});
        let target = &removed.target;
        events.push(event("untag", target.to_string(), attributes.clone(), now));
        if gone.contains(target) && !rest.contains(&target) {
            events.push(event("delete", target.to_string(), attributes, now));
        }
    }
    if report.named.is_empty() {
        let reclaimed = report.reclaimed.0.total_bytes().to_string();
        let attributes = json!({"reclaimed": reclaimed, "run": report.run.0});
        events.push(event("prune", String::new(), attributes, now));
    }
    events
}

fn event(action: &'static str, id: String, attributes: Value, now: Timestamp) -> Event {
    Event {
        kind: "image",
        action,
        actor: Actor { id, attributes },
        scope: "local",
        time: now.as_second(),
        time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
    }
}

pub(super) fn stream(
    api: &DockerApi,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let window = Window::parse(asked.query.get("since"), asked.query.get("until"))?;
    let filter = Filter::new(asked.query.filters()?);
    let (past, live) = api.shared.events.subscribe();
    let is_wanted = move |event: &Event| filter.lets_through(event);
    let past = if window.asks_for_past() {
        past
    } else {
        Vec::new()
    };
    let past = past.into_iter().filter(|it| window.contains(it.time_nano));
    let past: Vec<Arc<Event>> = past.collect();
    let cancel = api.shared.options.cancel.clone();
    let events = stream::iter(past).chain(live_until(live, window, cancel));
    let form = Form::of(&asked.version, headers);
    let lines = events.filter_map(move |event| {
        let written = is_wanted(&event).then(|| form.write(&event)).flatten();
        std::future::ready(written.map(Ok::<Bytes, Infallible>))
    });
    let mut response = Response::new(Body::from_stream(lines));
    *response.status_mut() = StatusCode::OK;
    let kind = HeaderValue::from_static(form.content_type);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// What happens from now to the end of the window, or until the engine is stopped.
fn live_until(
    live: broadcast::Receiver<Arc<Event>>,
    window: Window,
    cancel: CancellationToken,
) -> impl Stream<Item = Arc<Event>> {
    let end = Box::pin(async move {
        tokio::select! {
            () = window.end() => {}
            () = cancel.cancelled() => {}
        }
    });
    let events = stream::unfold(live, async |mut live| {
        loop {
            match live.recv().await {
                Ok(event) => return Some((event, live)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    Box::pin(events).take_until(end)
}
