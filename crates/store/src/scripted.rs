//! A containerd that answers from a script, for tests of how the client handles each answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Collected, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use reclaim_model::Namespace;
use tokio::io::DuplexStream;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::client::Containerd;

/// The answer to a call.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    messages: Vec<u8>,
    code: Code,
}

impl Answer {
    /// Returns an answer with one message and success.
    pub(crate) fn of(message: &impl Message) -> Self {
        Self::stream(std::slice::from_ref(message), Code::Ok)
    }

    /// Returns an answer with an empty message and success.
    pub(crate) fn done() -> Self {
        Self::of(&())
    }

    /// Returns an answer with a stream of messages that ends with `code`.
    pub(crate) fn stream(messages: &[impl Message], code: Code) -> Self {
        let mut framed = Vec::new();
        for message in messages {
            let body = message.encode_to_vec();
            let length = u32::try_from(body.len()).unwrap();
            framed.push(0);
            framed.extend(length.to_be_bytes());
            framed.extend(body);
        }
        Self {
            messages: framed,
            code,
        }
    }
}

/// An answer without a message, and with this code.
impl From<Code> for Answer {
    fn from(code: Code) -> Self {
        Self {
            messages: Vec::new(),
            code,
        }
    }
}

/// An expected call, by the end of its path, such as `Leases/Create`, and the answer to it.
pub(crate) type ExpectedCall = (&'static str, Answer);

/// The namespace of the tests.
pub(crate) fn namespace() -> Namespace {
    "default".parse().unwrap()
}

/// Returns a containerd of a version that expects these calls in this order. It answers any other
/// call with [`Code::Internal`], which is always an error.
pub(crate) fn scripted(
    version: &str,
    script: impl IntoIterator<Item = ExpectedCall>,
) -> Containerd {
    recorded(version, script).0
}

/// Returns a containerd that never answers.
pub(crate) fn silent(version: &str) -> Containerd {
    let connect =
        tower::service_fn(|_| std::future::pending::<Result<TokioIo<DuplexStream>, Infallible>>());
    let channel = Endpoint::from_static("http://silent").connect_with_connector_lazy(connect);
    Containerd::scripted(channel, version)
}

/// Like [`scripted`], with the requests that it receives.
pub(crate) fn recorded(
    version: &str,
    script: impl IntoIterator<Item = ExpectedCall>,
) -> (Containerd, Requests) {
    let requests = Requests(Arc::new(Mutex::new(Script {
        expected: script.into_iter().collect(),
        received: Vec::new(),
    })));
    let script = Arc::clone(&requests.0);
    let connect = tower::service_fn(move |_| {
        let (client, server) = tokio::io::duplex(1 << 16);
        let script = Arc::clone(&script);
        let service = service_fn(move |request: Request<Incoming>| {
            let script = Arc::clone(&script);
            async move { answer(&script, request).await }
        });
        let serving = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(server), service);
        tokio::spawn(serving);
        std::future::ready(Ok::<_, Infallible>(TokioIo::new(client)))
    });
    let channel = Endpoint::from_static("http://scripted").connect_with_connector_lazy(connect);
    (Containerd::scripted(channel, version), requests)
}

/// The calls that are still expected, and the requests that were received.
struct Script {
    expected: VecDeque<ExpectedCall>,
    received: Vec<Bytes>,
}

/// The requests that a scripted containerd received.
pub(crate) struct Requests(Arc<Mutex<Script>>);

impl Requests {
    /// Returns the last message.
    pub(crate) fn last<M: Message + Default>(&self) -> M {
        let script = self.0.lock().unwrap();
        let last = script.received.last().expect("a request was received");
        M::decode(last.slice(FRAME..)).unwrap()
    }

    /// Whether all expected calls were made.
    pub(crate) fn is_over(&self) -> bool {
        self.0.lock().unwrap().expected.is_empty()
    }
}

/// The length of the header of a message: whether it is compressed, and its length.
const FRAME: usize = 5;

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(
    script: &Mutex<Script>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    // An answer before the end of the request would make the client stop sending.
    let body = request
        .into_body()
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), Collected::to_bytes);
    let next = {
        let mut script = script.lock().unwrap();
        script.received.push(body);
        script.expected.pop_front()
    };
    let expected = next.filter(|(call, _)| path.ends_with(call));
    let Answer { messages, code } = match expected {
        Some((_, answer)) => answer,
        None => Code::Internal.into(),
    };
    let mut status = HeaderMap::new();
    status.insert("grpc-status", HeaderValue::from(code as i32));
    let mut response = if messages.is_empty() {
        let mut response = Response::new(Empty::new().boxed_unsync());
        *response.headers_mut() = status;
        response
    } else {
        let trailers = std::future::ready(Some(Ok(status)));
        let body = Full::new(Bytes::from(messages)).with_trailers(trailers);
        Response::new(body.boxed_unsync())
    };
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    Ok(response)
}
