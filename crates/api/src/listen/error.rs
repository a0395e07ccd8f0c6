//! Errors of listening.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::tls::TlsError;

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process answers on the socket, or holds its lock.
    #[error("another process is listening on `{}`", .0.display())]
    InUse(PathBuf),
    /// The path exists and is not a socket.
    #[error("`{}` exists and is not a socket", .0.display())]
    NotSocket(PathBuf),
    /// No group has this name.
    #[error("group `{0}` does not exist")]
    UnknownGroup(String),
    /// TCP without the three TLS files.
    #[error("{0} needs mutual TLS: pass --tls-cert, --tls-key and --tls-ca")]
    NeedsTls(SocketAddr),
    /// The TLS files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// `fd://` without a socket from systemd.
    #[error("systemd passed no socket for fd://; start the daemon by its socket unit")]
    NothingPassed,
    /// The variables of systemd contradict each other.
    #[error(
        "LISTEN_FDNAMES has {names} names for {sockets} sockets, so which are read-only is unknown"
    )]
    Names {
        /// The number of names.
        names: usize,
        /// The number of sockets.
        sockets: usize,
    },
    /// A system call failed.
    #[error("{operation} `{subject}`")]
    System {
        /// The operation.
        operation: &'static str,
        /// The file, address or name that it was for.
        subject: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    pub(super) fn system(
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
