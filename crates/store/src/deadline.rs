//! How long an answer may be waited for: every call to containerd has a deadline, by its class.
//!
//! All calls go through a [`Line`], so that none can be made without a deadline: it takes the
//! class from the method, unless the request names another. What counts is time without
//! progress: until the answer begins, and then between its parts.
//!
//! # Silence
//!
//! A call that has no answer in time may be waiting for one slow part of containerd, such as a
//! snapshotter's process or a network file system. If no other call had an answer meanwhile,
//! containerd is silent as a whole, and until something comes each further call is waited for
//! only briefly: a run makes many calls, and has to end.
//!
//! Liveness is never asked for by HTTP/2 pings. gRPC servers count those as abuse, and close the
//! connection.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use containerd_client::services::v1::version_client::VersionClient;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service, StdError};
use tonic::transport::Channel;

/// The deadline of all classes, in tests that wait for it often.
static FOR_TEST: OnceLock<Duration> = OnceLock::new();

/// The most that is waited for a call while containerd is silent.
const BRIEFLY: Duration = Duration::from_secs(2);

/// The longest that a collection is waited for while containerd answers other calls.
const COLLECTION: Duration = Duration::from_secs(15 * 60);

/// What a call does, and so how long its answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Reads one thing from the database.
    Get,
    /// Reads many things, or measures one.
    List,
    /// Changes something: it may wait for another writer, and for the disk.
    Write,
    /// Collects. It takes as long as it takes, if containerd answers other calls meanwhile.
    Collect,
    /// A stream of what happens, whenever it does.
    Stream,
}

impl Class {
    /// Returns the class of a method, by the end of its path. What is not known is taken for a
    /// list.
    fn of(path: &str) -> Self {
        match path.rsplit('/').next().unwrap_or_default() {
            "Get" | "Info" | "Plugins" | "Version" => Self::Get,
            "AddResource" | "Create" | "Delete" | "Publish" | "Update" | "Write" => Self::Write,
            "Subscribe" => Self::Stream,
            _ => Self::List,
        }
    }

    /// Returns how long it may go without progress; `None` for as long as it likes.
    fn deadline(self) -> Option<Duration> {
        let deadline = match self {
            Self::Get => Duration::from_secs(10),
            Self::List => Duration::from_secs(20),
            // A run has to end within a minute also where only this fails to answer, and is
            // tried again once.
            Self::Write => Duration::from_secs(25),
            Self::Collect | Self::Stream => return None,
        };
        Some(for_test().unwrap_or(deadline))
    }
}

/// Gives all calls of this process that deadline, whatever they do. For tests, once.
#[doc(hidden)]
pub fn set_deadline_for_test(deadline: Duration) {
    FOR_TEST.get_or_init(|| deadline);
}

fn for_test() -> Option<Duration> {
    FOR_TEST.get().copied()
}

/// Waits for the answer to a collecting deletion; `None` if it takes longer than a collection may
/// be waited for. It goes on then: containerd does not stop one.
pub(crate) async fn within_ceiling<T>(collecting: impl Future<Output = T>) -> Option<T> {
    let ceiling = for_test().map_or(COLLECTION, |deadline| deadline * 10);
    timeout(ceiling, collecting).await.ok()
}

/// Why a status is not the server's: nothing came from it.
#[derive(Debug, thiserror::Error)]
#[error("containerd is silent")]
struct Silent;

/// What is known of whether a server answers on one connection.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    /// When something last came.
    last: Option<Instant>,
    /// Since when nothing came, once a call had no answer in time.
    silent_since: Option<Instant>,
}

impl Pulse {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        // Each change of it is a single one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something came.
    fn beat(&self) {
        *self.answers() = Answers {
            last: Some(Instant::now()),
            silent_since: None,
        };
    }

    /// Returns how long to wait for progress of a class.
    fn patience(&self, class: Class) -> Option<Duration> {
        let deadline = class.deadline()?;
        let is_silent = self.answers().silent_since.is_some();
        Some(if is_silent {
            for_test().map_or(BRIEFLY, |deadline| deadline / 4)
        } else {
            deadline
        })
    }

    /// Notes that nothing came of a call since then, and returns that as an error.
    fn missed(&self, since: Instant) -> Status {
        let mut answers = self.answers();
        let is_silent = answers.last.is_none_or(|last| last < since);
        let since = if is_silent {
            *answers.silent_since.get_or_insert(since)
        } else {
            since
        };
        let waited = since.elapsed();
        // Short ones are for tests.
        let waited = match waited.as_secs() {
            0 => format!("{} ms", waited.as_millis()),
            seconds => format!("{seconds} s"),
        };
        let text = format!("no answer from containerd within {waited}");
        let mut status = Status::deadline_exceeded(text);
        if is_silent {
            // To a caller that is as if the connection were lost.
            status.set_source(Arc::new(Silent));
        }
        status
    }
}

/// The way of every call to a server: a channel on which nothing is waited for without end.
#[derive(Clone)]
pub(crate) struct Line {
    channel: Channel,
    pulse: Arc<Pulse>,
}

impl fmt::Debug for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            channel,
            pulse: Arc::default(),
        }
    }

    /// Waits for a collection for as long as the server answers other calls.
    async fn until_silent<T>(&self, collecting: impl Future<Output = T>) -> Result<T, Status> {
        let mut collecting = std::pin::pin!(collecting);
        let pause = Class::Get.deadline().unwrap_or(BRIEFLY) / 2;
        loop {
            let is_alive = async {
                sleep(pause).await;
                // Nobody is waiting for a lock to tell its version.
                VersionClient::new(self.clone()).version(()).await
            };
            tokio::select! {
                biased;
                collected = &mut collecting => return Ok(collected),
                answer = is_alive => match answer {
                    Err(status) if status.code() == tonic::Code::DeadlineExceeded => {
                        return Err(status);
                    }
                    // Of a connection that is lost the collection's own answer tells.
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }
}

impl Service<http::Request<Body>> for Line {
    type Response = http::Response<Timed>;
    type Error = StdError;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Waiting for the channel is part of the call, so that it has a deadline, too.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let line = self.clone();
        let named = request.extensions().get::<Class>().copied();
        let class = named.unwrap_or_else(|| Class::of(request.uri().path()));
        Box::pin(async move {
            let began = Instant::now();
            let mut channel = line.channel.clone();
            let asking = async {
                std::future::poll_fn(|context| channel.poll_ready(context)).await?;
                channel.call(request).await
            };
            let answer = match (class, line.pulse.patience(class)) {
                (Class::Collect, _) => line.until_silent(asking).await?,
                (_, None) => asking.await,
                (_, Some(patience)) => timeout(patience, asking)
                    .await
                    .map_err(|_| line.pulse.missed(began))?,
            };
            let (parts, body) = answer?.into_parts();
            line.pulse.beat();
            let body = Timed {
                body,
                class,
                pulse: line.pulse,
                waiting: None,
            };
            Ok(http::Response::from_parts(parts, body))
        })
    }
}

/// The body of an answer, whose parts are not waited for without end.
#[derive(Debug)]
pub(crate) struct Timed {
    body: Body,
    class: Class,
    pulse: Arc<Pulse>,
    /// Since when the next part is waited for, and until when.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waiting = None;
            this.pulse.beat();
            return Poll::Ready(frame);
        }
        let Some(patience) = this.pulse.patience(this.class) else {
            return Poll::Pending;
        };
        let (since, until) = this.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + patience)))
        });
        ready!(until.as_mut().poll(context));
        Poll::Ready(Some(Err(this.pulse.missed(*since))))
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
    use tonic::Code;

    use super::*;
    use crate::scripted::{namespace, silent};

    const RPC: &str = "/containerd.services.";

    #[test]
    fn each_method_that_is_called_has_its_class() {
        let cases = [
            ("content.v1.Content/Info", Class::Get),
            ("content.v1.Content/List", Class::List),
            ("content.v1.Content/ListStatuses", Class::List),
            ("content.v1.Content/Read", Class::List),
            ("content.v1.Content/Update", Class::Write),
            ("content.v1.Content/Write", Class::Write),
            ("containers.v1.Containers/ListStream", Class::List),
            ("events.v1.Events/Publish", Class::Write),
            ("events.v1.Events/Subscribe", Class::Stream),
            ("images.v1.Images/Create", Class::Write),
            ("images.v1.Images/Delete", Class::Write),
            ("images.v1.Images/Get", Class::Get),
            ("images.v1.Images/Update", Class::Write),
            ("introspection.v1.Introspection/Plugins", Class::Get),
            ("introspection.v1.Introspection/Server", Class::List),
            ("leases.v1.Leases/AddResource", Class::Write),
            ("leases.v1.Leases/ListResources", Class::List),
            ("snapshots.v1.Snapshots/Usage", Class::List),
            ("tasks.v1.Tasks/List", Class::List),
            ("version.v1.Version/Version", Class::Get),
        ];
        for (method, class) in cases {
            assert_eq!(Class::of(&format!("{RPC}{method}")), class, "{method}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_silent_is_waited_for_once() {
        let store = silent("2.0.0");
        let began = Instant::now();
        let error = store.namespaces().await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 20);
        assert!(error.is_passing() && error.is_timeout() && error.is_from_transport());
        let text = "list namespaces: no answer from containerd within 20 s (deadline exceeded)";
        assert_eq!(reclaim_model::chain(&error), text);
        let again = Instant::now();
        let error = store.image_record(&namespace(), "app").await.unwrap_err();
        assert_eq!(again.elapsed().as_secs(), 2);
        let text = reclaim_model::chain(&error);
        assert!(text.contains("within 22 s"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_collection_is_not_waited_for_while_the_server_is_silent() {
        let store = silent("2.0.0");
        let began = Instant::now();
        let error = store.delete_lease(&namespace(), "ours", true).await;
        assert_eq!(error.unwrap_err().code(), Some(Code::DeadlineExceeded));
        assert_eq!(began.elapsed().as_secs(), 15);
    }
}
