//! Connections that a handler takes over. From then on they are not HTTP.
//!
//! hyper hands a connection over only after status 101, and only if the request has the header
//! `Upgrade`. Older clients of Docker send no such header and expect raw bytes after status 200. So
//! the task of a connection hands it over at any request.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::io;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::Extensions;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Parts};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::first_byte::FirstByte;
use super::table::{Slot, Stream};

/// The first bytes of an HTTP/2 connection. No method of HTTP/1 begins with them.
const HTTP2: &[u8; 3] = b"PRI";

/// The further use of a connection: it receives the stream, and the bytes that were read from it.
type Then = Box<dyn FnOnce(UnixStream, Bytes) -> BoxFuture<'static, ()> + Send>;

/// The connection of a request. The request has it as an extension.
#[derive(Clone)]
pub(crate) struct Connection {
    slot: Arc<Slot>,
    taken: mpsc::Sender<Then>,
}

/// The end of a [`Connection`] in the task that serves it.
pub(super) struct Takeovers(mpsc::Receiver<Then>);

impl Connection {
    pub(super) fn new(slot: &Arc<Slot>) -> (Self, Takeovers) {
        let (taken, takeovers) = mpsc::channel(1);
        let slot = Arc::clone(slot);
        (Self { slot, taken }, Takeovers(takeovers))
    }

    /// Takes the connection out of the extensions of a request.
    pub(crate) fn of(extensions: &mut Extensions) -> Option<Self> {
        extensions.remove()
    }

    /// Marks the connection as an open stream, which no limit counts or closes, until the result is
    /// dropped.
    pub(crate) fn stream(&self) -> Stream {
        self.slot.stream()
    }

    /// Takes the connection over. The request has no response then, so this never returns: its task
    /// is dropped.
    pub(crate) async fn take(
        &self,
        then: impl FnOnce(UnixStream, Bytes) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Infallible {
        // Fails only if the connection has ended.
        drop(self.taken.send(Box::new(then)).await);
        pending().await
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connection")
    }
}

/// Waits for the first bytes, and returns whether they are HTTP/2.
pub(super) async fn is_http2(stream: &UnixStream) -> io::Result<bool> {
    let peek = || {
        let mut bytes = [0; HTTP2.len()];
        let (_, length) = recv(stream, &mut bytes[..], RecvFlags::PEEK)?;
        let seen = &bytes[..length];
        if (1..HTTP2.len()).contains(&length) && HTTP2.starts_with(seen) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(seen == HTTP2)
    };
    stream.async_io(Interest::READABLE, peek).await
}

/// Serves HTTP/1 on a connection until it ends, or a handler has taken it over and ended.
pub(super) async fn serve<S>(
    http: &Builder,
    stream: FirstByte<UnixStream>,
    service: TowerToHyperService<S>,
    mut takeovers: Takeovers,
    stop: &CancellationToken,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone,
{
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let mut is_stopping = false;
    let then = loop {
        tokio::select! {
            served = &mut connection => return served,
            Some(then) = takeovers.0.recv() => break then,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let Parts { io, read_buf, .. } = connection.into_parts();
    then(io.into_inner().into_inner(), read_buf).await;
    Ok(())
}
