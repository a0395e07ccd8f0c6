//! The tables of the file, which are read whole and written in part.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use reclaim_engine::state;
use reclaim_model::{Digest, Namespace};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::known::Entry;
use super::super::removals::Removal;
use super::super::state::Holds;
use crate::time::MonotonicTime;

/// The version of the tables.
pub(super) const VERSION: u64 = 2;

/// The version without monotonic time: its times are of the wall clock.
pub(super) const WALL_CLOCK_VERSION: u64 = 1;

/// How much of the file redb caches, in bytes. The index has all of it in memory.
pub(super) const CACHE: usize = 4 << 20;

/// The keys of the table `meta`.
pub(super) const VERSION_KEY: &str = "version";
pub(super) const REPULLS_KEY: &str = "repulls";

/// The keys of the table `state`.
pub(super) const TIME_KEY: &str = "time";
pub(super) const HOLDS_KEY: &str = "holds";

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
const TARGETS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("targets");
const REMOVALS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("removals");

/// A row of a table, by namespace and target; in a batch, `None` deletes it.
pub(in super::super) type Row<T> = ((Namespace, Digest), T);

/// The contents of a file.
#[derive(Debug, Default)]
pub(in super::super) struct Contents {
    pub(in super::super) repulls: u64,
    /// `None` in a file of version 1.
    pub(in super::super) time: Option<MonotonicTime>,
    pub(in super::super) holds: Holds,
    pub(in super::super) targets: Vec<Row<Entry>>,
    pub(in super::super) removals: Vec<Row<Removal>>,
}

/// The changes of one commit.
#[derive(Debug, Default)]
pub(in super::super) struct Batch {
    pub(in super::super) repulls: u64,
    pub(in super::super) time: Option<MonotonicTime>,
    pub(in super::super) holds: Holds,
    pub(in super::super) targets: Vec<Row<Option<Entry>>>,
    pub(in super::super) removals: Vec<Row<Option<Removal>>>,
}

impl Batch {
    /// Returns the changes that make a new file one with these contents.
    pub(super) fn of(contents: &Contents) -> Self {
        let Contents {
            repulls,
            time,
            holds,
            targets,
            removals,
        } = contents;
        Self {
            repulls: *repulls,
            time: time.clone(),
            holds: holds.clone(),
            targets: written(targets),
            removals: written(removals),
        }
    }
}

fn written<T: Clone>(rows: &[Row<T>]) -> Vec<Row<Option<T>>> {
    let rows = rows.iter();
    rows.map(|(key, value)| (key.clone(), Some(value.clone())))
        .collect()
}

/// Why the file cannot be used.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(&'static str, io::Error),
    InUse,
    Damaged(String),
    /// Written with a redb whose tables this one does not open.
    Earlier,
    Version(u64),
}

pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// Makes a file of our version.
pub(super) fn make(path: &Path, batch: &Batch) -> Result<Database, Trouble> {
    let making = |error| Trouble::Io("make", error);
    let file = state::open(path).map_err(making)?;
    file.set_len(0).map_err(making)?;
    let backend = FileBackend::new(file).map_err(self::database)?;
    let database = builder().create_with_backend(backend);
    let database = database.map_err(self::database)?;
    commit(&database, batch)?;
    Ok(database)
}

pub(super) fn contents(database: &Database) -> Result<Contents, Trouble> {
    let reading = database.begin_read().map_err(other)?;
    let meta = reading.open_table(META).map_err(other)?;
    let number = |key: &str| {
        let found = meta.get(key).map_err(other)?;
        found.map(|it| it.value()).ok_or_else(|| missing(key))
    };
    let version = checked(number(VERSION_KEY)?)?;
    let targets = match reading.open_table(TARGETS) {
        Err(TableError::TableTypeMismatch { .. }) => return Err(Trouble::Earlier),
        targets => targets.map_err(other)?,
    };
    let removals = reading.open_table(REMOVALS).map_err(other)?;
    let (mut time, mut holds) = (None, Holds::default());
    if version > WALL_CLOCK_VERSION {
        let state = reading.open_table(STATE).map_err(other)?;
        time = value(&state, TIME_KEY)?;
        holds = value(&state, HOLDS_KEY)?.unwrap_or_default();
    }
    Ok(Contents {
        repulls: number(REPULLS_KEY)?,
        time,
        holds,
        targets: rows(&targets)?,
        removals: rows(&removals)?,
    })
}

/// Returns the version of the tables if this program reads it.
pub(super) fn checked(version: u64) -> Result<u64, Trouble> {
    if version > VERSION {
        return Err(Trouble::Version(version));
    }
    if version < WALL_CLOCK_VERSION {
        return Err(Trouble::Damaged(format!(
            "version {version} does not exist"
        )));
    }
    Ok(version)
}

pub(super) fn missing(key: &str) -> Trouble {
    Trouble::Damaged(format!("no `{key}`"))
}

fn value<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<T>, Trouble> {
    let saved = table.get(key).map_err(other)?;
    saved.map(|saved| parsed(key, saved.value())).transpose()
}

pub(super) fn parsed<T: DeserializeOwned>(key: &str, saved: &[u8]) -> Result<T, Trouble> {
    let read = serde_json::from_slice(saved);
    read.map_err(|error| Trouble::Damaged(format!("`{key}`: {error}")))
}

fn rows<T: DeserializeOwned>(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
) -> Result<Vec<Row<T>>, Trouble> {
    let rows = table.iter().map_err(other)?.map(|entry| {
        let (key, value) = entry.map_err(other)?;
        row(key.value(), value.value())
    });
    rows.collect()
}

/// Parses a row, by its namespace and its target.
pub(super) fn row<T: DeserializeOwned>(
    (namespace, digest): (&str, &str),
    value: &[u8],
) -> Result<Row<T>, Trouble> {
    let damaged = |why: String| {
        let problem = format!("row `{digest}` of namespace `{namespace}`: {why}");
        Trouble::Damaged(problem)
    };
    let key = (
        namespace
            .parse()
            .map_err(|_| damaged("not a namespace".to_owned()))?,
        digest
            .parse()
            .map_err(|_| damaged("not a digest".to_owned()))?,
    );
    let value = serde_json::from_slice(value);
    Ok((key, value.map_err(|error| damaged(error.to_string()))?))
}

pub(super) fn commit(database: &Database, batch: &Batch) -> Result<(), Trouble> {
    let writing = database.begin_write().map_err(other)?;
    {
        let mut meta = writing.open_table(META).map_err(other)?;
        meta.insert(VERSION_KEY, VERSION).map_err(other)?;
        meta.insert(REPULLS_KEY, batch.repulls).map_err(other)?;
        let mut state = writing.open_table(STATE).map_err(other)?;
        if let Some(time) = &batch.time {
            let bytes = json(time)?;
            state.insert(TIME_KEY, bytes.as_slice()).map_err(other)?;
        }
        let bytes = json(&batch.holds)?;
        state.insert(HOLDS_KEY, bytes.as_slice()).map_err(other)?;
        let mut targets = writing.open_table(TARGETS).map_err(other)?;
        put(&mut targets, &batch.targets)?;
        let mut removals = writing.open_table(REMOVALS).map_err(other)?;
        put(&mut removals, &batch.removals)?;
    }
    writing.commit().map_err(other)
}

fn put<T: Serialize>(
    table: &mut redb::Table<'_, (&'static str, &'static str), &'static [u8]>,
    rows: &[Row<Option<T>>],
) -> Result<(), Trouble> {
    for ((namespace, digest), value) in rows {
        let digest = digest.to_string();
        let key = (namespace.as_str(), digest.as_str());
        match value {
            Some(value) => {
                table.insert(key, json(value)?.as_slice()).map_err(other)?;
            }
            None => drop(table.remove(key).map_err(other)?),
        }
    }
    Ok(())
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Trouble> {
    serde_json::to_vec(value).map_err(|error| Trouble::Io("write", error.into()))
}

/// Catches panics: redb takes some kinds of damage for a bug of its own.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(Trouble::Damaged("its structure is broken".to_owned())))
}

pub(super) fn database(error: DatabaseError) -> Trouble {
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return Trouble::InUse;
    }
    other(error)
}

fn other(error: impl Into<redb::Error>) -> Trouble {
    let error = error.into();
    let redb::Error::Io(error) = error else {
        return if matches!(error, redb::Error::PreviousIo) {
            Trouble::Io("write", io::Error::other(error.to_string()))
        } else {
            Trouble::Damaged(error.to_string())
        };
    };
    if matches!(
        error.kind(),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof
    ) {
        Trouble::Damaged(error.to_string())
    } else {
        Trouble::Io("write", error)
    }
}
