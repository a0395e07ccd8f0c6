//! A file that occupies space until the filesystem is full, and frees it then.
//!
//! Removing images writes a little: containerd its database, the engine its journal. On a
//! filesystem without a free block neither is possible.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reclaim_engine::state;
use reclaim_model::Filesystem;
use rustix::fs::{FallocateFlags, fallocate};

/// The largest automatic size, in bytes: four times what containerd's database grows by at once.
const MAX_AUTO: u64 = 64 << 20;

/// The smallest automatic size, in bytes: less would not help a collection.
const MIN_AUTO: u64 = 4 << 20;

/// The automatic size is this fraction of the free space.
const AUTO_PART: u64 = 100;

/// A file that reserves space on a filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headroom {
    /// Its path.
    pub file: PathBuf,
    /// Its size while there is room.
    pub size: HeadroomSize,
}

/// The size of a headroom file while there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadroomSize {
    /// A hundredth of the free space, up to 64 MiB; no file if that is below 4 MiB, or if the file
    /// would not be on one of containerd's filesystems. A failure to make it is ignored.
    Auto,
    /// This many bytes; never zero.
    Bytes(u64),
}

impl Headroom {
    /// Returns its current size in bytes.
    pub fn size_on_disk(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |it| it.len())
    }

    /// Returns the size it should have, if any. `left` is what its filesystem has free without it;
    /// `None` if that is not one of containerd's.
    pub fn target_size(&self, left: Option<u64>) -> Option<u64> {
        match self.size {
            HeadroomSize::Bytes(bytes) => Some(bytes),
            HeadroomSize::Auto => left.and_then(automatic),
        }
    }

    /// Grows the file to this many bytes. After a failure there is no file.
    ///
    /// # Errors
    ///
    /// If the file cannot be made in full size.
    pub fn grow(&self, bytes: u64) -> io::Result<()> {
        if self.size_on_disk() >= bytes {
            return Ok(());
        }
        if let Some(directory) = self.file.parent() {
            state::make_directory(directory)?;
        }
        let grown = self.allocate(bytes);
        if grown.is_err() {
            self.free()?;
        }
        grown
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let file = state::open(&self.file)?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        Ok(())
    }

    /// Deletes the file. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// If the file exists and cannot be deleted.
    pub fn free(&self) -> io::Result<bool> {
        match fs::remove_file(&self.file) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the file is, or would be, on this filesystem.
    pub fn is_on(&self, filesystem: &Filesystem) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|it| it.dev()).ok();
        let ours = self.file.ancestors().find_map(device);
        ours.is_some() && ours == device(&filesystem.mount_point)
    }
}

/// Returns the automatic size for this many free bytes, in whole mebibytes.
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
    fn the_automatic_size_is_a_hundredth_of_the_free_space_within_bounds() {
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
    fn the_automatic_size_applies_only_to_a_filesystem_of_containerd() {
        let directory = tempfile::tempdir().unwrap();
        let mut headroom = Headroom {
            file: directory.path().join("state/headroom"),
            size: HeadroomSize::Auto,
        };
        assert!(headroom.is_on(&filesystem(directory.path())));
        assert!(!headroom.is_on(&filesystem(Path::new("/proc"))));
        assert_eq!(headroom.target_size(None), None);
        assert_eq!(headroom.target_size(Some(1000 * MIB)), Some(10 * MIB));
        headroom.size = HeadroomSize::Bytes(1);
        assert_eq!(headroom.target_size(None), Some(1));
    }

    #[test]
    fn allocates_whole_blocks_and_frees_them() {
        let directory = tempfile::tempdir().unwrap();
        let headroom = Headroom {
            file: directory.path().join("state/headroom"),
            size: HeadroomSize::Auto,
        };
        assert!(headroom.size_on_disk() == 0 && !headroom.free().unwrap());
        headroom.grow(1 << 19).unwrap();
        headroom.grow(1 << 20).unwrap();
        headroom.grow(1 << 19).unwrap();
        let metadata = fs::metadata(&headroom.file).unwrap();
        assert!(metadata.blocks() * 512 >= 1 << 20, "{}", metadata.blocks());
        assert_eq!(headroom.size_on_disk(), 1 << 20);
        assert!(headroom.free().unwrap() && headroom.size_on_disk() == 0);
    }

    #[test]
    fn leaves_no_file_behind_when_there_is_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let headroom = Headroom {
            file: directory.path().join("headroom"),
            size: HeadroomSize::Bytes(1 << 60),
        };
        assert!(headroom.grow(1 << 60).is_err());
        assert!(!headroom.file.exists());
    }
}
