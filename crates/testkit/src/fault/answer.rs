//! Responses: those of containerd, and the proxy's own.

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tonic::Code;

/// Why the stream of a call is reset.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// containerd did not respond completely.
    #[error("the connection to containerd broke")]
    Containerd(#[from] hyper::Error),
    /// A fault reset it.
    #[error("reset by the fault proxy")]
    Reset,
}

/// A response to the client: containerd's frames as they arrive, or a buffered body.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

/// Forwards a response frame by frame.
pub(super) fn streamed(answer: Response<Incoming>) -> Answer {
    answer.map(BodyExt::boxed_unsync)
}

/// Waits for the whole response, including its trailers.
pub(super) async fn collected(answer: Response<Incoming>) -> Result<Answer, Broken> {
    let (parts, body) = answer.into_parts();
    let collected = body.collect().await?;
    let body = collected.map_err(|never| match never {}).boxed_unsync();
    Ok(Response::from_parts(parts, body))
}

/// Returns a response with a status and no message, in headers only, as gRPC allows.
pub(super) fn refused(code: Code) -> Answer {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code as i32));
    headers.insert(
        "grpc-message",
        HeaderValue::from_static("refused by the fault proxy"),
    );
    answer
}
