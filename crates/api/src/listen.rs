//! Where requests come in: Unix sockets, TCP with mutual TLS, and sockets that systemd opened.
//!
//! Whoever can write to a socket of ours can remove images, which takes root elsewhere. So a Unix
//! socket is closed to all but its owner and group from the first moment on, and TCP is never
//! served without certificates on both sides; but for metrics, which only tell.

mod address;
mod connections;
mod first_byte;
mod limits;
mod table;
mod tls;
mod unix;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

pub use address::{Address, AddressError};
pub use connections::serve;
pub use limits::{Limits, limited};
pub use tls::{Tls, TlsError, TlsFiles};
pub use unix::{SocketAccess, UnixSocket};

/// An open door.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket of our own making.
    Unix(UnixSocket),
    /// A Unix socket that systemd made, and keeps.
    Inherited(UnixListener),
    /// TCP behind mutual TLS.
    Tls(TcpListener, Tls),
    /// TCP for anybody: only for what changes nothing and tells no secret.
    Plain(TcpListener),
}

/// Why a door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket is there, and somebody answers on it.
    #[error("somebody listens on `{}` already", .0.display())]
    InUse(PathBuf),
    /// The path is taken by something that is no socket.
    #[error("`{}` is there, and it is not a socket", .0.display())]
    NotSocket(PathBuf),
    /// No group has this name.
    #[error("there is no group `{0}`")]
    UnknownGroup(String),
    /// TCP without the three files.
    #[error("{0} is only served with mutual TLS: --tls-cert, --tls-key and --tls-ca are needed")]
    NeedsTls(SocketAddr),
    /// The three files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// systemd has passed no socket.
    #[error("fd:// means a socket that systemd passes on, and it has passed none")]
    NothingPassed,
    /// The system refused.
    #[error("{operation} `{subject}`")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        subject: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    fn system(
        operation: &'static str,
        subject: &(impl ToString + ?Sized),
        source: io::Error,
    ) -> Self {
        Self::System {
            operation,
            subject: subject.to_string(),
            source,
        }
    }
}

/// Opens every door, or none: those that are open are closed again when one fails.
///
/// # Errors
///
/// [`ListenError`], which names the door.
pub async fn open(
    addresses: &[Address],
    access: &SocketAccess,
    tls: Option<&TlsFiles>,
) -> Result<Vec<Listener>, ListenError> {
    let tls = tls.map(TlsFiles::load).transpose()?;
    let mut listeners = Vec::new();
    for address in addresses {
        match address {
            Address::Unix(path) => {
                listeners.push(Listener::Unix(UnixSocket::bind(path, access).await?));
            }
            Address::Tcp(address) => {
                let tls = tls.clone().ok_or(ListenError::NeedsTls(*address))?;
                let listener = TcpListener::bind(address).await;
                let failed = |source| ListenError::system("listen on", address, source);
                listeners.push(Listener::Tls(listener.map_err(failed)?, tls));
            }
            Address::Systemd => listeners.extend(passed(tls.as_ref())?),
        }
    }
    Ok(listeners)
}

/// Opens a TCP port for anybody: only for what changes nothing and tells no secret.
///
/// # Errors
///
/// [`ListenError::System`] if the address cannot be had.
pub async fn open_plain(address: SocketAddr) -> Result<Listener, ListenError> {
    let listener = TcpListener::bind(address).await;
    let failed = |source| ListenError::system("listen on", &address, source);
    Ok(Listener::Plain(listener.map_err(failed)?))
}

/// Takes the sockets that systemd has passed on.
fn passed(tls: Option<&Tls>) -> Result<Vec<Listener>, ListenError> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for at in 0..passed.len() {
        let failed = |source| ListenError::system("take over socket", &at, source);
        if let Ok(Some(unix)) = passed.take_unix_listener(at) {
            unix.set_nonblocking(true).map_err(failed)?;
            let unix = UnixListener::from_std(unix).map_err(failed)?;
            listeners.push(Listener::Inherited(unix));
        } else if let Some(tcp) = passed.take_tcp_listener(at).map_err(failed)? {
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
