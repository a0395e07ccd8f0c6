//! A connection on which nothing is ever said.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How a client begins to speak HTTP/2. hyper neither answers it nor closes the connection where
/// only HTTP/1 is spoken.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// Fails reading if the first byte does not come in time. Afterwards the HTTP server has its own
/// limits; before, it waits to see which version of HTTP it is to speak.
#[derive(Debug)]
pub(super) struct FirstByte<S> {
    stream: S,
    /// `None` once a byte has come.
    patience: Option<Pin<Box<Sleep>>>,
    /// Whether a client may speak HTTP/2.
    http2: bool,
}

impl<S> FirstByte<S> {
    pub(super) fn within(stream: S, patience: Duration, http2: bool) -> Self {
        Self {
            stream,
            patience: Some(Box::pin(tokio::time::sleep(patience))),
            http2,
        }
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
            let is_first = self.patience.take().is_some();
            if is_first && !self.http2 && buffer.filled()[before..].starts_with(HTTP2) {
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            }
        } else if let Some(patience) = &mut self.patience
            && patience.as_mut().poll(context).is_ready()
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
    async fn is_patient_only_until_something_is_said() {
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
    async fn refuses_http2_where_it_is_not_spoken() {
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
