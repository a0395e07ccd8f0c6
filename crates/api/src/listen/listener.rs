//! Opening listeners.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::{env, fs, io};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::address::Address;
use super::error::ListenError;
use super::tls::Tls;
use super::unix::{SocketAccess, UnixSocket};
use crate::access::{Entrance, SocketOwner};

/// The name of a socket from systemd, by `FileDescriptorName=`, that makes it read-only.
const READ_ONLY: &str = "read-only";

/// An open listener.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    is_read_only: bool,
}

/// The socket of a listener.
#[derive(Debug)]
pub(super) enum Socket {
    /// A Unix socket that this process created.
    Unix(UnixSocket),
    /// A Unix socket that systemd created and keeps.
    Inherited(UnixListener),
    /// TCP with mutual TLS.
    Tls(TcpListener, Tls),
    /// TCP without TLS: only for read-only routes without secrets.
    Plain(TcpListener),
}

impl Listener {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            is_read_only: false,
        }
    }

    /// Refuses every request that changes something, also from root, and never forwards one.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Whether it refuses every request that changes something.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Returns the path of its socket; `None` for TCP, and for a Unix socket without a path.
    pub fn path(&self) -> Option<PathBuf> {
        match &self.socket {
            Socket::Unix(socket) => Some(socket.path().to_owned()),
            Socket::Inherited(socket) => Some(socket.local_addr().ok()?.as_pathname()?.to_owned()),
            Socket::Tls(..) | Socket::Plain(_) => None,
        }
    }

    /// Returns the address of its TCP socket.
    ///
    /// # Errors
    ///
    /// If it has none, or the system does not name it.
    pub fn tcp_address(&self) -> Result<SocketAddr, ListenError> {
        let address = match &self.socket {
            Socket::Tls(listener, _) | Socket::Plain(listener) => listener.local_addr(),
            Socket::Unix(_) | Socket::Inherited(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        address.map_err(|source| ListenError::system("name", &"the socket", source))
    }

    /// Returns what it decides about the rights of its clients.
    pub(super) fn entrance(&self) -> Entrance {
        let metadata = self.path().and_then(|path| fs::metadata(path).ok());
        Entrance {
            is_read_only: self.is_read_only,
            owner: metadata.map(|metadata| SocketOwner {
                uid: metadata.uid(),
                gid: metadata.gid(),
            }),
        }
    }
}

/// Opens all listeners, or none: if one fails, the others are closed again.
///
/// # Errors
///
/// [`ListenError`], which names the address.
pub async fn open(
    addresses: &[Address],
    access: &SocketAccess,
    tls: Option<&Tls>,
) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    for address in addresses {
        match address {
            Address::Unix(path) => {
                let socket = UnixSocket::bind(path, access).await?;
                listeners.push(Listener::new(Socket::Unix(socket)));
            }
            Address::Tcp(address) => {
                let tls = tls.cloned().ok_or(ListenError::NeedsTls(*address))?;
                listeners.push(Listener::new(Socket::Tls(bind(*address).await?, tls)));
            }
            Address::Systemd => listeners.extend(inherited(tls)?),
        }
    }
    Ok(listeners)
}

/// Opens a TCP listener without TLS: only for read-only routes without secrets.
///
/// # Errors
///
/// [`ListenError::System`] if the address cannot be bound.
pub async fn open_plain(address: SocketAddr) -> Result<Listener, ListenError> {
    let socket = bind(address).await?;
    Ok(Listener::new(Socket::Plain(socket)))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError::system("listen on", &address, source);
    TcpListener::bind(address).await.map_err(failed)
}

/// Takes over the sockets that systemd passed.
fn inherited(tls: Option<&Tls>) -> Result<Vec<Listener>, ListenError> {
    // Separated by colons, one for each socket.
    let names = env::var_os("LISTEN_FDNAMES");
    let names = names.map(|names| names.to_string_lossy().into_owned());
    let names: Option<Vec<&str>> = names.as_ref().map(|names| names.split(':').collect());
    let mut sockets = ListenFd::from_env();
    if let Some(names) = &names
        && sockets.len() > 0
        && names.len() != sockets.len()
    {
        return Err(ListenError::Names {
            names: names.len(),
            sockets: sockets.len(),
        });
    }
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        let failed = |source| ListenError::system("take over systemd's socket", &index, source);
        let socket = if let Ok(Some(unix)) = sockets.take_unix_listener(index) {
            unix.set_nonblocking(true).map_err(failed)?;
            Socket::Inherited(UnixListener::from_std(unix).map_err(failed)?)
        } else if let Some(tcp) = sockets.take_tcp_listener(index).map_err(failed)? {
            let address = tcp.local_addr().map_err(failed)?;
            let tls = tls.cloned().ok_or(ListenError::NeedsTls(address))?;
            tcp.set_nonblocking(true).map_err(failed)?;
            Socket::Tls(TcpListener::from_std(tcp).map_err(failed)?, tls)
        } else {
            continue;
        };
        let is_read_only = names
            .as_ref()
            .is_some_and(|names| names[index] == READ_ONLY);
        listeners.push(Listener {
            socket,
            is_read_only,
        });
    }
    if listeners.is_empty() {
        return Err(ListenError::NothingPassed);
    }
    Ok(listeners)
}
