//! Reports how each call to containerd ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::deadline::CallKind;

/// Receives the end of each call to containerd. It runs as part of the call, so it must not block.
pub trait CallObserver: fmt::Debug + Send + Sync {
    /// A call ended.
    fn ended(&self, call: &EndedCall<'_>);
}

/// A call to containerd that ended.
#[derive(Debug)]
pub struct EndedCall<'c> {
    /// The service and the method, such as `Images/List`.
    pub method: &'c str,
    /// The time until the answer was complete; `None` for a stream of events, which lasts as long as
    /// its reader.
    pub took: Option<Duration>,
    /// The name of the gRPC code, such as `NotFound`; `None` if the call succeeded.
    pub error: Option<String>,
}

/// A call that has not ended. Dropping it means that the caller stopped waiting.
#[derive(Debug)]
pub(crate) struct RunningCall {
    /// `None` once the end is reported.
    observer: Option<Arc<dyn CallObserver>>,
    method: String,
    kind: CallKind,
    began: Instant,
}

impl RunningCall {
    /// Begins the call of the method at the end of `path`.
    pub(crate) fn begin(
        observer: Option<Arc<dyn CallObserver>>,
        path: &str,
        kind: CallKind,
    ) -> Self {
        Self {
            observer,
            method: method(path).to_owned(),
            kind,
            began: Instant::now(),
        }
    }

    /// Ends it if these headers or trailers have its status.
    pub(crate) fn end_by(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.end(status.code());
        }
    }

    /// Ends it. Only the first end counts.
    pub(crate) fn end(&mut self, code: Code) {
        let Some(observer) = self.observer.take() else {
            return;
        };
        observer.ended(&EndedCall {
            method: &self.method,
            took: (self.kind != CallKind::Stream).then(|| self.began.elapsed()),
            error: (code != Code::Ok).then(|| format!("{code:?}")),
        });
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        // The reader of a stream ends it by dropping it.
        if self.kind != CallKind::Stream {
            self.end(Code::Cancelled);
        }
    }
}

/// Returns the service without its package, and the method.
fn method(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, method)| method)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use containerd_client::services::v1::ListNamespacesResponse;

    use super::*;
    use crate::scripted::{Answer, namespace, scripted, silent};

    #[derive(Debug, Default)]
    struct Ended(Mutex<Vec<String>>);

    impl CallObserver for Ended {
        fn ended(&self, call: &EndedCall<'_>) {
            let EndedCall {
                method,
                took,
                error,
            } = call;
            let took = took.map(|took| took.as_secs());
            let line = format!("{method} {took:?} {error:?}");
            self.0.lock().unwrap().push(line);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_ends_once_with_its_code() {
        let script = [
            (
                "Namespaces/List",
                Answer::of(&ListNamespacesResponse::default()),
            ),
            ("Images/Get", Code::NotFound.into()),
        ];
        let store = scripted("2.0.0", script);
        let ended = Arc::new(Ended::default());
        store.observe_calls(Arc::clone(&ended) as _);
        store.namespaces().await.unwrap();
        assert_eq!(store.image_record(&namespace(), "a").await.unwrap(), None);
        store.events().await.unwrap_err();
        let lines = ended.0.lock().unwrap().clone();
        assert_eq!(lines[0], "Namespaces/List Some(0) None");
        assert_eq!(lines[1], "Images/Get Some(0) Some(\"NotFound\")");
        let stream = "Events/Subscribe None Some(\"Internal\")".to_owned();
        assert!(lines.contains(&stream), "{lines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends_when_its_caller_stops_waiting() {
        let store = silent("2.0.0");
        let ended = Arc::new(Ended::default());
        store.observe_calls(Arc::clone(&ended) as _);
        store.namespaces().await.unwrap_err();
        let patience = Duration::from_secs(1);
        let waiting = tokio::time::timeout(patience, store.refresh_version());
        waiting.await.unwrap_err();
        let lines = ended.0.lock().unwrap().clone();
        let late = "Namespaces/List Some(20) Some(\"DeadlineExceeded\")";
        assert_eq!(lines, [late, "Version/Version Some(1) Some(\"Cancelled\")"]);
    }
}
