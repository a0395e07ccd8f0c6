//! A small filesystem that can be filled to the last block or inode.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use crate::containerd::mounts::mount_memory;

/// The length of a block, in bytes.
const BLOCK: u64 = 4096;

/// The inodes of a [`SmallDisk`].
const INODES: u64 = 256;

/// What [`SmallDisk::fill`] leaves free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// So many blocks, and enough inodes.
    Blocks(u64),
    /// So many inodes, and enough blocks.
    Inodes(u64),
}

/// What is in use on a [`SmallDisk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Blocks of 4096 bytes.
    pub blocks: u64,
    /// Inodes.
    pub inodes: u64,
}

/// A filesystem in memory. Dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    mount_point: TempDir,
}

impl SmallDisk {
    /// Mounts a filesystem of so many bytes.
    pub fn mount(bytes: u64) -> Self {
        let mount_point = tempfile::tempdir().expect("there is a temporary directory");
        mount_memory(mount_point.path(), bytes, Some(INODES));
        Self { mount_point }
    }

    /// Returns the mount point.
    pub fn path(&self) -> &Path {
        self.mount_point.path()
    }

    /// Fills the filesystem, except for `left`.
    pub fn fill(&self, left: Left) {
        let filler = self.filler();
        fs::create_dir(&filler).expect("there is an inode left");
        let space = statvfs(self.path()).expect("it is mounted");
        match left {
            Left::Blocks(blocks) => {
                let file = File::create(filler.join("blocks")).expect("there is an inode left");
                let bytes = (space.f_bavail * space.f_frsize).saturating_sub(blocks * BLOCK);
                if bytes > 0 {
                    let allocated = fallocate(&file, FallocateFlags::empty(), 0, bytes);
                    allocated.expect("these blocks are free");
                }
            }
            Left::Inodes(inodes) => {
                for number in inodes..space.f_favail {
                    let file = File::create(filler.join(number.to_string()));
                    drop(file.expect("these inodes are free"));
                }
            }
        }
    }

    /// Removes what [`SmallDisk::fill`] wrote.
    pub fn clear(&self) {
        fs::remove_dir_all(self.filler()).expect("it was filled");
    }

    /// Returns how many blocks and inodes are in use.
    pub fn used(&self) -> Used {
        let space = statvfs(self.path()).expect("it is mounted");
        let bytes = (space.f_blocks - space.f_bfree) * space.f_frsize;
        Used {
            blocks: bytes / BLOCK,
            inodes: space.f_files - space.f_ffree,
        }
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a busy mount must not keep the directory.
        unmount(self.path(), UnmountFlags::DETACH).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_all_but_the_given_space() {
        let disk = SmallDisk::mount(1 << 20);
        let path = disk.path().join("file");
        for left in [Left::Blocks(2), Left::Inodes(1)] {
            disk.fill(left);
            assert!(fs::write(&path, [0; 8192]).is_ok(), "{left:?}");
            match left {
                Left::Blocks(_) => assert!(fs::write(&path, [0; 8193]).is_err()),
                Left::Inodes(_) => assert!(File::create(disk.path().join("other")).is_err()),
            }
            fs::remove_file(&path).unwrap();
            disk.clear();
        }
    }
}
