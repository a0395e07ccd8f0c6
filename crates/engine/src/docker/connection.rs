//! Connections to a Docker Engine, and requests whose response is passed on as it is.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::DockerError;
use super::tls::DockerTls;

/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The largest response that is read, in bytes: that of some ten thousand containers.
const MAX_ANSWER: usize = 128 << 20;

/// A connection to an engine.
pub type DockerStream = Either<UnixStream, Either<TcpStream, TlsStream<TcpStream>>>;

/// The address of a Docker Engine, in the form of `DOCKER_HOST`. Over the network it has certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerAddress {
    text: String,
    transport: Transport,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Transport {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        tls: Option<DockerTls>,
    },
}

/// The response of an engine to a request, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerAnswer {
    /// The status.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

impl DockerAddress {
    /// Parses an address. With a directory of [certificates](DockerTls), connections over TCP use TLS.
    ///
    /// # Errors
    ///
    /// [`DockerError`] if the address has another form, if it is not of this machine and there are no
    /// certificates, or if they cannot be used.
    pub fn new(text: &str, certificates: Option<&Path>) -> Result<Self, DockerError> {
        let transport = match text.split_once("://") {
            Some(("unix", path)) if !path.is_empty() => Transport::Unix(path.into()),
            Some(("tcp" | "http", place)) => {
                let place = host_and_port(place.trim_end_matches('/'));
                let (host, port) = place.ok_or_else(|| DockerError::BadAddress(text.to_owned()))?;
                let tls = certificates.map(DockerTls::new).transpose()?;
                Transport::Tcp { host, port, tls }
            }
            _ => return Err(DockerError::BadAddress(text.to_owned())),
        };
        let address = Self {
            text: text.to_owned(),
            transport,
        };
        let is_encrypted = matches!(address.transport, Transport::Tcp { tls: Some(_), .. });
        if is_encrypted || address.is_local() {
            Ok(address)
        } else {
            Err(DockerError::Unencrypted(text.to_owned()))
        }
    }

    /// Returns the path of the engine's socket, if it has one.
    pub fn socket(&self) -> Option<&Path> {
        match &self.transport {
            Transport::Unix(path) => Some(path),
            Transport::Tcp { .. } => None,
        }
    }

    /// Returns whether the engine is on this machine: a Unix socket or a loopback address.
    pub fn is_local(&self) -> bool {
        match &self.transport {
            Transport::Unix(_) => true,
            Transport::Tcp { host, .. } => {
                let is_loopback = |address: IpAddr| address.is_loopback();
                host == "localhost" || host.parse().is_ok_and(is_loopback)
            }
        }
    }

    /// Connects to the engine, in ten seconds at most.
    ///
    /// # Errors
    ///
    /// If the engine does not accept the connection.
    pub async fn connect(&self) -> io::Result<DockerStream> {
        let connecting = async {
            Ok(match &self.transport {
                Transport::Unix(path) => Either::Left(UnixStream::connect(path).await?),
                Transport::Tcp { host, port, tls } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Either::Right(match tls {
                        Some(tls) => Either::Right(Box::pin(encrypted(stream, host, tls)).await?),
                        None => Either::Left(stream),
                    })
                }
            })
        };
        let connected = tokio::time::timeout(CONNECT_TIME, connecting).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends a GET request, and returns the response after `within` at most.
    ///
    /// # Errors
    ///
    /// If there is no whole response in that time. A response with an error is not an error.
    pub(super) async fn get(
        &self,
        path: &str,
        within: Duration,
    ) -> Result<DockerAnswer, DockerError> {
        self.request(Method::GET, path, within).await
    }

    /// Sends a request without a body, like [`Self::get`].
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        within: Duration,
    ) -> Result<DockerAnswer, DockerError> {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|source| self.no_answer(source))?;
        let answering = async {
            let connected = self.connect().await;
            let stream = connected.map_err(|source| DockerError::Connect {
                address: self.to_string(),
                source,
            })?;
            let sent = send(stream, request).await;
            let response = sent.map_err(|source| self.no_answer(source))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
            let body = body.await.map_err(|source| self.no_answer(source))?;
            Ok(DockerAnswer {
                status,
                body: body.to_bytes(),
            })
        };
        self.within(within, Box::pin(answering)).await
    }

    /// Returns an error if something takes longer than `limit`.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        answering: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T, DockerError> {
        let answered = tokio::time::timeout(limit, answering).await;
        answered.unwrap_or_else(|_| {
            Err(DockerError::Silent {
                address: self.to_string(),
                seconds: limit.as_secs(),
            })
        })
    }

    fn no_answer(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> DockerError {
        DockerError::NoAnswer {
            address: self.to_string(),
            source: source.into(),
        }
    }
}

async fn encrypted(
    stream: TcpStream,
    host: &str,
    tls: &DockerTls,
) -> io::Result<TlsStream<TcpStream>> {
    let config = tls.config().map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await
}

fn host_and_port(place: &str) -> Option<(String, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let port = port.parse().ok().filter(|_| !host.is_empty())?;
    Some((host.to_owned(), port))
}

impl fmt::Display for DockerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Sends a request on a connection of its own, which ends with the response.
async fn send(
    stream: DockerStream,
    mut request: Request<Empty<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    let host = HeaderValue::from_static("docker");
    request.headers_mut().insert(HOST, host);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // An error of the connection is one of the request or of the response.
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_other_machines_only_with_certificates() {
        for text in [
            "unix:///run/docker.sock",
            "tcp://127.0.0.1:2375",
            "http://127.1.2.3:2375/",
            "tcp://[::1]:2375",
            "tcp://localhost:2375",
        ] {
            let address = DockerAddress::new(text, None).unwrap();
            assert!(address.is_local(), "{text}");
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "tcp://10.0.0.1:2375",
            "tcp://0.0.0.0:2375",
            "http://docker.example:2376",
            "tcp://localhost.example.com:2375",
            "tcp://[2001:db8::1]:2375",
        ] {
            let error = DockerAddress::new(text, None).unwrap_err();
            assert!(matches!(error, DockerError::Unencrypted(_)), "{error}");
            assert!(error.to_string().contains(text), "{error}");
            let directory = tempfile::tempdir().unwrap();
            let error = DockerAddress::new(text, Some(directory.path())).unwrap_err();
            assert!(error.to_string().contains("ca.pem"), "{error}");
        }
        for text in [
            "",
            "unix://",
            "/run/docker.sock",
            "tcp://",
            "tcp://:2375",
            "tcp://localhost",
            "tcp://localhost:port",
            "ssh://localhost:22",
            "npipe:////./pipe/docker_engine",
        ] {
            let error = DockerAddress::new(text, None).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(error.contains("unix:///PATH"), "{error}");
        }
    }
}
