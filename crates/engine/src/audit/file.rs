//! The file of the records: lines of JSON that the daemon and commands without it append to, each under a
//! lock. It is bounded by size and by age.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    AuditOutcome, AuditQuery, AuditQueryError, AuditRecord, AuditRecords, AuditRequest,
    TimeContext, Versioned,
};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use crate::state;

const FILE: &str = "audit.jsonl";

const LOCK: &str = "audit.lock";

/// How often the lock is tried, with a pause in between: other processes hold it for an instant.
const TRIES: u32 = 40;

const PAUSE: Duration = Duration::from_millis(50);

/// How much the audit keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLimits {
    /// The largest size of the file, in bytes. The last record stays, whatever its length.
    pub max_bytes: u64,
    /// The largest age of a record.
    pub max_age: Duration,
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 20,
            max_age: Duration::from_secs(90 * 24 * 60 * 60),
        }
    }
}

/// The records of a state directory.
#[derive(Debug, Clone)]
pub struct AuditLog {
    directory: PathBuf,
    limits: AuditLimits,
}

/// Why there are no records to show.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The query means nothing.
    #[error(transparent)]
    Query(#[from] AuditQueryError),
}

impl AuditLog {
    /// Keeps records in this directory, which must exist when a record is written.
    pub fn new(directory: &Path, limits: AuditLimits) -> Self {
        let directory = directory.to_owned();
        Self { directory, limits }
    }

    /// Adds a record. Blocks until it is on disk.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or other processes hold the lock for too long.
    pub fn add(&self, record: &AuditRecord) -> io::Result<()> {
        let path = self.directory.join(FILE);
        let lock = state::open(&self.directory.join(LOCK));
        let lock = lock.inspect_err(|_| state::count_failed_write())?;
        let mut tries = 0;
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            tries += 1;
            if error != rustix::io::Errno::WOULDBLOCK || tries == TRIES {
                return Err(error.into());
            }
            std::thread::sleep(PAUSE);
        }
        state::append_line(&path, line(record).as_bytes())?;
        let now = record.ended.unwrap_or(record.began);
        if fs::metadata(&path)?.len() > self.limits.max_bytes || self.is_old(&path, now) {
            self.shorten(&path, now)?;
        }
        Ok(())
    }

    /// Reads the records of a state directory, oldest first. Without a file the list is empty.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn read(directory: &Path) -> io::Result<AuditRecords> {
        match fs::read(directory.join(FILE)) {
            Ok(bytes) => Ok(parse(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(AuditRecords::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads the records of a state directory that a query asks for, by the clock and the time zone of
    /// this host.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the query means nothing.
    pub fn find(directory: &Path, query: &AuditQuery) -> Result<AuditRecords, AuditError> {
        let now = reclaim_store::now();
        let context = TimeContext {
            now,
            offset: TimeZone::system().to_offset(now),
        };
        let records = Self::read(directory).map_err(|source| AuditError::Read {
            path: directory.join(FILE),
            source,
        })?;
        Ok(records.matching(query, &context)?)
    }

    /// Returns the state directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn oldest(&self, now: Timestamp) -> Timestamp {
        let age = SignedDuration::try_from(self.limits.max_age).unwrap_or(SignedDuration::MAX);
        now.checked_sub(age).unwrap_or(Timestamp::MIN)
    }

    /// Whether the first record is too old.
    fn is_old(&self, path: &Path, now: Timestamp) -> bool {
        #[derive(Deserialize)]
        struct Began {
            began: Timestamp,
        }

        let mut line = String::new();
        let read = fs::File::open(path).and_then(|file| BufReader::new(file).read_line(&mut line));
        let first: Option<Began> = read.ok().and_then(|_| serde_json::from_str(&line).ok());
        first.is_some_and(|first| first.began < self.oldest(now))
    }

    /// Drops records that are too old, and the oldest until half of the size is free. Registrations of
    /// containers go first: an engine may make thousands, which would displace the removals of images.
    fn shorten(&self, path: &Path, now: Timestamp) -> io::Result<()> {
        let records = parse(&fs::read(path)?).records;
        let oldest = self.oldest(now);
        let young = records.iter().filter(|record| record.began >= oldest);
        let mut lines: Vec<(bool, String)> = young
            .map(|record| {
                let is_registration = matches!(record.request, AuditRequest::Containers { .. });
                (is_registration, line(record))
            })
            .collect();
        let mut bytes: u64 = lines.iter().map(|(_, line)| line.len() as u64).sum();
        let last = lines.len().saturating_sub(1);
        if bytes > self.limits.max_bytes {
            for is_dropped in [true, false] {
                for (is_registration, line) in &mut lines[..last] {
                    if bytes > self.limits.max_bytes / 2 && *is_registration == is_dropped {
                        bytes -= line.len() as u64;
                        line.clear();
                    }
                }
            }
        }
        let left: String = lines.into_iter().map(|(_, line)| line).collect();
        state::replace(path, left.as_bytes())
    }
}

fn line(record: &AuditRecord) -> String {
    let json = serde_json::to_string(&Versioned::new(record));
    format!("{}\n", json.expect("a record serializes to JSON"))
}

/// Reads whole lines. The end of a run replaces its beginning.
fn parse(bytes: &[u8]) -> AuditRecords {
    let mut found = AuditRecords::default();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    for line in bytes[..whole].split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice::<Versioned<AuditRecord>>(line) {
            Ok(Versioned { version: 1, value }) => found.records.push(value),
            Ok(_) | Err(_) => found.unreadable += 1,
        }
    }
    let is_end = |record: &&AuditRecord| record.outcome != AuditOutcome::Begun;
    let ended: BTreeSet<(String, &'static str)> = found
        .records
        .iter()
        .filter(is_end)
        .map(|record| (record.run.0.clone(), record.request.word()))
        .collect();
    found.records.retain(|record| {
        record.outcome != AuditOutcome::Begun
            || !ended.contains(&(record.run.0.clone(), record.request.word()))
    });
    found.records.sort_by_key(|record| record.began);
    found
}

#[cfg(test)]
mod tests {
    use reclaim_model::{Caller, EntryPoint, RunId};

    use super::*;

    fn record(run: &str, second: i64) -> AuditRecord {
        AuditRecord::begun(
            RunId(run.to_owned()),
            Caller::new(EntryPoint::Json),
            "default".parse().unwrap(),
            AuditRequest::Release { run: None },
            Timestamp::from_second(second).unwrap(),
        )
    }

    fn ended(run: &str, second: i64) -> AuditRecord {
        AuditRecord {
            ended: Some(Timestamp::from_second(second).unwrap()),
            outcome: AuditOutcome::Done,
            ..record(run, second)
        }
    }

    fn runs(directory: &Path) -> Vec<String> {
        let records = AuditLog::read(directory).unwrap().records;
        records.into_iter().map(|record| record.run.0).collect()
    }

    #[test]
    fn the_end_of_a_run_replaces_its_beginning_and_one_cut_off_stays() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::new(directory.path(), AuditLimits::default());
        for record in [record("a", 1), record("b", 2), ended("a", 1)] {
            log.add(&record).unwrap();
        }
        let records = AuditLog::read(directory.path()).unwrap().records;
        let outcomes: Vec<_> = records.iter().map(|record| record.outcome).collect();
        assert_eq!(runs(directory.path()), ["a", "b"]);
        assert_eq!(outcomes, [AuditOutcome::Done, AuditOutcome::Begun]);
    }

    #[test]
    fn the_file_is_bounded_by_size_and_by_age() {
        let directory = tempfile::tempdir().unwrap();
        let limits = AuditLimits {
            max_bytes: 4096,
            max_age: Duration::from_secs(1000),
        };
        let log = AuditLog::new(directory.path(), limits);
        for second in 0..100 {
            log.add(&ended(&second.to_string(), second)).unwrap();
            let length = fs::metadata(directory.path().join(FILE)).unwrap().len();
            assert!(length <= limits.max_bytes, "{length}");
            assert_eq!(runs(directory.path()).last(), Some(&second.to_string()));
        }
        assert!(runs(directory.path()).len() > 5);
        log.add(&ended("late", 1050)).unwrap();
        let left = runs(directory.path());
        let young = |run: &String| run == "late" || run.parse::<i64>().unwrap() >= 50;
        assert!(left.iter().all(young), "{left:?}");
        log.add(&ended("later", 10_000)).unwrap();
        assert_eq!(runs(directory.path()), ["later"]);
    }

    #[test]
    fn registrations_displace_no_other_records() {
        let directory = tempfile::tempdir().unwrap();
        let limits = AuditLimits {
            max_bytes: 4096,
            ..AuditLimits::default()
        };
        let log = AuditLog::new(directory.path(), limits);
        log.add(&ended("removal", 0)).unwrap();
        for second in 1..100 {
            let request = AuditRequest::Containers {
                owner: "engine".to_owned(),
                added: vec![second.to_string()],
                removed: Vec::new(),
            };
            let record = AuditRecord {
                request,
                ..ended(&second.to_string(), second)
            };
            log.add(&record).unwrap();
        }
        let left = runs(directory.path());
        assert_eq!(left.first().map(String::as_str), Some("removal"));
        assert_eq!(left.last().map(String::as_str), Some("99"));
        assert!((5..50).contains(&left.len()), "{left:?}");
    }

    #[test]
    fn torn_and_unknown_lines_hide_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::new(directory.path(), AuditLimits::default());
        log.add(&ended("a", 1)).unwrap();
        let path = directory.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        let newer = whole.replace("\"version\":1", "\"version\":2");
        fs::write(&path, format!("{whole}no JSON\n{newer}{}", &whole[..40])).unwrap();
        let read = AuditLog::read(directory.path()).unwrap();
        assert_eq!((read.records.len(), read.unreadable), (1, 2));
        log.add(&ended("b", 2)).unwrap();
        assert_eq!(runs(directory.path()), ["a", "b"]);
    }

    #[test]
    fn several_processes_write_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let limits = AuditLimits {
            max_bytes: 1 << 20,
            ..AuditLimits::default()
        };
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let log = AuditLog::new(directory.path(), limits);
                scope.spawn(move || {
                    for number in 0..20 {
                        log.add(&ended(&format!("{writer}-{number}"), number))
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(runs(directory.path()).len(), 80);
    }
}
