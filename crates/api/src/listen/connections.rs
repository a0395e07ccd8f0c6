//! Accepting connections and speaking HTTP on them, until the daemon is stopped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::first_byte::FirstByte;
use super::limits::{Limits, limited};
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
    let permits = Arc::new(Semaphore::new(limits.connections));
    let router = limited(router, &limits);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let door = Door {
            router: router.clone(),
            permits: Arc::clone(&permits),
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
    permits: Arc<Semaphore>,
    limits: Limits,
    graceful: Arc<GracefulShutdown>,
    stop: CancellationToken,
}

impl Door {
    async fn accept(self, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = self.next(&listener) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => self.attend(stream, permit),
                Err(error) => {
                    warn!(%error, "connection cannot be accepted");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Waits for room, then for a client.
    async fn next(&self, listener: &Listener) -> io::Result<(Stream, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = permit.await.map_err(io::Error::other)?;
        let stream = match listener {
            Listener::Unix(socket) => Stream::Unix(socket.accept().await?),
            Listener::Inherited(socket) => Stream::Unix(socket.accept().await?.0),
            Listener::Tls(socket, tls) => Stream::Tls(socket.accept().await?.0, tls.clone()),
            Listener::Plain(socket) => Stream::Plain(socket.accept().await?.0),
        };
        Ok((stream, permit))
    }

    fn attend(&self, stream: Stream, permit: OwnedSemaphorePermit) {
        let patience = self.limits.header_time;
        let service = TowerToHyperService::new(self.router.clone());
        let http = http(&self.limits);
        let watcher = self.graceful.watcher();
        tokio::spawn(async move {
            let _permit = permit;
            let served = match stream {
                Stream::Unix(stream) => {
                    let io = TokioIo::new(FirstByte::within(stream, patience));
                    let connection = http.serve_connection_with_upgrades(io, service);
                    watcher.watch(connection.into_owned()).await
                }
                Stream::Plain(stream) => {
                    let io = TokioIo::new(FirstByte::within(stream, patience));
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
                    let io = TokioIo::new(FirstByte::within(stream, patience));
                    let connection = http.serve_connection_with_upgrades(io, service);
                    watcher.watch(connection.into_owned()).await
                }
            };
            if let Err(error) = served {
                debug!(error = %error, "connection ended");
            }
        });
    }
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
    http
}
