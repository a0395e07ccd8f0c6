//! Clients that keep as many connections open as they can.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::authority::{self, Authority, free_port, ping};
use crate::daemon::{Daemon, ask_on};
use crate::rig::Rig;

/// More connections than the daemon accepts.
const MANY: usize = 520;

/// HTTP/2 connections that answer pings and send no request.
#[derive(Default)]
struct Crowd {
    /// A task for each connection, which ends with it.
    open: JoinSet<()>,
    /// Dropping one would close its connection.
    senders: Vec<SendRequest<Empty<Bytes>>>,
}

impl Crowd {
    async fn join(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        // The server may close the connection meanwhile.
        if let Ok((sender, connection)) = handshake.await {
            self.senders.push(sender);
            self.open.spawn(async move { drop(connection.await) });
        }
    }

    /// Waits until no more than `left` connections are open.
    async fn shrinks_to(&mut self, left: usize) {
        while self.open.len() > left {
            self.open.join_next().await;
        }
    }
}

/// Returns an address with a free port.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// The metrics listener does not serve HTTP/2, so that pings do not keep a connection open.
#[tokio::test]
async fn answers_probes_while_a_client_opens_many_connections() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (address, config) = (free_address(), directory.path().join("config.toml"));
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

/// A client with too many connections loses its oldest ones, and gets answers on new ones.
#[tokio::test]
async fn limits_the_connections_of_a_client() {
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

/// Neither the connection that a local client keeps open, nor that of a client with a certificate, nor
/// new ones of both.
#[tokio::test]
async fn silent_connections_over_tcp_close_no_other_connection() {
    let rig = Rig::start().await;
    let authority = Authority::new();
    let (server, client) = (authority.sign("server"), authority.sign("client"));
    let port = free_port();
    let mut args = authority.options(&server);
    args.extend(["--listen".to_owned(), format!("tcp://127.0.0.1:{port}")]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let daemon = Daemon::start(rig.containerd.address(), &args).await;

    let mut kept = Crowd::default();
    kept.join(UnixStream::connect(daemon.socket()).await.unwrap())
        .await;
    let over_tls = authority::connect(port, &authority, Some(&client)).await;
    kept.join(over_tls.unwrap()).await;
    for sender in &mut kept.senders {
        get_ping(sender).await;
    }

    // From several addresses, so that the limit of one host does not end them.
    let mut silent = Vec::new();
    for number in 0..MANY {
        let socket = TcpSocket::new_v4().unwrap();
        let host = u8::try_from(number % 16).unwrap();
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 1, host), 0));
        socket.bind(from).unwrap();
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        silent.push(socket.connect(to).await.unwrap());
    }
    assert_eq!(daemon.ask("GET", "/_ping").await.status, 200);
    assert_eq!(ping(port, &authority, Some(&client)).await, Some(200));
    for sender in &mut kept.senders {
        get_ping(sender).await;
    }
    drop(silent);
}

async fn get_ping(sender: &mut SendRequest<Empty<Bytes>>) {
    let request = Request::get("http://d/_ping").body(Empty::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
}
