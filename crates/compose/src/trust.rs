//! Whether other users can change a file that determines which images are removed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The user that owns the system's files. It can change any file.
const ROOT: u32 = 0;

const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// In a directory with this bit, a file can be replaced only by its owner and that of the directory.
const STICKY: u32 = 0o1000;

/// The users and groups that may change the files of a project, in addition to root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted {
    /// IDs of users.
    pub users: BTreeSet<u32>,
    /// IDs of groups.
    pub groups: BTreeSet<u32>,
}

/// Another user that can change a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The owner of the file, or of a directory above it, by ID.
    User(u32),
    /// The group of the file, or of a directory above it, by ID.
    Group(u32),
    /// Every user.
    Everyone,
}

impl fmt::Display for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(formatter, "user {id}"),
            Self::Group(id) => write!(formatter, "group {id}"),
            Self::Everyone => formatter.write_str("every user"),
        }
    }
}

impl Trusted {
    /// Returns a user that is not trusted and can change a file, or replace it, a link to it, or a
    /// directory above it; `None` for a pipe or a device.
    ///
    /// # Errors
    ///
    /// The path, or one above it, cannot be read.
    pub(crate) fn writer(&self, path: &Path) -> io::Result<Option<Writer>> {
        if !fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let path = std::path::absolute(path)?;
        let real = fs::canonicalize(&path)?;
        for part in path.ancestors().chain(real.ancestors()) {
            let writer = self.writer_of(&fs::symlink_metadata(part)?);
            if writer.is_some() {
                return Ok(writer);
            }
        }
        Ok(None)
    }

    fn writer_of(&self, metadata: &Metadata) -> Option<Writer> {
        let (user, group, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
        if user != ROOT && !self.users.contains(&user) {
            return Some(Writer::User(user));
        }
        // The mode of a link means nothing.
        if metadata.is_symlink() || metadata.is_dir() && mode & STICKY != 0 {
            return None;
        }
        if mode & OTHERS_WRITE != 0 {
            return Some(Writer::Everyone);
        }
        let is_trusted = group == ROOT || self.groups.contains(&group);
        (mode & GROUP_WRITE != 0 && !is_trusted).then_some(Writer::Group(group))
    }
}
