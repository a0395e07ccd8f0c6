//! Accepts connections and serves HTTP on them until shutdown.

use std::convert::Infallible;
use std::io;
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
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt, service_fn};
use tracing::{debug, warn};

use super::first_byte::FirstByte;
use super::limits::Limits;
use super::listener::Listener;
use super::table::{Peer, Slot, Table};
use super::takeover::{self, Connection};
use super::tls::Tls;

/// The pause after a failed accept, which mostly means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most concurrent streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// Serves `router` on all listeners until `stop` is cancelled, then waits for the responses under
/// way, for the grace period at most.
pub async fn serve(
    listeners: Vec<Listener>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let graceful = Arc::new(GracefulShutdown::new());
    let table = Arc::new(Table::new(limits));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let acceptor = Acceptor {
            router: router.clone(),
            table: Arc::clone(&table),
            limits,
            graceful: Arc::clone(&graceful),
            stop: stop.clone(),
        };
        accepting.spawn(acceptor.accept(listener));
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

/// Accepts the connections of one listener; the state is shared by all.
struct Acceptor {
    router: Router,
    table: Arc<Table>,
    limits: Limits,
    graceful: Arc<GracefulShutdown>,
    stop: CancellationToken,
}

impl Acceptor {
    async fn accept(self, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = next(&listener) => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(slot) = self.table.admit(peer) {
                        self.spawn_connection(stream, slot, peer);
                    } else {
                        debug!(?peer, "all connections are busy; closing the new one");
                    }
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection; retrying");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn_connection(&self, stream: Stream, slot: Arc<Slot>, peer: Peer) {
        let limits = self.limits;
        let Limits {
            header_time,
            http2,
            takeover,
            ..
        } = limits;
        let (connection, takeovers) = Connection::new(&slot);
        let connection = takeover.then_some(connection);
        let service = TowerToHyperService::new(self.service(&slot, peer, connection));
        let http = http(&limits);
        let watcher = self.graceful.watcher();
        let stop = self.stop.clone();
        let serving = async move {
            let served = match stream {
                Stream::Unix(stream)
                    if takeover && !is_http2(&stream, header_time, &stop).await =>
                {
                    // Shutdown waits until it is dropped.
                    let _watcher = watcher;
                    let http = takeable_http1(&limits);
                    let stream = FirstByte::within(stream, header_time, false);
                    let serving = takeover::serve(&http, stream, service, takeovers, &stop);
                    serving.await.map_err(Into::into)
                }
                Stream::Unix(stream) => {
                    let io = TokioIo::new(FirstByte::within(stream, header_time, http2));
                    let connection = http.serve_connection_with_upgrades(io, service);
                    watcher.watch(connection.into_owned()).await
                }
                Stream::Plain(stream) => {
                    let io = TokioIo::new(FirstByte::within(stream, header_time, http2));
                    let connection = http.serve_connection_with_upgrades(io, service);
                    watcher.watch(connection.into_owned()).await
                }
                Stream::Tls(stream, tls) => {
                    let handshake = tls.acceptor.accept(stream);
                    let stream = match tokio::time::timeout(header_time, handshake).await {
                        Ok(Ok(stream)) => stream,
                        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
                        Err(_) => return debug!("TLS handshake timed out"),
                    };
                    let io = TokioIo::new(FirstByte::within(stream, header_time, http2));
                    let connection = http.serve_connection_with_upgrades(io, service);
                    watcher.watch(connection.into_owned()).await
                }
            };
            if let Err(error) = served {
                debug!(%error, "connection failed");
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = serving => {}
                () = slot.closing() => debug!("closing an idle connection"),
            }
        });
    }

    /// Returns the service of one connection. The connection is busy during each response.
    fn service(
        &self,
        slot: &Arc<Slot>,
        peer: Peer,
        connection: Option<Connection>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static {
        let (router, slot) = (self.router.clone(), Arc::clone(slot));
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            if let Some(connection) = &connection {
                request.extensions_mut().insert(connection.clone());
            }
            let busy = slot.busy();
            let response = router.clone().oneshot(request);
            async move {
                let response: Response = response.await?;
                // A response ends with its body.
                Ok(response.map(|body| {
                    Body::new(body.map_frame(move |frame| {
                        let _busy = &busy;
                        frame
                    }))
                }))
            }
        })
    }
}

/// Accepts a connection.
async fn next(listener: &Listener) -> io::Result<(Stream, Peer)> {
    Ok(match listener {
        Listener::Unix(socket) => unix(socket.accept().await?),
        Listener::Inherited(socket) => unix(socket.accept().await?.0),
        Listener::Tls(socket, tls) => {
            let (stream, from) = socket.accept().await?;
            (Stream::Tls(stream, tls.clone()), Peer::Host(from.ip()))
        }
        Listener::Plain(socket) => {
            let (stream, from) = socket.accept().await?;
            (Stream::Plain(stream), Peer::Host(from.ip()))
        }
    })
}

fn unix(stream: UnixStream) -> (Stream, Peer) {
    let credentials = stream.peer_cred();
    let peer = credentials.map_or(Peer::Unknown, |peer| Peer::Process(peer.pid(), peer.uid()));
    (Stream::Unix(stream), peer)
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
