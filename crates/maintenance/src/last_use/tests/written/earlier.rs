//! Files of earlier versions, written by the redb that these had.

use reclaim_model::LastUse;
use redb_2::{Database, DatabaseError, TableDefinition};

use super::*;

type Rows = TableDefinition<'static, (&'static str, &'static str), &'static [u8]>;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const TARGETS: Rows = TableDefinition::new("targets");
const REMOVALS: Rows = TableDefinition::new("removals");

/// Makes a file of version 1: a count of repulls, and rows.
fn make(
    path: &Path,
    repulls: u64,
    targets: &[(&str, &[u8])],
    removals: &[(&str, &[u8])],
) -> Database {
    let mut builder = Database::builder();
    builder.create_with_file_format_v3(true);
    let database = builder.create(path).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let mut meta = writing.open_table(META).unwrap();
        meta.insert("version", 1).unwrap();
        meta.insert("repulls", repulls).unwrap();
        for (table, rows) in [(TARGETS, targets), (REMOVALS, removals)] {
            let mut table = writing.open_table(table).unwrap();
            for (target, row) in rows {
                let target = digest(target).to_string();
                table.insert(("default", &*target), row).unwrap();
            }
        }
    }
    writing.commit().unwrap();
    database
}

/// A file of an earlier version, from before the crates were divided: its tables and rows, written by the
/// redb of that time.
#[test]
fn reads_the_file_of_an_earlier_version() {
    const TARGET: &[u8] = br#"{"first_seen":"2026-01-01T00:00:00Z","last_used":"2026-01-09T01:02:03.000000004Z","in_use":false,"repulls":2,"spared_until":"2026-01-11T00:00:00Z"}"#;
    const USED: &[u8] = br#"{"first_seen":"2026-01-01T00:00:00Z","last_used":"2026-01-09T00:00:00Z","in_use":true,"repulls":0,"spared_until":null}"#;
    const REMOVAL: &[u8] = br#"{"names":{"docker.io/library/gone:1":"2026-01-10T11:00:01Z"},"started":"2026-01-10T11:00:00Z","is_whole":true,"repulls":0}"#;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let targets = [("target", TARGET), ("used", USED)];
    drop(make(&path, 5, &targets, &[("gone", REMOVAL)]));
    // Its latest time is the removal's: how long ago that is, nothing tells.
    let latest = "2026-01-10T11:00:01Z".parse().unwrap();
    let clock = Clock::at(start());
    let index = open(directory.path(), &clock);
    assert!(set_aside(directory.path()).is_none());
    let moment = |text: &str| text.parse::<Timestamp>().unwrap();
    let first_seen = moment("2026-01-01T00:00:00Z");
    let targets = BTreeMap::from([
        (
            digest("target"),
            LastUse {
                first_seen,
                last_used: moment("2026-01-09T01:02:03.000000004Z"),
                unused_since: None,
                spared_until: Some(moment("2026-01-11T00:00:00Z")),
            },
        ),
        (
            digest("used"),
            LastUse {
                first_seen,
                last_used: latest,
                unused_since: None,
                spared_until: None,
            },
        ),
    ]);
    let expected = LastUses {
        now: latest,
        targets,
    };
    assert_eq!(uses(&index), expected);
    assert_eq!(index.repulls(), 5);
    let now = start() + seconds(1);
    clock.set(now);
    let back = written("docker.io/library/gone:1", "gone", now);
    index.record_event(&event(back, now));
    assert_eq!(index.repulls(), 6, "the removal was read too");
    index.save().unwrap();
    drop(index);
    let index = open(directory.path(), &clock);
    assert_eq!(index.repulls(), 6, "it was written in place");
    assert!(set_aside(directory.path()).is_none());
}

/// A file that the redb of an earlier version had open when its process was killed: the last commit counts,
/// and the transaction after it does not.
#[test]
fn reads_the_file_of_an_earlier_version_that_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let written = directory.path().join("written");
    let database = make(&written, 2, &[], &[]);
    let set = |repulls| {
        let writing = database.begin_write().unwrap();
        let mut meta = writing.open_table(META).unwrap();
        meta.insert("repulls", repulls).unwrap();
        drop(meta);
        writing
    };
    set(3).commit().unwrap();
    let unfinished = set(4);
    // What a kill leaves: the file before it is closed.
    fs::copy(&written, directory.path().join(FILE)).unwrap();
    drop(unfinished);
    let index = open(directory.path(), &later());
    assert!(set_aside(directory.path()).is_none());
    assert_eq!(index.repulls(), 3);
    index.save().unwrap();
}

/// Without room for a new file the earlier one stays, and is replaced when there is room.
#[test]
fn the_file_of_an_earlier_version_stays_until_it_can_be_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    drop(make(&path, 3, &[], &[]));
    let before = fs::read(&path).unwrap();
    // Stands in the way of the new file.
    let new = path.with_extension("redb.new");
    fs::create_dir(&new).unwrap();
    let error = error(directory.path());
    assert!(matches!(error, IndexError::Io { .. }), "{error}");
    assert!(before == fs::read(&path).unwrap());
    fs::remove_dir(&new).unwrap();
    let index = open(directory.path(), &later());
    assert_eq!(index.repulls(), 3);
    assert!(before != fs::read(&path).unwrap());
    drop(index);
    assert_eq!(open(directory.path(), &later()).repulls(), 3);
}

/// Programs of both versions do not have the file open at once.
#[test]
fn an_earlier_version_and_this_one_lock_each_other_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let earlier = make(&path, 2, &[], &[]);
    let error = error(directory.path());
    assert!(matches!(error, IndexError::InUse { .. }), "{error}");
    drop(earlier);
    let index = open(directory.path(), &later());
    let refused = Database::open(&path).map(drop).unwrap_err();
    assert!(matches!(refused, DatabaseError::DatabaseAlreadyOpen));
    drop(index);
}
