//! A file that takes room until the filesystem is full, and gives it up then.
//!
//! containerd writes a little in order to remove: to its database, and the journal that holds
//! what is removed. On a filesystem without a free block it could not even do that.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reclaim_model::Filesystem;
use rustix::fs::{FallocateFlags, fallocate};

use crate::state;

/// The file, and how large it is when there is room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headroom {
    /// Where.
    pub file: PathBuf,
    /// How large, in bytes; never zero.
    pub bytes: u64,
}

impl Headroom {
    /// Whether it takes its room now.
    pub fn is_there(&self) -> bool {
        fs::metadata(&self.file).is_ok_and(|it| it.len() >= self.bytes)
    }

    /// Takes the room. Nothing is left behind if there is not enough.
    ///
    /// # Errors
    ///
    /// If the file cannot be made whole.
    pub fn take(&self) -> io::Result<()> {
        if self.is_there() {
            return Ok(());
        }
        if let Some(directory) = self.file.parent() {
            state::make_directory(directory)?;
        }
        let taken = self.allocate();
        if taken.is_err() {
            self.give_up()?;
        }
        taken
    }

    fn allocate(&self) -> io::Result<()> {
        let file = state::open(&self.file)?;
        fallocate(&file, FallocateFlags::empty(), 0, self.bytes)?;
        Ok(())
    }

    /// Gives the room up. Returns whether there was any to give.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be removed.
    pub fn give_up(&self) -> io::Result<bool> {
        match fs::remove_file(&self.file) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it lies, or would lie, on that filesystem.
    pub fn is_on(&self, filesystem: &Filesystem) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|it| it.dev()).ok();
        let ours = self.file.ancestors().find_map(device);
        ours.is_some() && ours == device(&filesystem.mount_point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_whole_blocks_and_gives_them_up() {
        let directory = tempfile::tempdir().unwrap();
        let headroom = Headroom {
            file: directory.path().join("state/headroom"),
            bytes: 1 << 20,
        };
        assert!(!headroom.is_there() && !headroom.give_up().unwrap());
        headroom.take().unwrap();
        headroom.take().unwrap();
        let metadata = fs::metadata(&headroom.file).unwrap();
        assert!(metadata.blocks() * 512 >= 1 << 20, "{}", metadata.blocks());
        assert!(headroom.is_there());
        assert!(headroom.give_up().unwrap() && !headroom.is_there());
    }

    #[test]
    fn leaves_nothing_behind_where_there_is_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let headroom = Headroom {
            file: directory.path().join("headroom"),
            bytes: 1 << 60,
        };
        assert!(headroom.take().is_err());
        assert!(!headroom.file.exists());
    }
}
