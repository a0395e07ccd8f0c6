//! Connections that are a stream of bytes in both directions, after the headers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_buf};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::headers;

/// The protocol to which clients of Docker switch.
const TCP: HeaderValue = HeaderValue::from_static("tcp");

/// The content type of a stream for a client that did not ask for an upgrade.
///
/// Source: moby, `daemon/server/router/container/`.
const RAW_STREAM: &str = "application/vnd.docker.raw-stream";

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// The pause between two checks whether a client that sends no more is still there.
const HANG_UP_CHECK: Duration = Duration::from_secs(1);

/// How a client asks for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// With the header `Upgrade`; it expects status 101.
    ByHeader,
    /// By the request alone, as older clients do; it expects status 200.
    Silently,
}

impl Asked {
    /// Returns the protocol for the request to the engine: always an upgrade, by which both ends agree
    /// on where the stream begins.
    pub(super) fn protocol(self, headers: &HeaderMap) -> Option<HeaderValue> {
        match self {
            Self::ByHeader => headers::upgrade(headers),
            Self::Silently => Some(TCP),
        }
    }
}

/// Returns the headers that precede the stream, as the engine would send them to this client.
pub(super) fn head<B>(response: &Response<B>, asked: Asked) -> Bytes {
    let mut head = BytesMut::new();
    match asked {
        Asked::ByHeader => {
            let reason = response.extensions().get::<ReasonPhrase>();
            let reason = reason.map_or(&b"Switching Protocols"[..], ReasonPhrase::as_bytes);
            head.put_slice(b"HTTP/1.1 101 ");
            head.put_slice(reason);
            head.put_slice(b"\r\n");
        }
        Asked::Silently => {
            head.put_slice(b"HTTP/1.1 200 OK\r\nContent-Type: ");
            head.put_slice(RAW_STREAM.as_bytes());
            head.put_slice(b"\r\n");
        }
    }
    for (name, value) in response.headers() {
        let is_of_upgrade = [CONTENT_TYPE, CONNECTION, UPGRADE].contains(name);
        if asked == Asked::Silently && is_of_upgrade {
            continue;
        }
        head.put_slice(title_case(name).as_bytes());
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
    head.freeze()
}

/// Returns the name of a header as Go writes it.
fn title_case(name: &HeaderName) -> String {
    let mut is_first = true;
    let letters = name.as_str().chars().map(|letter| {
        let letter = if is_first {
            letter.to_ascii_uppercase()
        } else {
            letter
        };
        is_first = letter == '-';
        letter
    });
    letters.collect()
}

/// Copies bytes between a client and the engine until both have ended, one has disconnected, or `cut` is
/// cancelled. `first` are bytes of the client that were read already.
pub(super) async fn relay(
    client: UnixStream,
    first: Bytes,
    head: &[u8],
    engine: Upgraded,
    cut: &CancellationToken,
) {
    tokio::select! {
        relayed = copy_both(client, first, head, engine) => if let Err(error) = relayed {
            debug!(%error, "a forwarded stream ended");
        },
        () = cut.cancelled() => {}
    }
}

async fn copy_both(
    mut client: UnixStream,
    first: Bytes,
    head: &[u8],
    engine: Upgraded,
) -> io::Result<()> {
    client.write_all(head).await?;
    // The halves borrow the stream until the end.
    let watched = client.as_fd().try_clone_to_owned()?;
    let (from_client, to_client) = client.split();
    let (from_engine, mut to_engine) = tokio::io::split(TokioIo::new(engine));
    let input = async {
        to_engine.write_all(&first).await?;
        copy(from_client, to_engine).await
    };
    let output = copy(from_engine, to_client);
    tokio::pin!(input, output);
    tokio::select! {
        ended = &mut output => {
            ended?;
            // The engine does not close the connection; the client does, once it has the output.
            input.await
        }
        ended = &mut input => {
            ended?;
            tokio::select! {
                ended = output => ended,
                () = hung_up(watched) => Ok(()),
            }
        }
    }
}

/// Copies bytes until the end of `from`, and passes the end on.
async fn copy(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut from = BufReader::with_capacity(BUFFER, from);
    copy_buf(&mut from, &mut to).await?;
    to.shutdown().await
}

/// Waits until the other end of a socket is closed: not only for writing, which is how a client ends
/// the input of a container and still reads its output. The engine stops a stream whose client is gone.
async fn hung_up(socket: OwnedFd) {
    loop {
        tokio::time::sleep(HANG_UP_CHECK).await;
        let mut sockets = [PollFd::new(&socket, PollFlags::empty())];
        let ready = poll(&mut sockets, Some(&Timespec::default()));
        let is_closed = sockets[0].revents().contains(PollFlags::HUP);
        if ready.is_err() || is_closed {
            return;
        }
    }
}
