//! One request to the engine, and its response.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::AbortOnDropHandle;

use super::engine::EngineStream;
use super::headers::{prepare_request, remove_connection, upgrade};
use super::stream::{Asked, head, relay};
use super::{Forwarder, Unanswered, takes_connection};
use crate::listen::{Connection, Stream};

/// The most headers of a response.
const MAX_HEADERS: usize = 1024;

impl Forwarder {
    /// Sends a request to the engine and returns the response. Does not return if the connection is
    /// no longer HTTP.
    pub(super) async fn forward(&self, mut request: Request) -> Result<Response, Unanswered> {
        let shared = &self.shared;
        if shared.via.is_in(request.headers()) {
            return Err(Unanswered::Loop(shared.engine.clone()));
        }
        if request.method() == Method::CONNECT {
            return Err(Unanswered::Connects);
        }
        shared.gate.check(&shared.engine)?;
        let connection = Connection::of(request.extensions_mut());
        let stream = connection.as_ref().map(Connection::stream);
        let sending = async {
            match asked(&request) {
                Some(asked) => self.upgrade(request, asked, connection).await,
                None => self.exchange(request).await,
            }
        };
        let (mut response, task) = tokio::select! {
            sent = sending => sent?,
            () = shared.cut.cancelled() => return Err(Unanswered::Stopping),
        };
        remove_connection(response.headers_mut());
        Ok(response.map(|body| {
            Body::new(Relayed {
                body,
                cut: Box::pin(shared.cut.clone().cancelled_owned()),
                _stream: stream,
                _task: task,
            })
        }))
    }

    /// Sends a request that may turn the connection into a stream of bytes in both directions.
    async fn upgrade(
        &self,
        mut request: Request,
        asked: Asked,
        connection: Option<Connection>,
    ) -> Result<Exchanged, Unanswered> {
        let connection = connection.filter(|_| request.version() <= Version::HTTP_11);
        let connection = connection.ok_or(Unanswered::NoUpgrade)?;
        if asked == Asked::Silently {
            // Its end has to be known before the bytes that follow it.
            request = read_whole(request).await?;
        }
        let protocol = asked.protocol(request.headers());
        self.prepare(&mut request, protocol.as_ref());
        let (mut response, task) = self.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, task));
        }
        let head = head(&response, asked);
        let upgraded = hyper::upgrade::on(&mut response).await;
        let engine = upgraded.map_err(|source| Unanswered::NoResponse {
            engine: self.shared.engine.clone(),
            source,
        })?;
        let (cut, stream) = (self.shared.cut.clone(), connection.stream());
        let relaying = move |client, first| -> futures::future::BoxFuture<'static, ()> {
            Box::pin(async move {
                relay(client, first, &head, engine, &cut).await;
                drop(stream);
            })
        };
        match connection.take(relaying).await {}
    }

    async fn exchange(&self, mut request: Request) -> Result<Exchanged, Unanswered> {
        self.prepare(&mut request, None);
        self.send(request).await
    }

    fn prepare(&self, request: &mut Request, protocol: Option<&HeaderValue>) {
        let authority = request.uri().authority().map(ToString::to_string);
        let headers = request.headers_mut();
        prepare_request(headers, protocol, &self.shared.via);
        if !headers.contains_key(HOST) {
            let host = authority.and_then(|authority| HeaderValue::try_from(authority).ok());
            headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("docker")));
        }
        if !is_grpc(request) {
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
            *request.version_mut() = Version::HTTP_11;
        }
    }

    /// Sends a request on a connection of its own.
    async fn send(&self, request: Request) -> Result<Exchanged, Unanswered> {
        let engine = &self.shared.engine;
        let connected = engine.connect().await;
        let stream = connected.map_err(|source| Unanswered::Connect {
            engine: engine.clone(),
            source,
        })?;
        let sent = if is_grpc(&request) {
            send_http2(stream, request).await
        } else {
            send_http1(stream, request).await
        };
        sent.map_err(|source| Unanswered::NoResponse {
            engine: engine.clone(),
            source,
        })
    }
}

/// A response, and the task of its connection, which ends the connection when it is dropped.
type Exchanged = (http::Response<Incoming>, AbortOnDropHandle<()>);

async fn send_http1(stream: EngineStream, request: Request) -> hyper::Result<Exchanged> {
    let mut http = http1::Builder::new();
    http.preserve_header_case(true).max_headers(MAX_HEADERS);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await?;
    let connection = connection.with_upgrades();
    // An error of the connection is one of the request or of the response.
    let task = tokio::spawn(async move { drop(connection.await) });
    let task = AbortOnDropHandle::new(task);
    Ok((sender.send_request(request).await?, task))
}

async fn send_http2(stream: EngineStream, request: Request) -> hyper::Result<Exchanged> {
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    let task = tokio::spawn(async move { drop(connection.await) });
    let task = AbortOnDropHandle::new(task);
    Ok((sender.send_request(request).await?, task))
}

/// Whether a request is gRPC, which needs HTTP/2 on the whole way.
fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Returns how a request asks for a stream of bytes in both directions, if it does.
fn asked(request: &Request) -> Option<Asked> {
    if upgrade(request.headers()).is_some() {
        return Some(Asked::ByHeader);
    }
    let is_http1 = request.version() <= Version::HTTP_11;
    let is_silent = is_http1 && takes_connection(request.method(), request.uri().path());
    is_silent.then_some(Asked::Silently)
}

/// The most bytes in the body of a request that turns its connection into a stream.
const MAX_STREAM_REQUEST: usize = 1 << 20;

async fn read_whole(request: Request) -> Result<Request, Unanswered> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_STREAM_REQUEST).await;
    let body = body.map_err(Unanswered::Body)?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// The body of a response from the engine.
struct Relayed {
    body: Incoming,
    /// Ends the body early.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _stream: Option<Stream>,
    _task: AbortOnDropHandle<()>,
}

/// The daemon ended a response early.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the daemon is stopping")]
    Stopping,
    #[error(transparent)]
    Engine(#[from] hyper::Error),
}

impl hyper::body::Body for Relayed {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Ended::Stopping)));
        }
        let frame = pin!(&mut self.body).poll_frame(context);
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
