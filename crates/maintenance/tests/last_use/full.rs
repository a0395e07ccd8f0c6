//! Tests of a full disk.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use reclaim_maintenance::{IndexError, LastUseIndex};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::common::{Clock, seconds};

/// A small filesystem that is unmounted at the end of the test.
struct Disk {
    // Dropped after the filesystem on it is unmounted.
    directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let size = Some(c"size=32m");
        mount(
            "tmpfs",
            directory.path(),
            "tmpfs",
            MountFlags::empty(),
            size,
        )
        .expect("the tests may mount a tmpfs");
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        for size in [1 << 16, 4096, 1] {
            let piece = vec![b'x'; size];
            let full = loop {
                if let Err(error) = filler.write_all(&piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull);
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.path(), UnmountFlags::DETACH).ok();
    }
}

/// More than the file has room for without growing.
const MANY: u64 = 10_000;

fn record_many(index: &LastUseIndex, clock: &Clock) {
    for n in 1..MANY {
        clock.use_image(index, n, n);
    }
}

fn assert_full(saved: Result<(), IndexError>) {
    let error = saved.expect_err("there is no room");
    let IndexError::Io { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), ErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("last-use.redb"), "{error}");
}

fn assert_whole(index: &LastUseIndex) {
    assert_eq!(seconds(index, 0), Some(0));
    assert_eq!(seconds(index, 1), Some(1));
    assert_eq!(seconds(index, MANY - 1), Some(MANY - 1));
}

#[test]
fn unsaved_changes_stay_in_memory_until_there_is_room() {
    let disk = Disk::new();
    let clock = Clock::at(0);
    let index = clock.open(disk.path()).unwrap();
    clock.use_image(&index, 0, 0);
    index.save().unwrap();
    disk.fill();
    record_many(&index, &clock);
    for _ in 0..3 {
        assert_full(index.save());
        assert_whole(&index);
        assert!(index.is_changed());
    }
    // It stands at the last commit, and can be read while there is no room.
    drop(index);
    let clock = Clock::at(0);
    let index = clock.open(disk.path()).unwrap();
    assert_eq!((seconds(&index, 0), seconds(&index, 1)), (Some(0), None));
    record_many(&index, &clock);
    assert_full(index.save());
    disk.free();
    index.save().unwrap();
    assert!(!index.is_changed());
    drop(index);
    assert_whole(&clock.open(disk.path()).unwrap());
}

#[test]
fn an_index_opens_on_a_full_disk() {
    let disk = Disk::new();
    disk.fill();
    let clock = Clock::at(0);
    let index = clock.open(&disk.path().join("state")).unwrap();
    clock.use_image(&index, 0, 0);
    assert_full(index.save());
    assert_eq!(seconds(&index, 0), Some(0));
    disk.free();
    index.save().unwrap();
    drop(index);
    let index = clock.open(&disk.path().join("state")).unwrap();
    assert_eq!(seconds(&index, 0), Some(0));
}
