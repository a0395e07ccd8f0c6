//! Accepting connections and speaking HTTP on them, until the daemon is stopped.

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
use super::limits::{Limits, limited};
use super::table::{Peer, Place, Table};
use super::{Listener, Tls};

/// How long accepting rests after the system has refused a connection, which is mostly because
/// there are too many open files.
const REST: Duration = Duration::from_millis(100);

/// Streams of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 128;

/// Serves `router` on all listeners until `stop` is cancelled, then lets the answers under way
/// end.
pub async fn serve(
    listeners: Vec<Listener>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let graceful = Arc::new(GracefulShutdown::new());
    let table = Arc::new(Table::new(limits));
    let router = limited(router, &limits);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let door = Door {
            router: router.clone(),
            table: Arc::clone(&table),
            limits,
            graceful: Arc::clone(&graceful),
            stop: stop.clone(),
        };
        accepting.spawn(door.accept(listener));
    }
    // The sockets go with the last of these, before the answers under way have ended: who comes
    // now should find nobody, and not wait.
    accepting.join_all().await;
    let Some(graceful) = Arc::into_inner(graceful) else {
        return;
    };
    let ended = tokio::time::timeout(limits.grace, graceful.shutdown());
    if ended.await.is_err() {
        warn!("connections are closed in the middle of an answer");
    }
}

/// One listener, and what all share.
struct Door {
    router: Router,
    table: Arc<Table>,
    limits: Limits,
    graceful: Arc<GracefulShutdown>,
    stop: CancellationToken,
}

impl Door {
    async fn accept(self, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = next(&listener) => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(place) = self.table.admit(peer) {
                        self.attend(stream, place);
                    } else {
                        debug!(?peer, "too many busy connections; closing a new one");
                    }
                }
                Err(error) => {
                    warn!(%error, "connection cannot be accepted");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    fn attend(&self, stream: Stream, place: Arc<Place>) {
        let (patience, http2) = (self.limits.header_time, self.limits.http2);
        let service = TowerToHyperService::new(self.service(&place));
        let http = http(&self.limits);
        let watcher = self.graceful.watcher();
        let serving = async move {
            let served = match stream {
                Stream::Unix(stream) => {
                    let io = TokioIo::new(FirstByte::within(stream, patience, http2));
                    let connection = http.serve_connection_with_upgrades(io, service);
                    watcher.watch(connection.into_owned()).await
                }
                Stream::Plain(stream) => {
                    let io = TokioIo::new(FirstByte::within(stream, patience, http2));
                    let connection = http.serve_connection_with_upgrades(io, service);
                    watcher.watch(connection.into_owned()).await
                }
                Stream::Tls(stream, tls) => {
                    let shaking = tls.acceptor.accept(stream);
                    let stream = match tokio::time::timeout(patience, shaking).await {
                        Ok(Ok(stream)) => stream,
                        Ok(Err(error)) => return debug!(%error, "client is refused"),
                        Err(_) => return debug!("client is too slow to say who it is"),
                    };
                    let io = TokioIo::new(FirstByte::within(stream, patience, http2));
                    let connection = http.serve_connection_with_upgrades(io, service);
                    watcher.watch(connection.into_owned()).await
                }
            };
            if let Err(error) = served {
                debug!(error = %error, "connection ended");
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = serving => {}
                () = place.must_close() => debug!("closing an idle connection"),
            }
        });
    }

    /// Answers the requests of one connection, which is not idle meanwhile.
    fn service(
        &self,
        place: &Arc<Place>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static {
        let (router, place) = (self.router.clone(), Arc::clone(place));
        service_fn(move |request: Request<Incoming>| {
            let answering = place.answer();
            let response = router.clone().oneshot(request);
            async move {
                let response: Response = response.await?;
                // The answer is over when its body is.
                Ok(response.map(|body| {
                    Body::new(body.map_frame(move |frame| {
                        let _answering = &answering;
                        frame
                    }))
                }))
            }
        })
    }
}

/// Waits for a client.
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
    let peer = stream.peer_cred();
    let peer = peer.map_or(Peer::Unknown, |it| Peer::Process(it.pid(), it.uid()));
    (Stream::Unix(stream), peer)
}

/// A client, of whom we may not know yet who it is.
enum Stream {
    Unix(UnixStream),
    Tls(TcpStream, Tls),
    Plain(TcpStream),
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
