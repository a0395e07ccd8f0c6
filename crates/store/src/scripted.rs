//! A containerd that answers as it was told, for tests of what each answer means to us.

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

/// What is answered to a call.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    messages: Vec<u8>,
    code: Code,
}

impl Answer {
    /// One message, and that all went well.
    pub(crate) fn of(message: &impl Message) -> Self {
        Self::stream(std::slice::from_ref(message), Code::Ok)
    }

    /// Nothing, and that all went well.
    pub(crate) fn done() -> Self {
        Self::of(&())
    }

    /// Messages, and how their stream ends.
    pub(crate) fn stream(messages: &[impl Message], code: Code) -> Self {
        let mut framed = Vec::new();
        for message in messages {
            let message = message.encode_to_vec();
            let length = u32::try_from(message.len()).unwrap();
            framed.push(0);
            framed.extend(length.to_be_bytes());
            framed.extend(message);
        }
        Self {
            messages: framed,
            code,
        }
    }
}

/// A refusal, before any message.
impl From<Code> for Answer {
    fn from(code: Code) -> Self {
        Self {
            messages: Vec::new(),
            code,
        }
    }
}

/// A call by the end of its path, such as `Leases/Create`, and what is answered to it.
pub(crate) type Line = (&'static str, Answer);

/// The namespace of the tests.
pub(crate) fn namespace() -> Namespace {
    "default".parse().unwrap()
}

/// A containerd of a version that expects these calls, in this order. Any other is answered with
/// [`Code::Internal`], which nothing takes for anything but an error.
pub(crate) fn scripted(version: &str, script: impl IntoIterator<Item = Line>) -> Containerd {
    recorded(version, script).0
}

/// A containerd that answers nothing.
pub(crate) fn silent(version: &str) -> Containerd {
    let connect =
        tower::service_fn(|_| std::future::pending::<Result<TokioIo<DuplexStream>, Infallible>>());
    let channel = Endpoint::from_static("http://silent").connect_with_connector_lazy(connect);
    Containerd::scripted(channel, version)
}

/// As [`scripted`], with what it will have been asked.
pub(crate) fn recorded(
    version: &str,
    script: impl IntoIterator<Item = Line>,
) -> (Containerd, Asked) {
    let asked = Asked(Arc::new(Mutex::new(Script {
        lines: script.into_iter().collect(),
        asked: Vec::new(),
    })));
    let script = Arc::clone(&asked.0);
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
    (Containerd::scripted(channel, version), asked)
}

/// What is still to be answered, and what was asked.
struct Script {
    lines: VecDeque<Line>,
    asked: Vec<Bytes>,
}

/// What a scripted containerd was asked.
pub(crate) struct Asked(Arc<Mutex<Script>>);

impl Asked {
    /// Returns the last message that was sent.
    pub(crate) fn last<M: Message + Default>(&self) -> M {
        let script = self.0.lock().unwrap();
        let last = script.asked.last().expect("something was asked");
        M::decode(last.slice(FRAME..)).unwrap()
    }

    /// Whether nothing is left of the script.
    pub(crate) fn is_over(&self) -> bool {
        self.0.lock().unwrap().lines.is_empty()
    }
}

/// What comes before a message: whether it is compressed, and its length.
const FRAME: usize = 5;

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(
    script: &Mutex<Script>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    // What a client is not done with sending it would miss if it were answered.
    let body = request.into_body().collect().await;
    let body = body.map_or_else(|_| Bytes::new(), Collected::to_bytes);
    let next = {
        let mut script = script.lock().unwrap();
        script.asked.push(body);
        script.lines.pop_front()
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
