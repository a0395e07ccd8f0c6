//! A server with scripted answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server with scripted answers, and the requests that it received.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server. `answer` makes the answer out of a request.
    pub(crate) async fn start(
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(None, answer).await
    }

    pub(crate) async fn start_with(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let received = Arc::clone(&requests);
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (answer, received) = (Arc::clone(&answer), Arc::clone(&received));
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve(client, &*answer, &received).await,
                        Some(tls) => {
                            // A client that does not trust the certificate disconnects.
                            if let Ok(client) = tls.accept(client).await {
                                serve(client, &*answer, &received).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }

    /// Starts a server that sends the head of an answer, and then a byte at a time.
    pub(crate) async fn trickling(pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                    let mut sent = client.write_all(head).await;
                    while sent.is_ok() {
                        tokio::time::sleep(pause).await;
                        sent = client.write_all(b"a").await;
                    }
                });
            }
        });
        Self {
            address,
            requests: Arc::default(),
        }
    }
}

/// Answers one request, and closes the connection. Without an answer it stays open.
async fn serve(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(impl Fn(&str) -> Option<String> + ?Sized),
    received: &Mutex<Vec<String>>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else {
            return;
        };
        request.push(byte);
    }
    let request = String::from_utf8(request).unwrap();
    received.lock().unwrap().push(request.clone());
    match answer(&request) {
        Some(answer) => {
            client.write_all(answer.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
        }
        None => std::future::pending().await,
    }
}

pub(crate) fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let (headers, length) = (headers.concat(), body.len());
    format!(
        "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
