//! Events about this node, which `kubectl describe node` shows.
//!
//! An Event that repeats is counted in the series of the first one, and the API server receives at
//! most one request in five minutes about each subject and reason.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use kube::Api;
use kube::Client;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::client::{MAX_TIMEOUT, client};
use crate::error::{Cause, ClusterLockError, status_and_cause};
use crate::lease::now;

/// The namespace of Events about objects without a namespace. The API server accepts no other.
const NAMESPACE: &str = "default";

/// The name of this program in Events.
const CONTROLLER: &str = "reclaim";

/// What Reclaim was doing.
const ACTION: &str = "PruneImages";

/// The longest note that the API server accepts, in bytes.
const MAX_NOTE: usize = 1024;

/// The longest name of an instance that the API server accepts.
const MAX_INSTANCE: usize = 128;

/// The shortest time between two requests about the same subject and reason.
const PAUSE: Duration = Duration::from_secs(5 * 60);

/// After this time without a request, an Event is a new one: the API server deletes Events that do not
/// change for an hour.
const SERIES: Duration = Duration::from_secs(30 * 60);

/// A problem of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEvent {
    /// The machine-readable reason, such as `ReclaimRunFailed`.
    pub reason: &'static str,
    /// What it is about, such as a policy. Events with the same subject and reason are one series.
    pub subject: String,
    /// The text for people. A series keeps the text of its first Event.
    pub note: String,
}

/// Why an Event was not sent.
#[derive(Debug, thiserror::Error)]
pub enum NodeEventError {
    /// There is no client for the API server.
    #[error(transparent)]
    Client(#[from] ClusterLockError),
    /// The API server refused the call, failed, or cannot be reached.
    #[error("{verb} an event about node `{node}` in namespace `{NAMESPACE}`")]
    Call {
        /// What was tried.
        verb: &'static str,
        /// The node.
        node: String,
        /// The message of the server or the transport.
        #[source]
        source: Cause,
    },
    /// The API server did not answer in time.
    #[error("{verb} an event about node `{node}`: no answer within {} s", MAX_TIMEOUT.as_secs())]
    NoAnswer {
        /// What was tried.
        verb: &'static str,
        /// The node.
        node: String,
    },
}

/// An Event that may repeat.
#[derive(Debug)]
struct Series {
    name: String,
    count: i32,
    sent: Instant,
}

/// Sends Events about one node.
pub struct NodeEvents {
    events: Api<Event>,
    node: String,
    series: BTreeMap<(&'static str, String), Series>,
}

impl NodeEvents {
    /// Finds the cluster as [`ClusterLock::connect`](crate::ClusterLock::connect) does. Does not
    /// contact the API server.
    ///
    /// # Errors
    ///
    /// [`NodeEventError::Client`].
    pub async fn connect(node: String) -> Result<Self, NodeEventError> {
        Ok(Self::new(client().await?, node))
    }

    /// Uses an existing client for the API server.
    pub fn new(client: Client, node: String) -> Self {
        Self {
            events: Api::namespaced(client, NAMESPACE),
            node,
            series: BTreeMap::new(),
        }
    }

    /// Sends an Event, or counts it for the next request.
    ///
    /// # Errors
    ///
    /// If the API server does not accept it. The next Event of the series is then sent at once.
    pub async fn report(&mut self, event: NodeEvent) -> Result<(), NodeEventError> {
        let NodeEvent {
            reason,
            subject,
            note,
        } = event;
        let key = (reason, subject);
        let known = self.series.remove(&key);
        let known = known.filter(|series| series.sent.elapsed() < SERIES);
        let Some(mut series) = known else {
            let series = self.create(reason, &note).await?;
            self.series.insert(key, series);
            return Ok(());
        };
        series.count = series.count.saturating_add(1);
        if series.sent.elapsed() >= PAUSE {
            series.sent = Instant::now();
            if !self.repeat(&series).await? {
                series = self.create(reason, &note).await?;
            }
        }
        self.series.insert(key, series);
        Ok(())
    }

    /// Creates the first Event of a series.
    async fn create(&self, reason: &str, note: &str) -> Result<Series, NodeEventError> {
        let now = now();
        let name = format!("{}.{:x}", self.node, now.0.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some(ACTION.to_owned()),
            event_time: Some(now),
            note: Some(cut(note, MAX_NOTE).to_owned()),
            reason: Some(reason.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(self.node.clone()),
                // As the kubelet does: `kubectl describe node` looks for this UID.
                uid: Some(self.node.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(cut(&self.node, MAX_INSTANCE).to_owned()),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        };
        let parameters = PostParams::default();
        let creating = self.events.create(&parameters, &event);
        self.call("create", creating).await?;
        Ok(Series {
            name,
            count: 1,
            sent: Instant::now(),
        })
    }

    /// Counts the series on the API server. Returns false if that has deleted the Event.
    async fn repeat(&self, series: &Series) -> Result<bool, NodeEventError> {
        let patch = json!({ "series": EventSeries {
            count: series.count,
            last_observed_time: now(),
        } });
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patching = self.events.patch(&series.name, &parameters, &patch);
        let existing = async {
            match patching.await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.call("patch", existing).await
    }

    async fn call<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, NodeEventError> {
        let node = || self.node.clone();
        match tokio::time::timeout(MAX_TIMEOUT, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(NodeEventError::Call {
                verb,
                node: node(),
                source: status_and_cause(error).1,
            }),
            Err(_elapsed) => Err(NodeEventError::NoAnswer { verb, node: node() }),
        }
    }
}

impl fmt::Debug for NodeEvents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut events = formatter.debug_struct("NodeEvents");
        events.field("node", &self.node).finish_non_exhaustive()
    }
}

/// Returns the start of a text, of at most `bytes`.
fn cut(text: &str, bytes: usize) -> &str {
    let mut ends = (0..=bytes.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}
