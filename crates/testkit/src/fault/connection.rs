//! A connection of a client, with its connection to containerd.
//!
//! If one ends, so does the other: the client must see containerd disconnect, and containerd the
//! client.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self as client, SendRequest};
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::act::{Act, Moment, Then};
use super::answer::{self, Answer, Broken};
use super::outage::{self, Request as Recorded};
use super::plan::{Call, method_of};
use super::proxy::Shared;

/// The only method whose client sends a stream and reads parts of the response meanwhile.
const STREAMED: &str = "content.v1.Content/Write";

/// The body of a request: as it arrives, or buffered.
type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Serves a client until either side disconnects or a fault cuts the connection.
pub(super) async fn serve(client: UnixStream, shared: Arc<Shared>) {
    // Without containerd, the client sees its connection close.
    let Ok(containerd) = UnixStream::connect(&shared.containerd).await else {
        return;
    };
    let handshake = client::handshake(TokioExecutor::new(), TokioIo::new(containerd));
    let Ok((sender, containerd)) = handshake.await else {
        return;
    };
    let connection = Connection {
        sender,
        shared,
        cut: Arc::new(Notify::new()),
    };
    let cut = Arc::clone(&connection.cut);
    let service = service_fn(move |request| {
        let connection = connection.clone();
        async move { connection.call(request).await }
    });
    let serving =
        server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(client), service);
    tokio::select! {
        // The calls see how either side ended.
        _ = serving => {}
        _ = containerd => {}
        () = cut.notified() => {}
    }
}

/// The state that the calls of a connection share.
#[derive(Clone)]
struct Connection {
    sender: SendRequest<Body>,
    shared: Arc<Shared>,
    cut: Arc<Notify>,
}

/// What happens to a call after an act.
enum Outcome {
    /// It continues.
    Continue,
    /// It ends with this response.
    End(Answer),
}

impl Connection {
    /// Forwards a call, and withholds the response while the proxy is silent.
    async fn call(self, request: Request<Incoming>) -> Result<Answer, Broken> {
        let shared = Arc::clone(&self.shared);
        let call = shared.plan().record_call(request.uri().path());
        if shared.plan().is_silent() {
            return std::future::pending().await;
        }
        let answer = self.forward(&call, request).await;
        if shared.plan().is_silent() {
            return std::future::pending().await;
        }
        answer
    }

    /// Forwards a call and applies its faults. An error resets the stream.
    async fn forward(mut self, call: &Call, request: Request<Incoming>) -> Result<Answer, Broken> {
        if let Outcome::End(answer) = self.strike(call, Moment::Before).await? {
            return Ok(answer);
        }
        let (request, act) = self.record(request).await?;
        if let Outcome::End(answer) = self.act(act).await? {
            return Ok(answer);
        }
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        if !self.shared.plan().waits_for_answer(call) {
            return Ok(answer::streamed(answer));
        }
        let answer = answer::collected(answer).await?;
        match self.strike(call, Moment::After).await? {
            Outcome::Continue => Ok(answer),
            Outcome::End(answer) => Ok(answer),
        }
    }

    /// Applies the fault of a call at a moment, if there is one.
    async fn strike(&self, call: &Call, moment: Moment) -> Result<Outcome, Broken> {
        let act = self.shared.plan().strike(call, moment);
        self.act(act).await
    }

    /// Records a request, and returns it with the act of its outage, if there is one.
    async fn record(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Request<Body>, Option<Act>), Broken> {
        let (parts, body) = request.into_parts();
        let method = method_of(parts.uri.path()).to_owned();
        if method == STREAMED {
            return Ok((Request::from_parts(parts, body.boxed_unsync()), None));
        }
        let body = body.collect().await?.to_bytes();
        let namespace = parts
            .headers
            .get("containerd-namespace")
            .and_then(|header| header.to_str().ok());
        let act = self.shared.plan().record_request(Recorded {
            method,
            namespace: namespace.unwrap_or_default().to_owned(),
            texts: outage::texts(&body),
        });
        let body = Full::new(body).map_err(|never| match never {});
        Ok((Request::from_parts(parts, body.boxed_unsync()), act))
    }

    /// Applies an act to a call.
    async fn act(&self, act: Option<Act>) -> Result<Outcome, Broken> {
        match act {
            None => Ok(Outcome::Continue),
            Some(Act::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(Outcome::Continue)
            }
            Some(Act::Refuse(code)) => Ok(Outcome::End(answer::refused(code))),
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Silence) => {
                self.shared.plan().fall_silent();
                std::future::pending().await
            }
            Some(Act::Reset) => Err(Broken::Reset),
            Some(Act::Cut) => match self.cut().await {},
            Some(Act::Run(hook)) => match hook.run().await {
                Then::Continue => Ok(Outcome::Continue),
                Then::Cut => match self.cut().await {},
            },
        }
    }

    /// Closes the connection, which drops this call.
    async fn cut(&self) -> Infallible {
        self.cut.notify_one();
        std::future::pending().await
    }
}
