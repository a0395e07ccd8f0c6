//! One client that keeps all connections open for itself.

use std::fs;
use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::daemon::{Daemon, ask_on};
use crate::rig::Rig;

/// More than the daemon has for all.
const MANY: usize = 520;

/// Connections that answer pings and ask for nothing. A task ends with its connection.
#[derive(Default)]
struct Crowd {
    open: JoinSet<()>,
    /// A client without these would hang up.
    senders: Vec<SendRequest<Empty<Bytes>>>,
}

impl Crowd {
    async fn join(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let shaking = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        // The server may hang up meanwhile.
        if let Ok((sender, connection)) = shaking.await {
            self.senders.push(sender);
            self.open.spawn(async move { drop(connection.await) });
        }
    }

    /// Waits until no more than `left` are open.
    async fn shrinks_to(&mut self, left: usize) {
        while self.open.len() > left {
            self.open.join_next().await;
        }
    }
}

/// A port that is free now.
fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Metrics are not served by HTTP/2 at all, so that no connection is kept open by pings.
#[tokio::test]
async fn no_crowd_keeps_the_probes_from_an_answer() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (address, config) = (free_port(), directory.path().join("config.toml"));
    fs::write(&config, format!("[metrics]\nlisten = \"{address}\"\n")).unwrap();
    let config = config.to_str().unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &["--config", config]).await;
    let mut crowd = Crowd::default();
    for _ in 0..MANY {
        crowd.join(TcpStream::connect(address).await.unwrap()).await;
    }
    let host = format!("unix://{}", daemon.socket().display());
    let health = rig.reclaim(&["--host", &host, "health", "--live"]);
    assert_eq!(health.exits(0).stdout, "alive\n");
    let stream = TcpStream::connect(address).await.unwrap();
    let live = ask_on(stream, "GET", "/live", &[], "").await.unwrap();
    assert_eq!(live.body, "alive\n");
    crowd.shrinks_to(0).await;
}

/// Whoever has more connections than one client may loses its own oldest, and is answered.
#[tokio::test]
async fn a_client_has_its_share_of_the_connections() {
    let rig = Rig::start().await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let mut crowd = Crowd::default();
    for _ in 0..MANY {
        let stream = UnixStream::connect(daemon.socket()).await.unwrap();
        crowd.join(stream).await;
    }
    let answer = daemon.ask("GET", "/_ping").await;
    assert_eq!(answer.body, "OK");
    crowd.shrinks_to(128).await;
}
