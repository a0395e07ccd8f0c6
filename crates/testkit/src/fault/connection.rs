//! One connection of a client, with its counterpart to containerd.
//!
//! The two live and die together: a client whose containerd is gone must see its connection
//! break, and containerd must see a client go.

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

use super::act::{Act, Moment};
use super::answer::{self, Answer, Broken};
use super::hook::Then;
use super::outage::{self, Request as Asked};
use super::plan::{Call, method_of};
use super::proxy::Shared;

/// The only method whose client sends a stream, and goes on after a part of the answer.
const STREAMED: &str = "content.v1.Content/Write";

/// A request on its way to containerd: as it comes, or kept.
type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Serves a client until either side goes away or a fault cuts it.
pub(super) async fn serve(client: UnixStream, shared: Arc<Shared>) {
    // Nobody there: the client sees its connection close.
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
        // How either side ended is for the calls to tell.
        _ = serving => {}
        _ = containerd => {}
        () = cut.notified() => {}
    }
}

/// What a call needs of its connection.
#[derive(Clone)]
struct Connection {
    sender: SendRequest<Body>,
    shared: Arc<Shared>,
    cut: Arc<Notify>,
}

/// What is left of a call after an act.
enum Left {
    /// It goes on as it was.
    All,
    /// It ends with this.
    End(Answer),
}

impl Connection {
    /// Forwards a call, and holds its answer back if there is to be silence.
    async fn call(self, request: Request<Incoming>) -> Result<Answer, Broken> {
        let shared = Arc::clone(&self.shared);
        let call = shared.plan().meet(request.uri().path());
        if shared.plan().is_silent() {
            return std::future::pending().await;
        }
        let answer = self.forward(&call, request).await;
        if shared.plan().is_silent() {
            return std::future::pending().await;
        }
        answer
    }

    /// Forwards a call, with the faults that are due. An error resets its stream.
    async fn forward(mut self, call: &Call, request: Request<Incoming>) -> Result<Answer, Broken> {
        if let Left::End(answer) = self.strike(call, Moment::Before).await? {
            return Ok(answer);
        }
        let (request, act) = self.ask(request).await?;
        if let Left::End(answer) = self.act(act).await? {
            return Ok(answer);
        }
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        if !self.shared.plan().waits_for_answer(call) {
            return Ok(answer::streamed(answer));
        }
        let answer = answer::collected(answer).await?;
        match self.strike(call, Moment::After).await? {
            Left::All => Ok(answer),
            Left::End(answer) => Ok(answer),
        }
    }

    /// Does to a call what is due at that moment.
    async fn strike(&self, call: &Call, moment: Moment) -> Result<Left, Broken> {
        let act = self.shared.plan().strike(call, moment);
        self.act(act).await
    }

    /// Reads what a request is about, and returns it with what is done to it for good.
    async fn ask(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Request<Body>, Option<Act>), Broken> {
        let (parts, body) = request.into_parts();
        let method = method_of(parts.uri.path()).to_owned();
        if method == STREAMED {
            return Ok((Request::from_parts(parts, body.boxed_unsync()), None));
        }
        let body = body.collect().await?.to_bytes();
        let namespace = parts.headers.get("containerd-namespace");
        let namespace = namespace.and_then(|it| it.to_str().ok());
        let act = self.shared.plan().ask(Asked {
            method,
            namespace: namespace.unwrap_or_default().to_owned(),
            texts: outage::texts(&body),
        });
        let body = Full::new(body).map_err(|never| match never {});
        Ok((Request::from_parts(parts, body.boxed_unsync()), act))
    }

    /// Does that to a call.
    async fn act(&self, act: Option<Act>) -> Result<Left, Broken> {
        match act {
            None => Ok(Left::All),
            Some(Act::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(Left::All)
            }
            Some(Act::Refuse(code)) => Ok(Left::End(answer::refused(code))),
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Silence) => {
                self.shared.plan().fall_silent();
                std::future::pending().await
            }
            Some(Act::Reset) => Err(Broken::Reset),
            Some(Act::Cut) => match self.cut().await {},
            Some(Act::Run(hook)) => match hook.run().await {
                Then::GoOn => Ok(Left::All),
                Then::Cut => match self.cut().await {},
            },
        }
    }

    /// Has the connection closed, and with it this call dropped.
    async fn cut(&self) -> Infallible {
        self.cut.notify_one();
        std::future::pending().await
    }
}
