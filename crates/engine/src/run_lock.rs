//! The lock file of a run: locked during the run, and unlocked by the kernel when the process ends,
//! in any PID namespace.
//!
//! A lease names the file by path and inode. A free lock on this file proves that the run is over. A
//! file that cannot be found or opened proves nothing: the observer may be in another mount
//! namespace, or lack the permission.

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use tracing::debug;

const SUFFIX: &str = ".lock";

/// The age at which an unlocked file is deleted: longer than any lease that names it lasts.
const STALE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The number of attempts if another process deletes the new file before it is locked.
const TRIES: usize = 3;

/// A lock that this process holds.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
    place: LockPlace,
}

/// The location of a lock file, as in a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockPlace {
    device: u64,
    inode: u64,
    path: PathBuf,
}

/// The state of a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockState {
    /// A process holds it.
    Held,
    /// No process holds it.
    Free,
    /// The file cannot be seen from here.
    Unseen,
}

impl RunLock {
    /// Creates and locks a file in a private directory, which is created if it is missing.
    pub(crate) fn acquire(directory: &Path, name: &str) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
        demand_private(&fs::symlink_metadata(directory)?)?;
        sweep(directory);
        for attempt in 0..TRIES {
            let path = directory.join(format!("{name}-{attempt}{SUFFIX}"));
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&path);
            let file = file?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let metadata = file.metadata()?;
            // Zero if another process deleted it as stale before the lock.
            if metadata.nlink() > 0 {
                let place = LockPlace {
                    device: metadata.dev(),
                    inode: metadata.ino(),
                    path,
                };
                return Ok(Self { file, place });
            }
        }
        Err(io::Error::other(
            "another process keeps deleting the lock file",
        ))
    }

    pub(crate) fn place(&self) -> &LockPlace {
        &self.place
    }

    /// Deletes the file, which no lease names any longer.
    pub(crate) fn delete(self) {
        if let Err(error) = fs::remove_file(&self.place.path) {
            debug!(%error, path = %self.place.path.display(), "cannot delete the lock file");
        }
        drop(self.file);
    }
}

impl LockPlace {
    /// Parses the output of `Display`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        Some(Self {
            device: parts.next()?.parse().ok()?,
            inode: parts.next()?.parse().ok()?,
            path: parts.next().filter(|path| path.starts_with('/'))?.into(),
        })
    }

    /// Returns whether a process holds the lock. Checks the recorded path, and the file of the same
    /// name in `nearby`, because a volume may have several paths.
    pub(crate) fn state(&self, nearby: Option<&Path>) -> LockState {
        let nearby = nearby
            .zip(self.path.file_name())
            .map(|(directory, name)| directory.join(name));
        [Some(self.path.clone()), nearby]
            .into_iter()
            .flatten()
            .map(|path| self.state_at(&path))
            .find(|state| *state != LockState::Unseen)
            .unwrap_or(LockState::Unseen)
    }

    fn state_at(&self, path: &Path) -> LockState {
        // A label can name any path, so only regular files are opened.
        let is_same =
            |it: &Metadata| it.is_file() && it.dev() == self.device && it.ino() == self.inode;
        if !fs::symlink_metadata(path).is_ok_and(|it| is_same(&it)) {
            return LockState::Unseen;
        }
        let mut options = OpenOptions::new();
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let options = options.read(true).custom_flags(flags.bits().cast_signed());
        let Ok(file) = options.open(path) else {
            return LockState::Unseen;
        };
        if !file.metadata().is_ok_and(|it| is_same(&it)) {
            return LockState::Unseen;
        }
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => LockState::Free,
            Err(Errno::WOULDBLOCK) => LockState::Held,
            Err(_) => LockState::Unseen,
        }
    }
}

impl fmt::Display for LockPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            inode,
            path,
        } = self;
        write!(formatter, "{device}:{inode}:{}", path.display())
    }
}

/// Checks that no other user can write the directory, and so hold or replace locks.
fn demand_private(directory: &Metadata) -> io::Result<()> {
    let is_ours = directory.uid() == rustix::process::geteuid().as_raw();
    if directory.is_dir() && is_ours && directory.permissions().mode() & 0o022 == 0 {
        return Ok(());
    }
    let why = "the lock directory is writable by other users";
    Err(io::Error::new(ErrorKind::PermissionDenied, why))
}

/// Deletes the files of crashed runs once no lease can name them.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_lock = path.to_str().is_some_and(|it| it.ends_with(SUFFIX));
        let modified = entry.metadata().and_then(|it| it.modified());
        let modified = modified.ok().and_then(|it| Timestamp::try_from(it).ok());
        let is_old = modified.is_some_and(|then| reclaim_store::now().duration_since(then) > STALE);
        if is_lock
            && is_old
            && let Ok(file) = File::open(&path)
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            drop(fs::remove_file(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let locks = directory.path().join("locks");
        let lock = RunLock::acquire(&locks, "run").unwrap();
        let place = lock.place().clone();
        assert_eq!(LockPlace::parse(&place.to_string()), Some(place.clone()));
        assert_eq!(place.state(None), LockState::Held);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&locks), 0o700);
        assert_eq!(mode(&place.path), 0o600);
        drop(lock);
        assert_eq!(place.state(None), LockState::Free);
        let lock = RunLock::acquire(&locks, "other").unwrap();
        let other = lock.place().clone();
        lock.delete();
        assert_eq!(other.state(None), LockState::Unseen);
    }

    /// A file of the same name with another inode proves nothing.
    #[test]
    fn only_the_same_file_proves_anything() {
        let directory = tempfile::tempdir().unwrap();
        let lock = RunLock::acquire(directory.path(), "run").unwrap();
        let place = lock.place().clone();
        let elsewhere = directory.path().join("elsewhere");
        let moved = LockPlace {
            path: elsewhere.join(place.path.file_name().unwrap()),
            ..place.clone()
        };
        assert_eq!(moved.state(None), LockState::Unseen);
        // The same volume under another path.
        assert_eq!(moved.state(Some(directory.path())), LockState::Held);
        drop(lock);
        fs::create_dir(&elsewhere).unwrap();
        fs::copy(&place.path, &moved.path).unwrap();
        assert_eq!(moved.state(None), LockState::Unseen);
        fs::remove_file(&moved.path).unwrap();
        symlink(&place.path, &moved.path).unwrap();
        assert_eq!(moved.state(None), LockState::Unseen);
        assert_eq!(place.state(None), LockState::Free);
    }

    #[test]
    fn a_directory_writable_by_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let refused = RunLock::acquire(directory.path(), "run").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn only_old_unlocked_files_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let held = RunLock::acquire(directory.path(), "held").unwrap();
        let old = RunLock::acquire(directory.path(), "old").unwrap();
        let young = RunLock::acquire(directory.path(), "young").unwrap();
        let [old, young] = [old, young].map(|lock| lock.place().clone());
        let long_ago = reclaim_store::now() - (STALE + SignedDuration::from_mins(1));
        let long_ago = SystemTime::from(long_ago);
        held.file.set_modified(long_ago).unwrap();
        let file = File::options().write(true).open(&old.path).unwrap();
        file.set_modified(long_ago).unwrap();
        drop(file);
        let another = RunLock::acquire(directory.path(), "another").unwrap();
        assert_eq!(old.state(None), LockState::Unseen);
        assert_eq!(young.state(None), LockState::Free);
        assert_eq!(held.place().state(None), LockState::Held);
        another.delete();
    }

    #[test]
    fn refuses_invalid_text() {
        for text in ["", "1:2", "1:2:relative", "a:2:/x", "1:b:/x"] {
            assert_eq!(LockPlace::parse(text), None, "{text}");
        }
    }
}
