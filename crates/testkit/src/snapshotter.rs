//! A snapshotter outside of containerd, as stargz and nydus are: a socket that containerd asks.
//!
//! What it holds is a list in memory and a directory for each snapshot, which nothing mounts. On
//! demand it answers some calls with an error, does not answer, or is not there.

mod calls;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use containerd_client::services::v1::snapshots::Info;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Code;

use crate::containerd::{Containerd, ContainerdBuilder};

/// What comes before a message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// How a [`ProxySnapshotter`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Every call as it should.
    Well,
    /// Calls for the size of a snapshot with that code, others as it should.
    WithoutSizes(Code),
    /// Every call with that code.
    Failing(Code),
    /// No call at all.
    Hanging,
}

/// A snapshotter behind a socket, which containerd uses as a remote one. It ends when it is dropped.
#[derive(Debug)]
pub struct ProxySnapshotter {
    name: String,
    socket: PathBuf,
    shared: Arc<Mutex<Shared>>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    health: Health,
    /// By key.
    snapshots: BTreeMap<String, Snapshot>,
    directory: TempDir,
    n_directories: usize,
}

#[derive(Debug, Clone)]
struct Snapshot {
    info: Info,
    directory: PathBuf,
}

impl ProxySnapshotter {
    /// Starts one that containerd is to know by this name.
    pub fn start(name: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("reclaim-snapshotter-")
            .tempdir_in("/tmp")
            .expect("a directory can be made in /tmp");
        let socket = directory.path().join("s.sock");
        let listener = UnixListener::bind(&socket).expect("a new directory takes a socket");
        let shared = Arc::new(Mutex::new(Shared {
            health: Health::Well,
            snapshots: BTreeMap::new(),
            directory,
            n_directories: 0,
        }));
        Self {
            name: name.to_owned(),
            socket,
            listener: tokio::spawn(listen(listener, Arc::clone(&shared))),
            shared,
        }
    }

    /// Returns a builder for a containerd that has it.
    pub fn containerd(&self) -> ContainerdBuilder {
        let Self { name, socket, .. } = self;
        let socket = socket.display();
        Containerd::builder().extra_config(&format!(
            "[proxy_plugins.{name}]\ntype = \"snapshot\"\naddress = \"{socket}\""
        ))
    }

    /// Answers so from now on.
    pub fn set(&self, health: Health) {
        lock(&self.shared).health = health;
    }

    /// Ends as a process that died: its socket refuses connections, and those that there were
    /// are closed.
    pub async fn die(&mut self) {
        self.listener.abort();
        // How it ended is known.
        (&mut self.listener).await.ok();
    }
}

impl Drop for ProxySnapshotter {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until it is dropped, and all connections with it.
async fn listen(listener: UnixListener, shared: Arc<Mutex<Shared>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { Ok::<_, Infallible>(serve(&shared, request).await) }
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

async fn serve(shared: &Mutex<Shared>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let method = path.rsplit('/').next().unwrap_or_default();
    let Ok(body) = request.into_body().collect().await else {
        return answer(Err(Code::Cancelled));
    };
    let body = body.to_bytes();
    let health = lock(shared).health;
    match health {
        Health::Hanging => std::future::pending().await,
        Health::Failing(code) => answer(Err(code)),
        Health::WithoutSizes(code) if method == "Usage" => answer(Err(code)),
        Health::Well | Health::WithoutSizes(_) => {
            let message = body.get(FRAME..).unwrap_or_default();
            answer(lock(shared).call(method, message))
        }
    }
}

/// Frames the message that is answered, with its status behind it.
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
