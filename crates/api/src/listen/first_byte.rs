//! A deadline for the first byte of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The start of an HTTP/2 connection. An HTTP/1 server of hyper neither answers it nor closes the
/// connection.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// A stream whose reads fail if the first byte does not arrive in time. hyper has its own limits only
/// once that byte shows the version of HTTP.
#[derive(Debug)]
pub(super) struct FirstByte<S> {
    stream: S,
    /// The deadline; `None` once a byte has arrived.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether HTTP/2 is allowed.
    http2: bool,
}

impl<S> FirstByte<S> {
    pub(super) fn within(stream: S, time: Duration, http2: bool) -> Self {
        Self {
            stream,
            deadline: Some(Box::pin(tokio::time::sleep(time))),
            http2,
        }
    }

    /// Returns the stream. What was read from it is not in it.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstByte<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            let is_first = self.deadline.take().is_some();
            if is_first && !self.http2 && buffer.filled()[before..].starts_with(HTTP2) {
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            }
        } else if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstByte<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn times_out_only_before_the_first_byte() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = FirstByte::within(server, Duration::from_secs(10), true);
        let silent = server.read_u8().await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);

        let (mut speaking, server) = tokio::io::duplex(64);
        let mut server = FirstByte::within(server, Duration::from_secs(10), true);
        speaking.write_u8(1).await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), 1);
        let later = tokio::spawn(async move { server.read_u8().await.unwrap() });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        speaking.write_u8(2).await.unwrap();
        assert_eq!(later.await.unwrap(), 2);
        client.shutdown().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_http2_where_it_is_not_allowed() {
        for (http2, text, is_read) in [
            (true, "PRI * HTTP/2.0\r\n", true),
            (false, "PRI * HTTP/2.0\r\n", false),
            (false, "GET / HTTP/1.1\r\n", true),
        ] {
            let (mut client, server) = tokio::io::duplex(64);
            let mut server = FirstByte::within(server, Duration::from_secs(10), http2);
            client.write_all(text.as_bytes()).await.unwrap();
            let read = server.read(&mut [0; 64]).await;
            assert_eq!(read.is_ok(), is_read, "{text}");
        }
    }
}
