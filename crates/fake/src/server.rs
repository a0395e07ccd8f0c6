//! Connections: HTTP/2 and gRPC.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::fake::{Fake, Fault};
use crate::reply::{Reply, unframe};
use crate::services::{self, Context};

/// The bytes under way in one direction of a connection.
const PIPE: usize = 1 << 18;

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Fake {
    /// Returns a channel, which connects at the first call, and again after an outage.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn channel(&self) -> Channel {
        let fake = self.clone();
        let connect = tower::service_fn(move |_| std::future::ready(fake.connect()));
        Endpoint::from_static("http://fake").connect_with_connector_lazy(connect)
    }

    fn connect(&self) -> io::Result<TokioIo<DuplexStream>> {
        let mut starts = self.starts();
        let start = *starts.borrow_and_update();
        if start.is_multiple_of(2) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, server) = tokio::io::duplex(PIPE);
        let serving = serve(self.clone(), server);
        tokio::spawn(async move {
            // A connection ends with the process that it was made to.
            tokio::select! {
                () = serving => {}
                _ = starts.wait_for(|starts| *starts != start) => {}
            }
        });
        Ok(TokioIo::new(client))
    }
}

/// Serves a connection until its client disconnects.
async fn serve(fake: Fake, connection: DuplexStream) {
    let service = service_fn(move |request| {
        let fake = fake.clone();
        async move { Ok::<_, Infallible>(answer(fake, request).await) }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(connection), service);
    // The client sees errors of the connection.
    drop(serving.await);
}

async fn answer(fake: Fake, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let header = |name: &str| {
        let value = head.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let context = Context {
        namespace: header("containerd-namespace").unwrap_or_default(),
        lease: header("containerd-lease"),
        now: fake.now(),
    };
    let mut parts = head.uri.path().rsplit(['/', '.']);
    let method = parts.next().unwrap_or_default();
    let service = parts.next().unwrap_or_default();
    let method = format!("{service}/{method}");
    let fault = fake.fault(&method, &context.namespace);
    match fault {
        Fault::Silence => std::future::pending().await,
        Fault::Fail(code) => return respond(Err(refused(code))),
        Fault::Wait(time) => return call_later(fake, method, context, body, time).await,
        Fault::None | Fault::FailAfter(_) | Fault::SilenceAfter | Fault::Delay(_) => {}
    }
    let messages = messages(body);
    let reply = services::call(&fake, &method, context, messages).await;
    match fault {
        Fault::SilenceAfter => std::future::pending().await,
        Fault::FailAfter(code) => return respond(Err(refused(code))),
        Fault::Delay(time) => tokio::time::sleep(time).await,
        Fault::None | Fault::Fail(_) | Fault::Silence | Fault::Wait(_) => {}
    }
    respond(reply)
}

/// Carries out a call after a time, even if the connection ends meanwhile.
async fn call_later(
    fake: Fake,
    method: String,
    context: Context,
    body: Incoming,
    time: Duration,
) -> Response<Body> {
    let messages = messages(body);
    let calling = tokio::spawn(async move {
        tokio::time::sleep(time).await;
        services::call(&fake, &method, context, messages).await
    });
    respond(
        calling
            .await
            .unwrap_or_else(|error| Err(Status::internal(error.to_string()))),
    )
}

fn refused(code: Code) -> Status {
    Status::new(code, "refused by the test")
}

/// Returns the messages of a request as they arrive.
fn messages(mut body: Incoming) -> mpsc::UnboundedReceiver<Bytes> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                buffer.extend_from_slice(&data);
            }
            while let Some(message) = unframe(&mut buffer) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

fn respond(reply: Result<Reply, Status>) -> Response<Body> {
    let mut response = match reply {
        Ok(Reply::Messages(messages)) => {
            let messages = messages.into_iter().map(Ok);
            Response::new(stream(futures::stream::iter(messages)))
        }
        Ok(Reply::Stream(messages)) => {
            Response::new(stream(UnboundedReceiverStream::new(messages)))
        }
        // Without messages, the status is in the headers.
        Err(status) => {
            let mut response = Response::new(Empty::new().boxed_unsync());
            *response.headers_mut() = trailers(&status);
            response
        }
    };
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

/// Returns a body of messages, ended by a status.
fn stream(messages: impl Stream<Item = Result<Bytes, Status>> + Send + 'static) -> Body {
    let ended = futures::stream::once(std::future::ready(Err(Status::ok(""))));
    let frames = messages.chain(ended).scan(false, |is_over, message| {
        // Nothing follows a status.
        let frame = (!*is_over).then(|| match message {
            Ok(message) => Frame::data(message),
            Err(status) => {
                *is_over = true;
                Frame::trailers(trailers(&status))
            }
        });
        std::future::ready(frame.map(Ok))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Fails only for a message that is not a valid header value.
    drop(status.add_header(&mut headers));
    headers
}
