//! A Unix socket: private from the moment it exists, and never taken from a process that answers.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use super::error::ListenError;

/// The permissions of a socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketAccess {
    /// The mode of the socket: bits for reading and writing only. [`Self::DEFAULT_MODE`] if it is not
    /// set.
    pub mode: Option<u32>,
    /// The group of the socket, by name or number; that of the process if there is none.
    pub group: Option<String>,
}

impl SocketAccess {
    /// The default mode: the owner and the group can read and write.
    pub const DEFAULT_MODE: u32 = 0o660;
}

/// A listening socket. Dropping it removes its file.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    /// The lock file, locked until the socket is dropped. Only its holder may replace a stale socket.
    _lock: File,
}

impl UnixSocket {
    /// Listens on `path`.
    ///
    /// The socket is created under another name and renamed once its permissions are set. A stale
    /// one of a dead process is replaced.
    pub(super) async fn bind(path: &Path, access: &SocketAccess) -> Result<Self, ListenError> {
        let failed =
            |operation| move |source| ListenError::system(operation, &path.display(), source);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("create the directory of"))?;
        }
        let lock = lock(path)?;
        ensure_free(path).await?;
        let temporary = with_suffix(path, ".new");
        remove_if_exists(&temporary).map_err(failed("remove the old temporary file of"))?;
        let listener = bind_private(&temporary).map_err(failed("listen on"))?;
        let group = access.group.as_deref().map(group).transpose()?;
        let mode = access.mode.unwrap_or(SocketAccess::DEFAULT_MODE);
        let installed = chown(&temporary, None, group)
            .and_then(|()| fs::set_permissions(&temporary, Permissions::from_mode(mode)))
            .and_then(|()| fs::rename(&temporary, path));
        if let Err(source) = installed {
            remove_or_warn(&temporary);
            return Err(failed("set the permissions and the name of")(source));
        }
        let metadata = fs::symlink_metadata(path).map_err(failed("read the metadata of"))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode: metadata.ino(),
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Another process may have replaced the socket.
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if is_ours {
            remove_or_warn(&self.path);
        }
    }
}

/// Binds a socket that only the owner can connect to, until the permissions are set.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    bound
}

/// Locks the lock file, so that two daemons cannot both take a socket for stale.
fn lock(path: &Path) -> Result<File, ListenError> {
    let lock = with_suffix(path, ".lock");
    let failed = |source| ListenError::system("lock", &lock.display(), source);
    let file = reclaim_engine::state::open(&lock).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ListenError::InUse(path.to_owned())),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Checks that no process listens on the path, and that it is free or a stale socket.
async fn ensure_free(path: &Path) -> Result<(), ListenError> {
    let failed = |source| {
        ListenError::system(
            "check whether another process listens on",
            &path.display(),
            source,
        )
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotSocket(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Returns the number of a group, by name or number.
pub(crate) fn group(name: &str) -> Result<u32, ListenError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let unknown = || ListenError::UnknownGroup(name.to_owned());
    let found = nix::unistd::Group::from_name(name)
        .map_err(|errno| ListenError::system("look up group", name, errno.into()))?;
    Ok(found.ok_or_else(unknown)?.gid.as_raw())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_or_warn(path: &Path) {
    if let Err(error) = remove_if_exists(path) {
        warn!(path = %path.display(), %error, "cannot remove the socket");
    }
}
