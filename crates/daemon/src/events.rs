//! Sends a `CloudEvent` by HTTP POST after each policy run, if `events.url` is set.
//!
//! Delivery never delays a run: the scheduler puts the record of a run into a queue, and a task sends
//! it. What a receiver does not accept after a few attempts is dropped with a warning in the log; the
//! history has the same record.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use reclaim_api::page::node_name;
use reclaim_maintenance::{MaintenanceObserver, PolicyOutcome, PolicyRun, RunRecord};
use reclaim_model::chain;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::error::DaemonError;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The waits between attempts.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// How long a command waits for the delivery of an event after its runs.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// How many events wait for a slow receiver. More are dropped.
const QUEUED: usize = 16;

/// The type of an event.
const RAN: &str = "reclaim.policy.ran";
/// The type of the event of a run that did not reach the low watermark.
const UNMET: &str = "reclaim.policy.unmet";

/// Why an event was not delivered.
#[derive(Debug, thiserror::Error)]
enum EventError {
    #[error("no answer within {} s", ATTEMPT.as_secs())]
    Timeout,
    #[error("the receiver answered {0}")]
    Status(StatusCode),
    #[error("send the request")]
    Http(#[from] hyper_util::client::legacy::Error),
}

impl EventError {
    /// Whether another attempt may succeed.
    fn is_transient(&self) -> bool {
        match self {
            Self::Timeout | Self::Http(_) => true,
            Self::Status(status) => {
                let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
                status.is_server_error() || again.contains(status)
            }
        }
    }
}

/// The client of the receiver of events.
#[derive(Debug, Clone)]
pub(crate) struct EventSender {
    url: Uri,
    /// The URI of this host in events.
    source: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An event in structured mode, as `CloudEvents` 1.0 defines it.
#[derive(Debug, Serialize)]
struct CloudEvent<'r> {
    specversion: &'static str,
    id: String,
    source: &'r str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'r str,
    time: Timestamp,
    datacontenttype: &'static str,
    data: &'r RunRecord,
}

impl<'r> CloudEvent<'r> {
    fn new(source: &'r str, run: &'r RunRecord) -> Self {
        let prune = run.runs.first().map(|prune| prune.run.clone());
        Self {
            specversion: "1.0",
            // A run that ended before its first prune has no ID of its own.
            id: prune.unwrap_or_else(|| format!("{}/{}", run.policy, run.began)),
            source,
            kind: match run.outcome {
                PolicyOutcome::Unmet => UNMET,
                PolicyOutcome::Nothing
                | PolicyOutcome::Done
                | PolicyOutcome::Capped
                | PolicyOutcome::Partial
                | PolicyOutcome::Busy
                | PolicyOutcome::Failed
                | PolicyOutcome::Inhibited => RAN,
            },
            subject: &run.policy,
            time: run.ended,
            datacontenttype: "application/json",
            data: run,
        }
    }
}

impl EventSender {
    /// Creates a client for the receiver at `url`. Certificates are checked against those of the
    /// system.
    pub(crate) fn new(url: Uri) -> Result<Self, DaemonError> {
        let builder = HttpsConnectorBuilder::new();
        let builder = if url.scheme_str() == Some("https") {
            let provider = rustls::crypto::ring::default_provider();
            let with_roots = builder.with_provider_and_native_roots(provider);
            with_roots.map_err(DaemonError::Certificates)?
        } else {
            // The system may have no certificates.
            builder.with_tls_config(without_roots())
        };
        let connector = builder.https_or_http().enable_http1().build();
        Ok(Self {
            url,
            source: format!("/reclaim/{}", node_name().unwrap_or_default()),
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Sends the event of a run, and retries a few times. Logs a failure.
    async fn deliver(&self, run: &RunRecord) {
        let event = CloudEvent::new(&self.source, run);
        let body = serde_json::to_vec(&event).expect("an event serializes to JSON");
        let body = Bytes::from(body);
        let mut waits = WAITS.into_iter();
        loop {
            let Err(error) = self.post(body.clone()).await else {
                debug!(policy = %run.policy, "event delivered");
                return;
            };
            let wait = waits.next().filter(|_| error.is_transient());
            let error = chain(&error);
            let Some(wait) = wait else {
                warn!(policy = %run.policy, %error, "cannot deliver the event of a policy run");
                return;
            };
            debug!(%error, "cannot deliver the event yet");
            tokio::time::sleep(wait).await;
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), EventError> {
        const CLOUD_EVENT: HeaderValue =
            HeaderValue::from_static("application/cloudevents+json; charset=utf-8");
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        request.headers_mut().insert(CONTENT_TYPE, CLOUD_EVENT);
        let answering = tokio::time::timeout(ATTEMPT, self.client.request(request));
        let answer = answering.await.map_err(|_| EventError::Timeout)??;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(EventError::Status(answer.status()))
        }
    }

    /// Sends the events of runs that a command made. Waits for a limited time.
    pub(crate) async fn deliver_all(&self, runs: &[RunRecord]) {
        let delivering = async {
            for run in runs {
                self.deliver(run).await;
            }
        };
        if tokio::time::timeout(MAX_WAIT, delivering).await.is_err() {
            warn!("stopped waiting for the receiver of events");
        }
    }
}

/// The queue of a daemon's events.
#[derive(Debug)]
pub(crate) struct EventQueue {
    records: mpsc::Sender<RunRecord>,
}

impl EventQueue {
    /// Returns the queue, and the work that sends what is put into it until `cancel` is cancelled.
    pub(crate) fn new(
        sender: EventSender,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (records, mut waiting) = mpsc::channel::<RunRecord>(QUEUED);
        let sending = async move {
            let working = async {
                while let Some(record) = waiting.recv().await {
                    sender.deliver(&record).await;
                }
            };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = working => {}
            }
        };
        (Self { records }, sending)
    }
}

impl MaintenanceObserver for EventQueue {
    fn ran(&self, run: &PolicyRun) {
        let Some(record) = run.record() else {
            return;
        };
        if self.records.try_send(record).is_err() {
            warn!(policy = %run.policy, "the receiver of events is too slow; one event is dropped");
        }
    }
}

/// Returns a configuration that accepts no server.
fn without_roots() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_may_pass_are_retried() {
        assert!(EventError::Timeout.is_transient());
        for (status, is_transient) in [
            (404, false),
            (400, false),
            (301, false),
            (429, true),
            (503, true),
        ] {
            let error = EventError::Status(StatusCode::from_u16(status).unwrap());
            assert_eq!(error.is_transient(), is_transient, "{status}");
        }
    }
}
