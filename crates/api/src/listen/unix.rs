//! A Unix socket of our own: private from the first moment, and never taken from somebody who
//! answers.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use super::ListenError;

/// Who may use a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAccess {
    /// The permissions of the socket; no more than reading and writing.
    pub mode: u32,
    /// The group that it is given to, by name or number; our own if there is none.
    pub group: Option<String>,
}

impl SocketAccess {
    /// The permissions unless told otherwise: the owner and the group.
    pub const DEFAULT_MODE: u32 = 0o660;
}

impl Default for SocketAccess {
    fn default() -> Self {
        Self {
            mode: Self::DEFAULT_MODE,
            group: None,
        }
    }
}

/// A socket that goes when it is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    /// Held for as long as the socket is ours: whoever has it may replace a stale one.
    _lock: File,
}

impl UnixSocket {
    /// Listens on `path`.
    ///
    /// The socket is made under another name and moved there when its permissions are right. A
    /// stale one of a daemon that has died is replaced.
    pub(super) async fn bind(path: &Path, access: &SocketAccess) -> Result<Self, ListenError> {
        let failed =
            |operation| move |source| ListenError::system(operation, &path.display(), source);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
        }
        let lock = lock(path)?;
        demand_free(path).await?;
        let beside = with_suffix(path, ".new");
        remove_if_there(&beside).map_err(failed("remove what was left of"))?;
        let listener = bind_closed(&beside).map_err(failed("listen on"))?;
        let group = access.group.as_deref().map(group).transpose()?;
        let done = chown(&beside, None, group)
            .and_then(|()| fs::set_permissions(&beside, Permissions::from_mode(access.mode)))
            .and_then(|()| fs::rename(&beside, path));
        if let Err(source) = done {
            remove_or_warn(&beside);
            return Err(failed("give away")(source));
        }
        let metadata = fs::symlink_metadata(path).map_err(failed("look at"))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode: metadata.ino(),
            _lock: lock,
        })
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Another may have put its own there since.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|it| it.ino() == self.inode);
        if is_ours {
            remove_or_warn(&self.path);
        }
    }
}

/// Nobody but the owner can connect before the permissions are set.
fn bind_closed(path: &Path) -> io::Result<UnixListener> {
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    bound
}

/// Takes the lock beside the socket, so that two daemons cannot both find it stale.
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

/// Checks that nobody listens there, and that nothing of worth is in the way.
async fn demand_free(path: &Path) -> Result<(), ListenError> {
    let failed = |source| ListenError::system("look at", &path.display(), source);
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

fn group(name: &str) -> Result<u32, ListenError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let unknown = || ListenError::UnknownGroup(name.to_owned());
    let found = nix::unistd::Group::from_name(name);
    let found = found.map_err(|errno| ListenError::system("look up group", name, errno.into()))?;
    Ok(found.ok_or_else(unknown)?.gid.as_raw())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_or_warn(path: &Path) {
    if let Err(error) = remove_if_there(path) {
        warn!(path = %path.display(), %error, "socket stays behind");
    }
}
