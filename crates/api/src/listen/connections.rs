//! Accepts connections and serves HTTP on them until shutdown.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use reclaim_engine::command_name;
use reclaim_model::{Peer, PeerProcess};
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt, service_fn};
use tracing::{debug, warn};

use super::certificate;
use super::first_byte::FirstByte;
use super::limits::Limits;
use super::listener::{Listener, Socket};
use super::table::{Origin, Slot, Table};
use super::takeover::{self, Connection};
use super::tls::Tls;
use crate::access::{Access, Client};

/// The pause after a failed accept, which mostly means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The event of a connection for which there is no place.
const BUSY: &str = "all connections are busy; closing the new one";

/// The event of a connection that ended with an error.
const FAILED: &str = "connection failed";

/// The most concurrent streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// Serves `router` on all listeners until `stop` is cancelled, then waits for the responses under
/// way, for the grace period at most. `access` decides what each client may request.
pub async fn serve(
    listeners: Vec<Listener>,
    router: Router,
    limits: Limits,
    access: Access,
    stop: CancellationToken,
) {
    let graceful = Arc::new(GracefulShutdown::new());
    let server = Server {
        router,
        tables: Tables::new(limits),
        limits,
        access,
        stop,
    };
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, server.clone(), Arc::clone(&graceful)));
    }
    // Closes the listeners before the responses under way have ended: new clients are refused at
    // once and do not wait.
    accepting.join_all().await;
    let Some(graceful) = Arc::into_inner(graceful) else {
        return;
    };
    let ended = tokio::time::timeout(limits.grace, graceful.shutdown());
    if ended.await.is_err() {
        warn!("the shutdown grace period is over; closing connections before their responses end");
    }
}

/// Accepts the connections of one listener.
async fn accept(listener: Listener, server: Server, graceful: Arc<GracefulShutdown>) {
    let entrance = listener.entrance();
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => break,
            accepted = next(&listener.socket) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(slot) = server.tables.of(&stream).admit(Origin::of(&peer)) else {
                    debug!(?peer, "{BUSY}");
                    continue;
                };
                let (server, watcher) = (server.clone(), graceful.watcher());
                let client = Client::new(peer, entrance, server.access.clone());
                tokio::spawn(server.serve(stream, slot, client, watcher));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection; retrying");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The open connections of all listeners, by how they arrived. No number of connections over TCP
/// closes one on a Unix socket, and no number before the TLS handshake closes one after it.
#[derive(Clone)]
struct Tables {
    unix: Arc<Table>,
    tcp: Arc<Table>,
    handshakes: Arc<Table>,
}

impl Tables {
    fn new(limits: Limits) -> Self {
        let handshakes = Limits {
            connections: limits.handshakes,
            connections_per_peer: limits.handshakes_per_peer,
            ..limits
        };
        let table = |limits| Arc::new(Table::new(limits));
        Self {
            unix: table(limits),
            tcp: table(limits),
            handshakes: table(handshakes),
        }
    }

    /// Returns the table of a connection that was accepted.
    fn of(&self, stream: &Stream) -> &Arc<Table> {
        match stream {
            Stream::Unix(_) => &self.unix,
            Stream::Tls(..) => &self.handshakes,
            Stream::Plain(_) => &self.tcp,
        }
    }
}

/// What all connections share. Cheap to clone.
#[derive(Clone)]
struct Server {
    router: Router,
    tables: Tables,
    limits: Limits,
    access: Access,
    stop: CancellationToken,
}

impl Server {
    /// Serves one connection until it ends, or must close for another. Shutdown waits until `watcher`
    /// is dropped.
    async fn serve(self, stream: Stream, slot: Arc<Slot>, mut client: Client, watcher: Watcher) {
        match stream {
            Stream::Unix(stream) => {
                let serving = self.serve_unix(stream, &slot, client, watcher);
                until_closing(serving, &slot).await;
            }
            Stream::Plain(stream) => {
                let serving = self.serve_stream(stream, &slot, client, watcher);
                until_closing(serving, &slot).await;
            }
            Stream::Tls(stream, tls) => {
                let handshake = self.handshake(stream, &tls);
                let Some(Some(stream)) = until_closing(handshake, &slot).await else {
                    return;
                };
                drop(slot);
                client.peer = Arc::new(with_certificate(&client.peer, stream.get_ref().1));
                let Some(slot) = self.tables.tcp.admit(Origin::of(&client.peer)) else {
                    return debug!(peer = ?client.peer, "{BUSY}");
                };
                let serving = self.serve_stream(stream, &slot, client, watcher);
                until_closing(serving, &slot).await;
            }
        }
    }

    async fn handshake(&self, stream: TcpStream, tls: &Tls) -> Option<TlsStream<TcpStream>> {
        let handshake = tls.acceptor().accept(stream);
        match tokio::time::timeout(self.limits.header_time, handshake).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                debug!(%error, "TLS handshake failed");
                None
            }
            Err(_) => {
                debug!("TLS handshake timed out");
                None
            }
        }
    }

    async fn serve_unix(
        &self,
        stream: UnixStream,
        slot: &Arc<Slot>,
        client: Client,
        watcher: Watcher,
    ) {
        let within = self.limits.header_time;
        if !self.limits.takeover || is_http2(&stream, within, &self.stop).await {
            return self.serve_stream(stream, slot, client, watcher).await;
        }
        let (connection, takeovers) = Connection::new(slot);
        let service = self.service(slot, client, Some(connection));
        let http = takeable_http1(&self.limits);
        let stream = FirstByte::within(stream, within, false);
        let serving = takeover::serve(&http, stream, service, takeovers, &self.stop);
        if let Err(error) = serving.await {
            debug!(%error, "{FAILED}");
        }
    }

    async fn serve_stream(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        slot: &Arc<Slot>,
        client: Client,
        watcher: Watcher,
    ) {
        let Limits {
            header_time, http2, ..
        } = self.limits;
        let service = self.service(slot, client, None);
        let io = TokioIo::new(FirstByte::within(stream, header_time, http2));
        let http = http(&self.limits);
        let connection = http.serve_connection_with_upgrades(io, service);
        if let Err(error) = watcher.watch(connection.into_owned()).await {
            debug!(%error, "{FAILED}");
        }
    }

    /// Returns the service of one connection. The connection is busy during each response.
    fn service(
        &self,
        slot: &Arc<Slot>,
        client: Client,
        connection: Option<Connection>,
    ) -> TowerToHyperService<
        impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
    > {
        let (router, slot) = (self.router.clone(), Arc::clone(slot));
        let client = Arc::new(client);
        TowerToHyperService::new(service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&client.peer));
            if let Some(connection) = &connection {
                request.extensions_mut().insert(connection.clone());
            }
            let busy = slot.busy();
            let (router, client) = (router.clone(), Arc::clone(&client));
            async move {
                request.extensions_mut().insert(client.rights().await);
                let response: Response = router.oneshot(request).await?;
                // A response ends with its body.
                Ok(response.map(|body| {
                    Body::new(body.map_frame(move |frame| {
                        let _busy = &busy;
                        frame
                    }))
                }))
            }
        }))
    }
}

/// Works on a connection until it must close for another, or was idle for too long.
async fn until_closing<T>(work: impl Future<Output = T>, slot: &Slot) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = slot.closing() => {
            debug!("closing an idle connection");
            None
        }
    }
}

/// Accepts a connection.
async fn next(socket: &Socket) -> io::Result<(Stream, Peer)> {
    Ok(match socket {
        Socket::Unix(socket) => unix(socket.accept().await?),
        Socket::Inherited(socket) => unix(socket.accept().await?.0),
        Socket::Tls(socket, tls) => {
            let (stream, from) = socket.accept().await?;
            (Stream::Tls(stream, tls.clone()), at_host(from))
        }
        Socket::Plain(socket) => {
            let (stream, from) = socket.accept().await?;
            (Stream::Plain(stream), at_host(from))
        }
    })
}

fn unix(stream: UnixStream) -> (Stream, Peer) {
    let process = stream.peer_cred().ok().map(|credentials| {
        // 0 is a process that this PID namespace does not have.
        let pid = credentials.pid().filter(|pid| *pid != 0);
        PeerProcess {
            uid: credentials.uid(),
            gid: Some(credentials.gid()),
            pid,
            command: pid.and_then(command_name),
        }
    });
    let peer = Peer {
        process,
        ..Peer::default()
    };
    (Stream::Unix(stream), peer)
}

fn at_host(address: SocketAddr) -> Peer {
    Peer {
        host: Some(address.ip()),
        ..Peer::default()
    }
}

/// Adds the names in the certificate that the client has proved to own.
fn with_certificate(peer: &Peer, connection: &ServerConnection) -> Peer {
    let mut peer = peer.clone();
    let chain = connection.peer_certificates().unwrap_or_default();
    // The client's own certificate is the first.
    if let Some(own) = chain.first() {
        match certificate::names(own) {
            Ok(names) => peer.certificate = Some(names),
            Err(error) => warn!(%peer, %error, "cannot read the names in a client's certificate"),
        }
    }
    peer
}

/// A connection, before its TLS handshake if it has one.
enum Stream {
    Unix(UnixStream),
    Tls(TcpStream, Tls),
    Plain(TcpStream),
}

/// Whether a connection begins with HTTP/2; not if nothing arrives in time.
async fn is_http2(stream: &UnixStream, within: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        begins = tokio::time::timeout(within, takeover::is_http2(stream)) => {
            matches!(begins, Ok(Ok(true)))
        }
        () = stop.cancelled() => false,
    }
}

/// Returns HTTP/1 for connections that handlers can take over. Names of headers keep their case,
/// because some requests are forwarded.
fn takeable_http1(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes)
        .preserve_header_case(true);
    http
}

fn http(limits: &Limits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(limits.header_time)
        .keep_alive_timeout(limits.header_time);
    if limits.http2 {
        http
    } else {
        http.http1_only()
    }
}
