//! HTTP/2 and gRPC: from a request to a service, and back.

use std::convert::Infallible;
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
use tonic::{Code, Status};

use crate::fake::Fake;
use crate::fault::Fault;
use crate::reply::{Reply, unframe};
use crate::services::{self, Context};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves one connection until its client is gone.
pub(crate) async fn serve(fake: Fake, connection: DuplexStream) {
    let service = service_fn(move |request| {
        let fake = fake.clone();
        async move { Ok::<_, Infallible>(answer(fake, request).await) }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(connection), service);
    // Its client learns of the end by itself.
    drop(serving.await);
}

async fn answer(fake: Fake, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let header = |name: &str| {
        let value = head.headers.get(name).and_then(|it| it.to_str().ok());
        value.map(str::to_owned)
    };
    let context = Context {
        namespace: header("containerd-namespace").unwrap_or_default(),
        lease: header("containerd-lease"),
        now: fake.now(),
    };
    let mut words = head.uri.path().rsplit(['/', '.']);
    let method = words.next().unwrap_or_default();
    let service = words.next().unwrap_or_default();
    let method = format!("{service}/{method}");
    let fault = fake.fault(&method, &context.namespace);
    match fault {
        Fault::Silence => std::future::pending().await,
        Fault::Fail(code) => return respond(Err(refused(code))),
        Fault::Wait(time) => return waited(fake, method, context, body, time).await,
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

/// Carries out a call later. A server that was stopped does so for all that had arrived.
async fn waited(
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
    let reply = calling.await;
    respond(reply.unwrap_or_else(|error| Err(Status::internal(error.to_string()))))
}

fn refused(code: Code) -> Status {
    Status::new(code, "refused by the test")
}

/// Returns the messages of a request as they arrive.
fn messages(mut body: Incoming) -> mpsc::UnboundedReceiver<Bytes> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut arrived = BytesMut::new();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                arrived.extend_from_slice(&data);
            }
            while let Some(message) = unframe(&mut arrived) {
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
        // With no message the status is in the headers.
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

/// Returns a body of messages that ends with their status.
fn stream(messages: impl Stream<Item = Result<Bytes, Status>> + Send + 'static) -> Body {
    let ended = futures::stream::once(std::future::ready(Err(Status::ok(""))));
    let frames = messages.chain(ended).scan(false, |is_over, message| {
        // Nothing comes after a status.
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
    // It fails for messages that are no header; there are none.
    drop(status.add_header(&mut headers));
    headers
}
