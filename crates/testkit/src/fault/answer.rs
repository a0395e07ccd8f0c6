//! Answers that pass through, and those that are the proxy's own.

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tonic::Code;

/// Why the stream of a call is reset.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// containerd did not answer, or not to the end.
    #[error("containerd went away")]
    Containerd(#[from] hyper::Error),
    /// A fault has it so.
    #[error("reset by the fault proxy")]
    Reset,
}

/// What the proxy hands to the client: containerd's frames as they come, or kept ones.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

/// Passes an answer on, frame by frame.
pub(super) fn streamed(answer: Response<Incoming>) -> Answer {
    answer.map(BodyExt::boxed_unsync)
}

/// Waits for the whole of an answer, down to its trailers.
pub(super) async fn collected(answer: Response<Incoming>) -> Result<Answer, Broken> {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?;
    let body = body.map_err(|never| match never {}).boxed_unsync();
    Ok(Response::from_parts(parts, body))
}

/// Answers with a status and no message, in headers alone, as gRPC allows.
pub(super) fn refused(code: Code) -> Answer {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code as i32));
    headers.insert(
        "grpc-message",
        HeaderValue::from_static("spoiled by the fault proxy"),
    );
    answer
}
