//! The file: what is written is read again, and what is not ours is refused.

use std::fs;
use std::path::Path;

use reclaim_model::LastUses;
use redb::{Database, TableDefinition};

use super::*;
use crate::last_use::file::FILE;
use crate::{IndexError, LastUseIndex};

fn removed(index: &LastUseIndex, started: Timestamp, name: &str, target: &str) {
    index.removed(
        &report(started, &[(name, target)], &[]),
        started + seconds(1),
    );
}

/// An index with some of everything, saved.
fn saved(directory: &Path) -> LastUses {
    let index = LastUseIndex::open(directory).unwrap();
    for n in 0..40 {
        let name = format!("name{n}");
        index.hear(&event(written(&name, &format!("t{n}"), start()), start()));
    }
    removed(&index, start() + seconds(1), "name1", "t1");
    let back = start() + seconds(9);
    index.hear(&event(written("name1", "t1", back), back));
    removed(&index, start() + seconds(20), "name2", "t2");
    index.save().unwrap();
    assert!(!index.is_changed());
    uses(&index)
}

fn uses(index: &LastUseIndex) -> LastUses {
    index.uses_at(&namespace(), start() + days(1) - seconds(60))
}

/// In memory where that can be had: a test that opens a file hundreds of times waits for the disk
/// otherwise.
fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn error(directory: &Path) -> IndexError {
    LastUseIndex::open(directory).expect_err("this file is not to be used")
}

#[test]
fn what_is_saved_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let before = saved(directory.path());
    assert_eq!(before.0.len(), 39);
    assert!(before.0[&digest("t1")].spared_until.is_some());
    let index = LastUseIndex::open(directory.path()).unwrap();
    assert_eq!((uses(&index), index.repulls()), (before, 1));
    let back = start() + days(2);
    index.hear(&event(written("name2", "t2", back), back));
    assert_eq!(index.repulls(), 2, "the removal was written too");
}

#[test]
fn the_directory_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("a/b");
    saved(&below);
    assert!(below.join(FILE).is_file());
}

#[test]
fn nothing_is_written_where_nothing_changed() {
    let directory = tempfile::tempdir().unwrap();
    saved(directory.path());
    let index = LastUseIndex::open(directory.path()).unwrap();
    let bytes = || fs::read(directory.path().join(FILE)).unwrap();
    let before = bytes();
    index.save().unwrap();
    assert!(before == bytes());
}

#[test]
fn one_process_has_it_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let index = LastUseIndex::open(directory.path()).unwrap();
    let error = error(directory.path());
    assert!(matches!(error, IndexError::InUse { .. }), "{error}");
    drop(index);
    LastUseIndex::open(directory.path()).unwrap();
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    saved(directory.path());
    let path = directory.path().join(FILE);
    let database = Database::open(&path).unwrap();
    let writing = database.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    writing
        .open_table(meta)
        .unwrap()
        .insert("version", 2)
        .unwrap();
    writing.commit().unwrap();
    drop(database);
    let before = fs::read(&path).unwrap();
    let error = error(directory.path());
    let IndexError::Version {
        version: 2,
        known: 1,
        ..
    } = error
    else {
        panic!("{error}");
    };
    let words = error.to_string();
    assert!(words.contains(path.to_str().unwrap()), "{words}");
    assert!(words.contains("move the file away"), "{words}");
    assert!(before == fs::read(&path).unwrap());
}

#[test]
fn what_is_no_index_is_refused_and_left_alone() {
    let much = vec![0xff; 100_000];
    for bytes in [&b""[..], b"a text", &[0; 8192], &much] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, bytes).unwrap();
        let error = error(directory.path());
        let words = error.to_string();
        assert!(matches!(error, IndexError::Damaged { .. }), "{words}");
        assert!(words.contains(path.to_str().unwrap()), "{words}");
        assert!(words.contains("move it away"), "{words}");
        assert!(bytes == fs::read(&path).unwrap());
    }
}

/// Every byte that says something is under a checksum.
#[test]
fn a_damaged_file_is_refused_or_does_not_matter() {
    const PLACES: usize = 200;
    let directory = quick_directory();
    let before = saved(directory.path());
    let path = directory.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    // Most of a file that is mostly empty says nothing.
    let places: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let stride = (places.len() / PLACES).max(1) | 1;
    let mut n_refused = 0;
    for at in places.iter().step_by(stride) {
        let mut damaged = whole.clone();
        damaged[*at] ^= 0x55;
        fs::write(&path, &damaged).unwrap();
        match LastUseIndex::open(directory.path()) {
            Ok(index) => assert_eq!((uses(&index), index.repulls()), (before.clone(), 1)),
            Err(error) => {
                let words = error.to_string();
                assert!(matches!(error, IndexError::Damaged { .. }), "{words}");
                n_refused += 1;
            }
        }
    }
    // Pages of earlier commits say nothing any more.
    assert!(n_refused * 10 > PLACES, "{n_refused} of {PLACES}");
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let directory = quick_directory();
    saved(directory.path());
    let path = directory.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    for part in 1..16 {
        fs::write(&path, &whole[..whole.len() * part / 16]).unwrap();
        let error = error(directory.path());
        assert!(
            matches!(error, IndexError::Damaged { .. }),
            "{part}: {error}"
        );
    }
}
