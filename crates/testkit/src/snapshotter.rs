//! A remote snapshotter, as stargz and nydus are: a server that containerd calls over a socket.
//!
//! Its state is a list in memory and a directory for each snapshot, which nothing mounts. Tests can
//! make it return errors, hang or go away.

mod state;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Code;

pub use self::state::Health;
use self::state::State;
use crate::containerd::{Containerd, ContainerdBuilder};

/// The bytes before a gRPC message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// A remote snapshotter. Dropping it stops it.
#[derive(Debug)]
pub struct ProxySnapshotter {
    name: String,
    socket: PathBuf,
    state: Arc<Mutex<State>>,
    listener: JoinHandle<()>,
}

impl ProxySnapshotter {
    /// Starts a snapshotter that containerd knows by this name.
    pub fn start(name: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("reclaim-snapshotter-")
            .tempdir_in("/tmp")
            .expect("a directory can be created in /tmp");
        let socket = directory.path().join("s.sock");
        let listener = UnixListener::bind(&socket).expect("a new directory is writable");
        let state = Arc::new(Mutex::new(State::new(directory)));
        Self {
            name: name.to_owned(),
            socket,
            listener: tokio::spawn(listen(listener, Arc::clone(&state))),
            state,
        }
    }

    /// Returns a builder for a containerd that uses it.
    pub fn containerd(&self) -> ContainerdBuilder {
        Containerd::builder().extra_config(&self.config())
    }

    /// Returns the table of containerd's configuration that names it.
    pub fn config(&self) -> String {
        let Self { name, socket, .. } = self;
        let socket = socket.display();
        format!("[proxy_plugins.{name}]\ntype = \"snapshot\"\naddress = \"{socket}\"")
    }

    /// Sets how it responds from now on.
    pub fn set(&self, health: Health) {
        lock(&self.state).health = health;
    }

    /// Stops like a process that died: existing connections are closed, and new ones refused.
    pub async fn die(&mut self) {
        self.listener.abort();
        // Fails because the task was just aborted.
        (&mut self.listener).await.ok();
    }
}

impl Drop for ProxySnapshotter {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until it is dropped, which closes all connections.
async fn listen(listener: UnixListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let state = Arc::clone(&state);
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(serve(&state, request).await) }
                });
                let serving = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(client), service);
                connections.spawn(serving);
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn serve(state: &Mutex<State>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let method = path.rsplit('/').next().unwrap_or_default();
    let Ok(body) = request.into_body().collect().await else {
        return answer(Err(Code::Cancelled));
    };
    let body = body.to_bytes();
    let health = lock(state).health;
    match health {
        Health::Hanging => std::future::pending().await,
        Health::Failing(code) => answer(Err(code)),
        Health::WithoutSizes(code) if method == "Usage" => answer(Err(code)),
        Health::Healthy | Health::WithoutSizes(_) => {
            let message = body.get(FRAME..).unwrap_or_default();
            answer(lock(state).call(method, message))
        }
    }
}

/// Returns a response with the framed message and the status as trailer.
fn answer(message: Result<Vec<u8>, Code>) -> Answer {
    let grpc = HeaderValue::from_static("application/grpc");
    let status = |code: Code| {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from(code as i32),
        )])
    };
    let mut answer = match message {
        Err(code) => {
            let mut answer = Response::new(Empty::new().boxed_unsync());
            *answer.headers_mut() = status(code);
            answer
        }
        Ok(message) => {
            let mut framed = BytesMut::new();
            framed.put_u8(0);
            framed.put_u32(u32::try_from(message.len()).expect("a message is small"));
            framed.extend(message);
            let trailers = std::future::ready(Some(Ok(status(Code::Ok))));
            let body = Full::new(framed.freeze()).with_trailers(trailers);
            Response::new(body.boxed_unsync())
        }
    };
    answer.headers_mut().insert("content-type", grpc);
    answer
}
