//! The Docker Engine that requests are forwarded to.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

/// How long a connection to the engine may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// A connection to the engine.
pub(super) type EngineStream = Either<UnixStream, TcpStream>;

/// The address of an engine on this machine, in the form of `DOCKER_HOST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineAddress {
    text: String,
    transport: Transport,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Transport {
    Unix(PathBuf),
    /// The host and the port.
    Tcp(String, u16),
}

/// An address to which requests are not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot forward requests to `{0}`; accepted are unix:///PATH, and tcp://HOST:PORT with a loopback \
     address, because images, credentials and output would cross the network unencrypted"
)]
pub struct EngineAddressError(String);

impl EngineAddress {
    /// Returns the path of the engine's socket, if it has one.
    pub(super) fn socket(&self) -> Option<&Path> {
        match &self.transport {
            Transport::Unix(path) => Some(path),
            Transport::Tcp(..) => None,
        }
    }

    pub(super) async fn connect(&self) -> io::Result<EngineStream> {
        let connecting = async {
            Ok(match &self.transport {
                Transport::Unix(path) => Either::Left(UnixStream::connect(path).await?),
                Transport::Tcp(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Either::Right(stream)
                }
            })
        };
        let connected = tokio::time::timeout(CONNECT_TIME, connecting).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl FromStr for EngineAddress {
    type Err = EngineAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let transport = match text.split_once("://") {
            Some(("unix", path)) if !path.is_empty() => Some(Transport::Unix(path.into())),
            Some(("tcp" | "http", place)) => loopback(place.trim_end_matches('/')),
            _ => None,
        };
        match transport {
            Some(transport) => Ok(Self {
                text: text.to_owned(),
                transport,
            }),
            None => Err(EngineAddressError(text.to_owned())),
        }
    }
}

/// Parses a host and a port of this machine.
fn loopback(place: &str) -> Option<Transport> {
    let (host, port) = place.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let is_loopback =
        host == "localhost" || host.parse().is_ok_and(|host: IpAddr| host.is_loopback());
    let port = port.parse().ok().filter(|_| is_loopback)?;
    Some(Transport::Tcp(host.to_owned(), port))
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_addresses_on_this_machine() {
        for text in [
            "unix:///run/docker.sock",
            "tcp://127.0.0.1:2375",
            "http://127.1.2.3:2375/",
            "tcp://[::1]:2375",
            "tcp://localhost:2375",
        ] {
            assert_eq!(text.parse::<EngineAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "unix://",
            "/run/docker.sock",
            "tcp://",
            "tcp://10.0.0.1:2375",
            "tcp://0.0.0.0:2375",
            "tcp://localhost",
            "tcp://localhost.example.com:2375",
            "tcp://[2001:db8::1]:2375",
            "ssh://localhost:22",
            "npipe:////./pipe/docker_engine",
        ] {
            let error = text.parse::<EngineAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(error.contains("unix:///PATH"), "{error}");
        }
    }
}
