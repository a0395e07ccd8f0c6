//! Tests of the file: saving, reading, damage and versions.

mod earlier;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use reclaim_model::LastUses;
use redb::{Database, TableDefinition};

use super::*;
use crate::last_use::file::FILE;
use crate::{ClockReading, HostClock, IndexError, LastUseIndex};

/// The clocks of a host on which no time passes unless a test lets it.
#[derive(Clone)]
struct Clock(Arc<Mutex<Timestamp>>);

impl Clock {
    fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap() = now;
    }

    fn host(&self) -> HostClock {
        let now = Arc::clone(&self.0);
        HostClock::new(move || {
            let wall = *now.lock().unwrap();
            ClockReading {
                wall,
                is_synchronized: false,
                boot: "1".to_owned(),
                since_boot: wall.duration_since(start() - days(1)),
            }
        })
    }
}

/// A day after the uses of [`saved`].
fn later() -> Clock {
    Clock::at(start() + days(1) - seconds(60))
}

fn open(directory: &Path, clock: &Clock) -> LastUseIndex {
    LastUseIndex::open_with(directory, clock.host()).unwrap()
}

fn removed(index: &LastUseIndex, clock: &Clock, started: Timestamp, name: &str, target: &str) {
    clock.set(started + seconds(1));
    index.record_removals(&report(started, &[(name, target)], &[]));
}

/// Saves an index with entries of every kind.
fn saved(directory: &Path) -> LastUses {
    let clock = Clock::at(start());
    let index = open(directory, &clock);
    for n in 0..40 {
        let name = format!("name{n}");
        index.record_event(&event(written(&name, &format!("t{n}"), start()), start()));
    }
    removed(&index, &clock, start() + seconds(1), "name1", "t1");
    let back = start() + seconds(9);
    clock.set(back);
    index.record_event(&event(written("name1", "t1", back), back));
    removed(&index, &clock, start() + seconds(20), "name2", "t2");
    index.save().unwrap();
    assert!(!index.is_changed());
    clock.set(*later().0.lock().unwrap());
    uses(&index)
}

fn uses(index: &LastUseIndex) -> LastUses {
    index.uses(&namespace())
}

/// A directory in memory if possible: a test that opens a file hundreds of times would wait for the
/// disk.
fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn error(directory: &Path) -> IndexError {
    LastUseIndex::open(directory).expect_err("this file is not to be used")
}

#[test]
fn reads_what_was_saved() {
    let directory = tempfile::tempdir().unwrap();
    let before = saved(directory.path());
    assert_eq!(before.targets.len(), 39);
    assert!(before.targets[&digest("t1")].spared_until.is_some());
    let clock = later();
    let index = open(directory.path(), &clock);
    assert_eq!((uses(&index), index.repulls()), (before, 1));
    let back = start() + days(2);
    clock.set(back);
    index.record_event(&event(written("name2", "t2", back), back));
    assert_eq!(index.repulls(), 2, "the removal was written too");
}

#[test]
fn makes_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("a/b");
    saved(&below);
    assert!(below.join(FILE).is_file());
}

#[test]
fn writes_nothing_without_changes() {
    let directory = tempfile::tempdir().unwrap();
    saved(directory.path());
    let index = LastUseIndex::open(directory.path()).unwrap();
    let bytes = || fs::read(directory.path().join(FILE)).unwrap();
    let before = bytes();
    index.save().unwrap();
    assert!(before == bytes());
}

#[test]
fn only_one_process_opens_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let index = LastUseIndex::open(directory.path()).unwrap();
    let error = error(directory.path());
    assert!(matches!(error, IndexError::InUse { .. }), "{error}");
    drop(index);
    LastUseIndex::open(directory.path()).unwrap();
}

#[test]
fn a_newer_version_is_refused_and_left_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    saved(directory.path());
    let path = directory.path().join(FILE);
    let database = Database::open(&path).unwrap();
    let writing = database.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    writing
        .open_table(meta)
        .unwrap()
        .insert("version", 3)
        .unwrap();
    writing.commit().unwrap();
    drop(database);
    let before = fs::read(&path).unwrap();
    let error = error(directory.path());
    let IndexError::Version {
        version: 3,
        known: 2,
        ..
    } = error
    else {
        panic!("{error}");
    };
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains("move the file away"), "{text}");
    assert!(before == fs::read(&path).unwrap());
}

/// The clocks of a host that runs, restarts without network, and is off.
#[test]
fn ages_count_time_that_passed_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let reading = Arc::new(Mutex::new(ClockReading {
        wall: Timestamp::UNIX_EPOCH,
        is_synchronized: false,
        boot: "1".to_owned(),
        since_boot: seconds(10),
    }));
    let opened = || {
        let reading = Arc::clone(&reading);
        let clock = HostClock::new(move || reading.lock().unwrap().clone());
        LastUseIndex::open_with(directory.path(), clock).unwrap()
    };
    let idle = |index: &LastUseIndex, target: &str| {
        let uses = index.uses(&namespace());
        uses.now
            .duration_since(uses.targets[&digest(target)].last_used)
    };
    let index = opened();
    // A board without a battery: the pull is from the year before.
    let scan = Scan::default().record("app:1", "A", start() - days(365));
    index.record_scan(&namespace(), &scan.0, index.moment());
    {
        let mut reading = reading.lock().unwrap();
        (reading.wall, reading.is_synchronized) = (start(), true);
        reading.since_boot += seconds(60);
    }
    assert_eq!(idle(&index, "A"), seconds(60));
    index.record_scan(&namespace(), &scan.0, index.moment());
    index.save().unwrap();
    drop(index);
    // Off for two days, of which only NTP can tell.
    {
        let mut reading = reading.lock().unwrap();
        (reading.boot, reading.since_boot) = ("2".to_owned(), seconds(5));
        (reading.wall, reading.is_synchronized) = (Timestamp::UNIX_EPOCH, false);
    }
    let index = opened();
    assert_eq!(idle(&index, "A"), seconds(65));
    let both = scan.record("new:1", "B", start() - days(365));
    let before_network = index.moment();
    {
        let mut reading = reading.lock().unwrap();
        reading.since_boot += seconds(5);
        (reading.wall, reading.is_synchronized) = (start() + days(2), true);
    }
    // This scan began before the time off was counted.
    index.record_scan(&namespace(), &both.0, before_network);
    let off = days(2) + seconds(60);
    assert_eq!((idle(&index, "A"), idle(&index, "B")), (off, seconds(5)));
    index.save().unwrap();
    drop(index);
    let index = opened();
    assert_eq!((idle(&index, "A"), idle(&index, "B")), (off, seconds(5)));
}

/// Returns and removes the damaged file that was set aside.
fn set_aside(directory: &Path) -> Option<Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths = entries.map(|it| it.unwrap().path());
    let path = paths.find(|it| it.to_str().unwrap().contains(".redb.damaged-"))?;
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    Some(bytes)
}

/// Opens a damaged file, which is set aside unchanged, and uses the new one.
fn replace_damaged(directory: &Path) {
    let damaged = fs::read(directory.join(FILE)).unwrap();
    let index = open(directory, &later());
    assert!(index.namespaces().is_empty());
    assert!(set_aside(directory) == Some(damaged));
    drop(index);
    let before = saved(directory);
    let index = open(directory, &later());
    assert_eq!(uses(&index), before);
    assert_eq!(set_aside(directory), None);
}

#[test]
fn a_file_of_another_kind_is_set_aside() {
    let much = vec![0xff; 100_000];
    for bytes in [&b""[..], b"a text", &[0; 8192], &much] {
        let directory = quick_directory();
        fs::write(directory.path().join(FILE), bytes).unwrap();
        replace_damaged(directory.path());
    }
}

/// Checksums cover every byte that carries data.
#[test]
fn damage_sets_the_file_aside_or_changes_nothing() {
    const PLACES: usize = 200;
    let directory = quick_directory();
    let before = saved(directory.path());
    let path = directory.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    // Most bytes of a mostly empty file carry no data.
    let places: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let stride = (places.len() / PLACES).max(1) | 1;
    let mut n_aside = 0;
    for at in places.iter().step_by(stride) {
        let mut damaged = whole.clone();
        damaged[*at] ^= 0x55;
        fs::write(&path, &damaged).unwrap();
        let index = open(directory.path(), &later());
        match set_aside(directory.path()) {
            None => assert_eq!((uses(&index), index.repulls()), (before.clone(), 1)),
            Some(aside) => {
                assert!(aside == damaged);
                assert!(index.namespaces().is_empty());
                n_aside += 1;
            }
        }
    }
    // Pages of earlier commits carry no data any more.
    assert!(n_aside * 10 > PLACES, "{n_aside} of {PLACES}");
}

#[test]
fn a_truncated_file_is_set_aside() {
    let directory = quick_directory();
    saved(directory.path());
    let path = directory.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    for part in 1..16 {
        fs::write(&path, &whole[..whole.len() * part / 16]).unwrap();
        replace_damaged(directory.path());
    }
}

/// A command that does not record uses reads the file as it is, unless images may have been used since.
#[test]
fn another_process_reads_a_recent_file_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let read = |clock: &Clock| LastUseIndex::read_with(directory.path(), clock.host());
    let missing = read(&Clock::at(start())).unwrap_err();
    assert!(matches!(missing, IndexError::Missing { .. }), "{missing}");
    assert!(!path.exists());

    saved(directory.path());
    let written = start() + seconds(21);
    let clock = Clock::at(written + SignedDuration::from_hours(25));
    let before = fs::read(&path).unwrap();
    let known = uses(&read(&clock).unwrap());
    assert!(before == fs::read(&path).unwrap());
    assert_eq!(known, uses(&open(directory.path(), &clock)));
    clock.set(written + SignedDuration::from_hours(25) + seconds(1));
    let stale = read(&clock).unwrap_err();
    assert!(matches!(stale, IndexError::Stale { .. }), "{stale}");

    // A process that records uses writes the time at least every hour, also if nothing changes.
    let index = open(directory.path(), &clock);
    index.moment();
    assert!(index.is_changed());
    let in_use = read(&clock).unwrap_err();
    assert!(matches!(in_use, IndexError::InUse { .. }), "{in_use}");
    index.save().unwrap();
    assert!(!index.is_changed());
    drop(index);
    read(&clock).unwrap();

    fs::write(&path, "damaged").unwrap();
    let damaged = read(&clock).unwrap_err();
    assert!(matches!(damaged, IndexError::Damaged { .. }), "{damaged}");
    assert_eq!(fs::read(&path).unwrap(), b"damaged");
}
