//! Gives every call to containerd a deadline, by its kind.
//!
//! All calls go through a [`TimedChannel`], so that none can be made without a deadline: it takes
//! the kind from the method, unless the request names another. The deadline bounds time without
//! progress: until the answer begins, and then between its parts.
//!
//! # Silence
//!
//! A call that times out may be waiting for one slow part of containerd, such as a snapshotter's
//! process or a network file system. If no other call was answered meanwhile, all of containerd is
//! silent, and further calls time out quickly until an answer arrives: a run makes many calls, and
//! has to end.
//!
//! HTTP/2 pings are not used to find out whether containerd is alive: gRPC servers count them as
//! abuse and close the connection.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use containerd_client::services::v1::version_client::VersionClient;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service, StdError};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::calls::{CallObserver, RunningCall};

/// The deadline of all kinds of calls, in tests that wait for it often.
static TEST_DEADLINE: OnceLock<Duration> = OnceLock::new();

/// The deadline of a call while containerd is silent.
const SILENT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait for a collection while containerd answers other calls.
const COLLECTION_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// What a call does, which determines its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Reads one thing from the database.
    Get,
    /// Reads many things, or measures one.
    List,
    /// Changes something, and may wait for another writer and for the disk.
    Write,
    /// Collects garbage. It has no deadline while containerd answers other calls.
    Collect,
    /// Streams events, whenever they happen.
    Stream,
}

impl CallKind {
    /// Returns the kind of the method at the end of `path`. An unknown one counts as a list.
    fn of_path(path: &str) -> Self {
        match path.rsplit('/').next().unwrap_or_default() {
            "Get" | "Info" | "Plugins" | "Version" => Self::Get,
            "AddResource" | "Create" | "Delete" | "Publish" | "Update" | "Write" => Self::Write,
            "Subscribe" => Self::Stream,
            _ => Self::List,
        }
    }

    /// Returns how long the call may make no progress; `None` for no limit.
    fn deadline(self) -> Option<Duration> {
        let deadline = match self {
            Self::Get => Duration::from_secs(10),
            Self::List => Duration::from_secs(20),
            // A run has to end within a minute even if only writes are not answered, and it
            // retries once.
            Self::Write => Duration::from_secs(25),
            Self::Collect | Self::Stream => return None,
        };
        Some(test_deadline().unwrap_or(deadline))
    }
}

/// Sets the deadline of all calls of this process, of every kind. For tests; only the first call
/// counts.
#[doc(hidden)]
pub fn set_deadline_for_test(deadline: Duration) {
    TEST_DEADLINE.get_or_init(|| deadline);
}

fn test_deadline() -> Option<Duration> {
    TEST_DEADLINE.get().copied()
}

/// Waits for the answer to a collecting deletion; `None` if that takes too long. The collection
/// then continues, because containerd does not cancel it.
pub(crate) async fn within_collection_timeout<T>(collecting: impl Future<Output = T>) -> Option<T> {
    let limit = test_deadline().map_or(COLLECTION_TIMEOUT, |deadline| deadline * 10);
    timeout(limit, collecting).await.ok()
}

/// Marks a status that the server did not send.
#[derive(Debug, thiserror::Error)]
#[error("containerd is silent")]
struct Silent;

/// Whether a server answers on one connection.
#[derive(Debug, Default)]
pub(crate) struct Liveness(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    /// When the last answer, or part of one, arrived.
    last: Option<Instant>,
    /// Since when nothing has arrived; set once a call has timed out.
    silent_since: Option<Instant>,
}

impl Liveness {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        // A panic cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that an answer, or part of one, arrived.
    fn record_answer(&self) {
        *self.answers() = Answers {
            last: Some(Instant::now()),
            silent_since: None,
        };
    }

    /// Returns how long to wait for progress of a call; `None` for no limit.
    fn timeout_of(&self, kind: CallKind) -> Option<Duration> {
        let deadline = kind.deadline()?;
        let is_silent = self.answers().silent_since.is_some();
        Some(if is_silent {
            test_deadline().map_or(SILENT_TIMEOUT, |deadline| deadline / 4)
        } else {
            deadline
        })
    }

    /// Records that a call made no progress since `since`, and returns the error for it.
    fn record_timeout(&self, since: Instant) -> Status {
        let mut answers = self.answers();
        let is_silent = answers.last.is_none_or(|last| last < since);
        let since = if is_silent {
            *answers.silent_since.get_or_insert(since)
        } else {
            since
        };
        let elapsed = since.elapsed();
        // Only tests wait for less than a second.
        let waited = match elapsed.as_secs() {
            0 => format!("{} ms", elapsed.as_millis()),
            seconds => format!("{seconds} s"),
        };
        let text = format!("no answer from containerd within {waited}");
        let mut status = Status::deadline_exceeded(text);
        if is_silent {
            // The caller treats it like a lost connection.
            status.set_source(Arc::new(Silent));
        }
        status
    }
}

/// A channel to a server on which every call has a deadline.
#[derive(Clone)]
pub(crate) struct TimedChannel {
    channel: Channel,
    liveness: Arc<Liveness>,
    observer: Arc<OnceLock<Arc<dyn CallObserver>>>,
}

impl fmt::Debug for TimedChannel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TimedChannel")
            .finish_non_exhaustive()
    }
}

impl TimedChannel {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            channel,
            liveness: Arc::default(),
            observer: Arc::default(),
        }
    }

    /// Reports the end of each call from now on. Only the first observer counts.
    pub(crate) fn observe(&self, observer: Arc<dyn CallObserver>) {
        self.observer.get_or_init(|| observer);
    }

    /// Makes a call, up to the begin of its answer.
    async fn answer(
        &self,
        request: http::Request<Body>,
        kind: CallKind,
    ) -> Result<http::Response<Body>, StdError> {
        let began = Instant::now();
        let mut channel = self.channel.clone();
        let call = async {
            std::future::poll_fn(|context| channel.poll_ready(context)).await?;
            channel.call(request).await
        };
        let answer = match (kind, self.liveness.timeout_of(kind)) {
            (CallKind::Collect, _) => self.until_silent(call).await?,
            (_, None) => call.await,
            (_, Some(limit)) => timeout(limit, call)
                .await
                .map_err(|_| self.liveness.record_timeout(began))?,
        };
        let answer = answer?;
        self.liveness.record_answer();
        Ok(answer)
    }

    /// Waits for a collection for as long as the server answers other calls.
    async fn until_silent<T>(&self, collecting: impl Future<Output = T>) -> Result<T, Status> {
        let mut collecting = std::pin::pin!(collecting);
        let pause = CallKind::Get.deadline().unwrap_or(SILENT_TIMEOUT) / 2;
        loop {
            let probe = async {
                sleep(pause).await;
                // The server takes no lock to report its version.
                VersionClient::new(self.clone()).version(()).await
            };
            tokio::select! {
                biased;
                collected = &mut collecting => return Ok(collected),
                answer = probe => match answer {
                    Err(status) if status.code() == tonic::Code::DeadlineExceeded => {
                        return Err(status);
                    }
                    // If the connection is lost, the collection's own answer says so.
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }
}

impl Service<http::Request<Body>> for TimedChannel {
    type Response = http::Response<TimedBody>;
    type Error = StdError;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Waiting for the channel is part of the call, so that the deadline covers it, too.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        let kind = request
            .extensions()
            .get::<CallKind>()
            .copied()
            .unwrap_or_else(|| CallKind::of_path(request.uri().path()));
        let observer = this.observer.get().cloned();
        let mut running = RunningCall::begin(observer, request.uri().path(), kind);
        Box::pin(async move {
            let answer = match this.answer(request, kind).await {
                Ok(answer) => answer,
                Err(error) => {
                    let status = error.downcast_ref::<Status>();
                    running.end(status.map_or(Code::Unavailable, Status::code));
                    return Err(error);
                }
            };
            let (parts, body) = answer.into_parts();
            running.end_by(&parts.headers);
            let body = TimedBody {
                body,
                kind,
                liveness: this.liveness,
                waiting: None,
                running,
            };
            Ok(http::Response::from_parts(parts, body))
        })
    }
}

/// The body of an answer, with a deadline for each of its parts.
#[derive(Debug)]
pub(crate) struct TimedBody {
    body: Body,
    kind: CallKind,
    liveness: Arc<Liveness>,
    /// Since when it waits for the next part, and until when.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    running: RunningCall,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waiting = None;
            this.liveness.record_answer();
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        this.running.end_by(trailers);
                    }
                }
                Some(Err(status)) => this.running.end(status.code()),
                None => this.running.end(Code::Unknown),
            }
            return Poll::Ready(frame);
        }
        let Some(limit) = this.liveness.timeout_of(this.kind) else {
            return Poll::Pending;
        };
        let (since, until) = this.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + limit)))
        });
        ready!(until.as_mut().poll(context));
        let status = this.liveness.record_timeout(*since);
        this.running.end(status.code());
        Poll::Ready(Some(Err(status)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{namespace, silent};

    const RPC: &str = "/containerd.services.";

    #[test]
    fn each_method_in_use_has_its_kind() {
        let cases = [
            ("content.v1.Content/Info", CallKind::Get),
            ("content.v1.Content/List", CallKind::List),
            ("content.v1.Content/ListStatuses", CallKind::List),
            ("content.v1.Content/Read", CallKind::List),
            ("content.v1.Content/Update", CallKind::Write),
            ("content.v1.Content/Write", CallKind::Write),
            ("containers.v1.Containers/ListStream", CallKind::List),
            ("events.v1.Events/Publish", CallKind::Write),
            ("events.v1.Events/Subscribe", CallKind::Stream),
            ("images.v1.Images/Create", CallKind::Write),
            ("images.v1.Images/Delete", CallKind::Write),
            ("images.v1.Images/Get", CallKind::Get),
            ("images.v1.Images/Update", CallKind::Write),
            ("introspection.v1.Introspection/Plugins", CallKind::Get),
            ("introspection.v1.Introspection/Server", CallKind::List),
            ("leases.v1.Leases/AddResource", CallKind::Write),
            ("leases.v1.Leases/ListResources", CallKind::List),
            ("snapshots.v1.Snapshots/Usage", CallKind::List),
            ("tasks.v1.Tasks/List", CallKind::List),
            ("version.v1.Version/Version", CallKind::Get),
        ];
        for (method, kind) in cases {
            let path = format!("{RPC}{method}");
            assert_eq!(CallKind::of_path(&path), kind, "{method}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn further_calls_to_a_silent_server_time_out_quickly() {
        let store = silent("2.0.0");
        let began = Instant::now();
        let error = store.namespaces().await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 20);
        assert!(error.is_transient() && error.is_timeout() && error.is_from_transport());
        let text = "list namespaces: no answer from containerd within 20 s (deadline exceeded)";
        assert_eq!(reclaim_model::chain(&error), text);
        let again = Instant::now();
        let error = store.image_record(&namespace(), "app").await.unwrap_err();
        assert_eq!(again.elapsed().as_secs(), 2);
        let text = reclaim_model::chain(&error);
        assert!(text.contains("within 22 s"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_collection_on_a_silent_server_times_out() {
        let store = silent("2.0.0");
        let began = Instant::now();
        let error = store.delete_lease(&namespace(), "ours", true).await;
        assert_eq!(error.unwrap_err().code(), Some(Code::DeadlineExceeded));
        assert_eq!(began.elapsed().as_secs(), 15);
    }
}
