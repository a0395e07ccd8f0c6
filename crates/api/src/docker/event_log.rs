//! The image events of one namespace: the last ones, and a stream of new ones.
//!
//! Source: moby, `daemon/events/`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use reclaim_engine::Engine;
use reclaim_model::{Digest, Mode, Namespace, Report, shown_name};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// How many events are remembered, as in Docker.
const REMEMBERED: usize = 256;

/// An event of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    #[serde(rename = "Type")]
    pub(super) kind: &'static str,
    #[serde(rename = "Action")]
    pub(super) action: &'static str,
    #[serde(rename = "Actor")]
    pub(super) actor: Actor,
    pub(super) scope: &'static str,
    time: i64,
    #[serde(rename = "timeNano")]
    pub(super) time_nano: i64,
}

/// The image that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Actor {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(rename = "Attributes")]
    pub(super) attributes: Value,
}

/// The events of one namespace.
#[derive(Debug, Clone)]
pub(super) struct EventLog {
    past: Arc<Mutex<VecDeque<Arc<Event>>>>,
    live: broadcast::Sender<Arc<Event>>,
}

impl EventLog {
    /// Starts a task that records the engine's reports as events.
    pub(super) fn record(engine: &Engine, namespace: Namespace) -> Self {
        let log = Self {
            past: Arc::default(),
            live: broadcast::Sender::new(REMEMBERED * 4),
        };
        let mut reports = engine.reports();
        let recorder = log.clone();
        tokio::spawn(async move {
            loop {
                match reports.recv().await {
                    Ok(report) if report.namespace == namespace => recorder.add(&report),
                    // Missed reports are lost: the channel does not keep them.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => break,
                }
            }
        });
        log
    }

    fn add(&self, report: &Report) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events(report, reclaim_engine::now()) {
            let event = Arc::new(event);
            past.push_back(Arc::clone(&event));
            // Fails only if no client is subscribed.
            drop(self.live.send(event));
        }
        let too_many = past.len().saturating_sub(REMEMBERED);
        past.drain(..too_many);
    }

    /// Returns the remembered events and a receiver of those that follow, without a gap.
    pub(super) fn subscribe(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        (past.iter().cloned().collect(), self.live.subscribe())
    }
}

/// Returns the events of a run in Docker's order: an `untag` per removed name, a `delete` after the
/// last name of an image whose target is gone, and one `prune` with the freed bytes.
///
/// The name of a `delete` is the last name after a prune, and the digest after a removal by name.
///
/// Source: moby, `pruneAll` in `daemon/containerd/image_prune.go`, and `deleteAll` in
/// `image_delete.go`.
fn events(report: &Report, now: Timestamp) -> Vec<Event> {
    if report.mode == Mode::DryRun {
        return Vec::new();
    }
    let freed = &report.freed.blobs;
    let gone: BTreeSet<&Digest> = freed.iter().map(|blob| &blob.digest).collect();
    let mut events = Vec::new();
    for (position, removed) in report.removed.iter().enumerate() {
        let target = &removed.target;
        let name = shown_name(&removed.name, target);
        let attributes = json!({"name": name});
        events.push(event("untag", target.to_string(), attributes.clone(), now));
        let mut later = report.removed[position + 1..].iter();
        if gone.contains(target) && !later.any(|other| other.target == *target) {
            let attributes = if report.named.is_empty() {
                attributes
            } else {
                // A removal by name deletes the image itself.
                json!({"name": target.to_string()})
            };
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
