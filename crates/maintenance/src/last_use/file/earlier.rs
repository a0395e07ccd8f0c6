//! Reads files that earlier versions wrote with redb 2. Later versions of redb encode tuples in another way,
//! and do not open tables with the keys of these files.

use redb_2::backends::InMemoryBackend;
use redb_2::{Database, Error, ReadableTable, StorageBackend, TableDefinition};
use serde::de::DeserializeOwned;

use super::tables::{
    CACHE, Contents, HOLDS_KEY, REPULLS_KEY, Row, TIME_KEY, Trouble, VERSION_KEY,
    WALL_CLOCK_VERSION, checked, guarded, missing, parsed, row,
};

type Rows = TableDefinition<'static, (&'static str, &'static str), &'static [u8]>;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
const TARGETS: Rows = TableDefinition::new("targets");
const REMOVALS: Rows = TableDefinition::new("removals");

/// Reads the bytes of a file.
pub(super) fn contents(bytes: &[u8]) -> Result<Contents, Trouble> {
    let copy = InMemoryBackend::new();
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    copy.set_len(length)
        .and_then(|()| copy.write(0, bytes))
        .map_err(|error| Trouble::Io("read", error))?;
    guarded(|| {
        let mut builder = Database::builder();
        let database = builder.set_cache_size(CACHE).create_with_backend(copy);
        let mut database = database.map_err(damaged)?;
        if !database.check_integrity().map_err(damaged)? {
            return Err(Trouble::Damaged("its checksums do not match".to_owned()));
        }
        tables(&database)
    })
}

fn tables(database: &Database) -> Result<Contents, Trouble> {
    let reading = database.begin_read().map_err(damaged)?;
    let meta = reading.open_table(META).map_err(damaged)?;
    let number = |key: &str| {
        let found = meta.get(key).map_err(damaged)?;
        found.map(|it| it.value()).ok_or_else(|| missing(key))
    };
    let version = checked(number(VERSION_KEY)?)?;
    let mut contents = Contents {
        repulls: number(REPULLS_KEY)?,
        targets: rows(&reading.open_table(TARGETS).map_err(damaged)?)?,
        removals: rows(&reading.open_table(REMOVALS).map_err(damaged)?)?,
        ..Contents::default()
    };
    if version > WALL_CLOCK_VERSION {
        let state = reading.open_table(STATE).map_err(damaged)?;
        if let Some(time) = state.get(TIME_KEY).map_err(damaged)? {
            contents.time = Some(parsed(TIME_KEY, time.value())?);
        }
        if let Some(holds) = state.get(HOLDS_KEY).map_err(damaged)? {
            contents.holds = parsed(HOLDS_KEY, holds.value())?;
        }
    }
    Ok(contents)
}

fn rows<T: DeserializeOwned>(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
) -> Result<Vec<Row<T>>, Trouble> {
    let rows = table.iter().map_err(damaged)?.map(|entry| {
        let (key, value) = entry.map_err(damaged)?;
        row(key.value(), value.value())
    });
    rows.collect()
}

/// The bytes are in memory, so an error is one of the file.
fn damaged(error: impl Into<Error>) -> Trouble {
    Trouble::Damaged(error.into().to_string())
}
