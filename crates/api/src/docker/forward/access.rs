//! Who can connect to the sockets: no more than to the Docker Engine's own.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::engine::{EngineAddress, EngineAddressError};
use crate::listen::{Address, Listener, SocketAccess};

/// Why requests cannot be forwarded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Not exactly one engine is named.
    #[error("forwarding needs exactly one --docker, and {0} are given")]
    Engines(usize),
    /// The engine's address is not accepted.
    #[error(transparent)]
    Address(#[from] EngineAddressError),
    /// A listener is not a Unix socket with a path.
    #[error(
        "cannot forward requests from {0}: a client of the Docker Engine is root on this host, so only \
         Unix sockets forward; accepted for --listen are unix:///PATH, and fd:// for such a socket"
    )]
    NotUnix(String),
    /// The path is not a socket.
    #[error("`{}` is not a socket", .0.display())]
    NotSocket(PathBuf),
    /// The engine's socket is the daemon's own.
    #[error("cannot forward requests to `{}`: this daemon listens there itself", .0.display())]
    Itself(PathBuf),
    /// More users could connect than to the engine's socket.
    #[error(
        "socket `{}` ({ours}) would be open to users for whom the Docker socket `{}` ({engine}) is \
         not; use --socket-mode and --socket-group, or SocketMode= and SocketGroup= of systemd",
        socket.display(), engine_socket.display()
    )]
    Wider {
        /// The daemon's socket.
        socket: PathBuf,
        /// Its owner and mode.
        ours: SocketOwner,
        /// The engine's socket.
        engine_socket: PathBuf,
        /// Its owner and mode.
        engine: SocketOwner,
    },
    /// The owner and the mode of a socket are unknown.
    #[error("read who can connect to socket `{}`", path.display())]
    Unknown {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl ForwardError {
    /// Whether the arguments or the configuration are wrong, and not the sockets.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Engines(_) | Self::Address(_) | Self::NotUnix(_))
    }
}

/// The owner and the mode of a socket, which say who can connect to it: who can write to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOwner {
    uid: u32,
    gid: u32,
    mode: u32,
}

const OWNER: u32 = 0o200;
const GROUP: u32 = 0o020;
const EVERYONE: u32 = 0o022;

impl SocketOwner {
    /// Whether every user who can connect to this socket can also connect to `other`. Root can connect
    /// to every socket.
    fn is_within(self, other: Self) -> bool {
        let writes = |bit: u32| self.mode & bit != 0;
        if other.mode & EVERYONE == EVERYONE {
            return true;
        }
        let is_owner = self.uid == 0 || (self.uid == other.uid && other.mode & OWNER != 0);
        let is_group = self.gid == other.gid && other.mode & GROUP != 0;
        (!writes(OWNER) || is_owner) && (!writes(GROUP) || is_group) && !writes(0o002)
    }
}

impl fmt::Display for SocketOwner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, gid, mode } = self;
        write!(formatter, "user {uid}, group {gid}, mode {mode:03o}")
    }
}

/// A socket as the filesystem has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    device: u64,
    inode: u64,
    owner: SocketOwner,
}

impl Socket {
    fn read(path: &Path) -> Result<Self, ForwardError> {
        let metadata = fs::metadata(path).map_err(|source| ForwardError::Unknown {
            path: path.to_owned(),
            source,
        })?;
        if !metadata.file_type().is_socket() {
            return Err(ForwardError::NotSocket(path.to_owned()));
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            owner: SocketOwner {
                uid: metadata.uid(),
                gid: metadata.gid(),
                mode: metadata.mode() & 0o777,
            },
        })
    }

    fn is(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Checks the addresses before they are opened, and returns the permissions for their sockets: where
/// `access` sets nothing, those of the engine's socket.
///
/// # Errors
///
/// [`ForwardError`] if an address is not a Unix socket, is the engine's own, or the engine's socket
/// cannot be read.
pub fn prepare(
    engine: &EngineAddress,
    addresses: &[Address],
    access: SocketAccess,
) -> Result<SocketAccess, ForwardError> {
    if let Some(tcp) = addresses
        .iter()
        .find(|address| matches!(address, Address::Tcp(_)))
    {
        return Err(ForwardError::NotUnix(tcp.to_string()));
    }
    let Some(path) = engine.socket() else {
        return Ok(access);
    };
    let theirs = Socket::read(path)?;
    for address in addresses {
        if let Address::Unix(ours) = address
            && Socket::read(ours).is_ok_and(|ours| ours.is(theirs))
        {
            return Err(ForwardError::Itself(path.to_owned()));
        }
    }
    let mode = access
        .mode
        .unwrap_or(theirs.owner.mode & SocketAccess::DEFAULT_MODE);
    let needs_group = mode & GROUP != 0;
    let group = access.group;
    let group = group.or_else(|| needs_group.then(|| theirs.owner.gid.to_string()));
    Ok(SocketAccess {
        mode: Some(mode),
        group,
    })
}

/// Compares the daemon's open sockets with the engine's.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    ours: Vec<(PathBuf, Socket)>,
}

impl Gate {
    pub(super) fn new(listeners: &[Listener]) -> Result<Self, ForwardError> {
        let forwarding = listeners.iter().filter(|listener| !listener.is_read_only());
        let ours = forwarding.map(|listener| {
            let path = listener.path();
            let path = path.ok_or_else(|| ForwardError::NotUnix("this listener".to_owned()))?;
            let socket = Socket::read(&path)?;
            Ok((path, socket))
        });
        Ok(Self {
            ours: ours.collect::<Result<_, ForwardError>>()?,
        })
    }

    /// Checks that the engine's socket is another one, and at least as open. It may have been replaced
    /// since the last check.
    pub(super) fn check(&self, engine: &EngineAddress) -> Result<(), ForwardError> {
        let Some(path) = engine.socket() else {
            return Ok(());
        };
        let theirs = Socket::read(path)?;
        for (ours, socket) in &self.ours {
            if socket.is(theirs) {
                return Err(ForwardError::Itself(path.to_owned()));
            }
            if !socket.owner.is_within(theirs.owner) {
                return Err(ForwardError::Wider {
                    socket: ours.clone(),
                    ours: socket.owner,
                    engine_socket: path.to_owned(),
                    engine: theirs.owner,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: u32, gid: u32, mode: u32) -> SocketOwner {
        SocketOwner { uid, gid, mode }
    }

    #[test]
    fn a_socket_is_no_wider_than_the_engines() {
        const DOCKER: u32 = 999;
        let engine = owner(0, DOCKER, 0o660);
        let rootless = owner(1000, 1000, 0o660);
        let private = owner(0, 0, 0o600);
        let open = owner(0, 0, 0o666);
        for (ours, theirs, is_within) in [
            (owner(0, DOCKER, 0o660), engine, true),
            (owner(0, DOCKER, 0o600), engine, true),
            (owner(0, DOCKER, 0o620), engine, true),
            (owner(0, 5, 0o640), engine, true),
            (owner(0, 5, 0o600), engine, true),
            (owner(0, 5, 0o660), engine, false),
            (owner(0, 0, 0o660), engine, false),
            (owner(0, DOCKER, 0o666), engine, false),
            (owner(7, DOCKER, 0o660), engine, false),
            (owner(7, DOCKER, 0o060), engine, true),
            (owner(1000, 1000, 0o660), rootless, true),
            (owner(0, 1000, 0o660), rootless, true),
            (owner(1001, 1000, 0o660), rootless, false),
            (owner(0, 0, 0o660), private, false),
            (owner(0, 0, 0o600), private, true),
            (owner(0, 5, 0o660), open, true),
            (owner(7, 5, 0o666), open, true),
        ] {
            assert_eq!(ours.is_within(theirs), is_within, "{ours} and {theirs}");
        }
    }
}
