//! Opening listeners.

use std::net::SocketAddr;
use std::path::PathBuf;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::address::Address;
use super::error::ListenError;
use super::tls::Tls;
use super::unix::{SocketAccess, UnixSocket};

/// An open listener.
#[derive(Debug)]
pub enum Listener {
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
    /// Returns the path of its socket; `None` for TCP, and for a Unix socket without a path.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Unix(socket) => Some(socket.path().to_owned()),
            Self::Inherited(socket) => Some(socket.local_addr().ok()?.as_pathname()?.to_owned()),
            Self::Tls(..) | Self::Plain(_) => None,
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
                listeners.push(Listener::Unix(UnixSocket::bind(path, access).await?));
            }
            Address::Tcp(address) => {
                let tls = tls.cloned().ok_or(ListenError::NeedsTls(*address))?;
                listeners.push(Listener::Tls(bind(*address).await?, tls));
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
    bind(address).await.map(Listener::Plain)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError::system("listen on", &address, source);
    TcpListener::bind(address).await.map_err(failed)
}

/// Takes over the sockets that systemd passed.
fn inherited(tls: Option<&Tls>) -> Result<Vec<Listener>, ListenError> {
    let mut sockets = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        let failed = |source| ListenError::system("take over systemd's socket", &index, source);
        if let Ok(Some(unix)) = sockets.take_unix_listener(index) {
            unix.set_nonblocking(true).map_err(failed)?;
            let unix = UnixListener::from_std(unix).map_err(failed)?;
            listeners.push(Listener::Inherited(unix));
        } else if let Some(tcp) = sockets.take_tcp_listener(index).map_err(failed)? {
            let address = tcp.local_addr().map_err(failed)?;
            let tls = tls.cloned().ok_or(ListenError::NeedsTls(address))?;
            tcp.set_nonblocking(true).map_err(failed)?;
            let tcp = TcpListener::from_std(tcp).map_err(failed)?;
            listeners.push(Listener::Tls(tcp, tls));
        }
    }
    if listeners.is_empty() {
        return Err(ListenError::NothingPassed);
    }
    Ok(listeners)
}
