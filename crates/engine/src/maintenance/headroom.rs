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

/// The automatic size at most, in bytes: four times what containerd's database grows by at once.
const MAX_AUTO: u64 = 64 << 20;

/// The automatic size at least, in bytes: with less, a collection gains little.
const MIN_AUTO: u64 = 4 << 20;

/// The automatic size is this part of what is left on the filesystem.
const AUTO_PART: u64 = 100;

/// The file, and how large it is when there is room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headroom {
    /// Where.
    pub file: PathBuf,
    /// How large.
    pub size: HeadroomSize,
}

/// How large a headroom is when there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadroomSize {
    /// A hundredth of what is left, from 4 MiB to 64 MiB; nothing if that is less, or if the file
    /// would not be on a filesystem of containerd's. It is no error if it cannot be made.
    Auto,
    /// So many bytes; never zero.
    Bytes(u64),
}

impl Headroom {
    /// Returns how many bytes it takes now.
    pub fn bytes_there(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |it| it.len())
    }

    /// Returns how many bytes it should take, if any, where so many are left on its filesystem while
    /// it takes none; `None` if that is not one of containerd's.
    pub fn bytes_wanted(&self, left: Option<u64>) -> Option<u64> {
        match self.size {
            HeadroomSize::Bytes(bytes) => Some(bytes),
            HeadroomSize::Auto => left.and_then(automatic),
        }
    }

    /// Takes so many bytes. Nothing is left behind if there is not enough room.
    ///
    /// # Errors
    ///
    /// If the file cannot be made whole.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        if self.bytes_there() >= bytes {
            return Ok(());
        }
        if let Some(directory) = self.file.parent() {
            state::make_directory(directory)?;
        }
        let taken = self.allocate(bytes);
        if taken.is_err() {
            self.give_up()?;
        }
        taken
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let file = state::open(&self.file)?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
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

/// Returns the automatic size where so many bytes are left, in whole mebibytes.
fn automatic(left: u64) -> Option<u64> {
    const MIB: u64 = 1 << 20;
    let bytes = (left / AUTO_PART).min(MAX_AUTO) / MIB * MIB;
    (bytes >= MIN_AUTO).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use reclaim_model::Room;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn filesystem(mount_point: &Path) -> Filesystem {
        let room = Room::default();
        Filesystem {
            mount_point: mount_point.to_owned(),
            block: 4096,
            bytes: room,
            inodes: room,
            has_content: true,
            snapshotters: BTreeSet::new(),
        }
    }

    #[test]
    fn the_automatic_size_is_a_small_part_of_what_is_left() {
        for (left, bytes) in [
            (0, None),
            (399 * MIB, None),
            (400 * MIB, Some(4 * MIB)),
            (1050 * MIB, Some(10 * MIB)),
            (6400 * MIB, Some(64 * MIB)),
            (u64::MAX, Some(64 * MIB)),
        ] {
            assert_eq!(automatic(left), bytes, "{left}");
        }
    }

    #[test]
    fn the_automatic_size_is_for_a_filesystem_of_containerd() {
        let directory = tempfile::tempdir().unwrap();
        let mut headroom = Headroom {
            file: directory.path().join("state/headroom"),
            size: HeadroomSize::Auto,
        };
        assert!(headroom.is_on(&filesystem(directory.path())));
        assert!(!headroom.is_on(&filesystem(Path::new("/proc"))));
        assert_eq!(headroom.bytes_wanted(None), None);
        assert_eq!(headroom.bytes_wanted(Some(1000 * MIB)), Some(10 * MIB));
        headroom.size = HeadroomSize::Bytes(1);
        assert_eq!(headroom.bytes_wanted(None), Some(1));
    }

    #[test]
    fn takes_whole_blocks_and_gives_them_up() {
        let directory = tempfile::tempdir().unwrap();
        let headroom = Headroom {
            file: directory.path().join("state/headroom"),
            size: HeadroomSize::Auto,
        };
        assert!(headroom.bytes_there() == 0 && !headroom.give_up().unwrap());
        headroom.take(1 << 19).unwrap();
        headroom.take(1 << 20).unwrap();
        headroom.take(1 << 19).unwrap();
        let metadata = fs::metadata(&headroom.file).unwrap();
        assert!(metadata.blocks() * 512 >= 1 << 20, "{}", metadata.blocks());
        assert_eq!(headroom.bytes_there(), 1 << 20);
        assert!(headroom.give_up().unwrap() && headroom.bytes_there() == 0);
    }

    #[test]
    fn leaves_nothing_behind_where_there_is_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let headroom = Headroom {
            file: directory.path().join("headroom"),
            size: HeadroomSize::Bytes(1 << 60),
        };
        assert!(headroom.take(1 << 60).is_err());
        assert!(!headroom.file.exists());
    }
}
