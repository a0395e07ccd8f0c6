//! The audit: one line in the log and one record on disk for each run that changes something.
//!
//! The records are lines of JSON in a file that the daemon and commands without it append to, each
//! under a lock. A run writes one line before its first change and one at its end, which replaces the
//! first when the file is read. So a run that was cut off has a record, too. The file is bounded by size and
//! by age. A record that cannot be written is a warning: no run waits or fails for it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    AuditImage, AuditOutcome, AuditQuery, AuditQueryError, AuditRecord, AuditRecords, AuditRequest,
    Caller, Digest, EntryPoint, ImageChange, Namespace, PolicyName, Report, RunId, TimeContext,
    Versioned, chain,
};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::controls::this_process;
use crate::engine::Engine;
use crate::error::RunError;
use crate::off_thread::blocking;
use crate::state;

const FILE: &str = "audit.jsonl";

const LOCK: &str = "audit.lock";

/// How often the lock is tried, with a pause in between: other processes hold it for an instant.
const TRIES: u32 = 40;

const PAUSE: Duration = Duration::from_millis(50);

/// How long a run waits for its record: a disk can hang.
const PATIENCE: Duration = Duration::from_secs(5);

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

/// A run that is about to change something.
#[derive(Debug)]
pub(crate) struct Audited {
    /// Boxed, because it is in the future of each run.
    record: Box<AuditRecord>,
    is_begun: AtomicBool,
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

    /// Drops records that are too old, and the oldest until half of the size is free.
    fn shorten(&self, path: &Path, now: Timestamp) -> io::Result<()> {
        let records = parse(&fs::read(path)?).records;
        let oldest = self.oldest(now);
        let young = records.iter().filter(|record| record.began >= oldest);
        let lines: Vec<String> = young.map(line).collect();
        let mut bytes: u64 = lines.iter().map(|line| line.len() as u64).sum();
        let is_long = bytes > self.limits.max_bytes;
        let mut first = 0;
        while is_long && bytes > self.limits.max_bytes / 2 && first + 1 < lines.len() {
            bytes -= lines[first].len() as u64;
            first += 1;
        }
        state::replace(path, lines[first..].concat().as_bytes())
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

impl Engine {
    /// Records in this directory what is changed, and on whose request. Without it, only the log has
    /// a line for each run.
    #[must_use]
    pub fn with_audit(self, log: AuditLog) -> Self {
        Self {
            audit: Some(Arc::new(log)),
            ..self
        }
    }

    /// Returns the records of what was changed, if there are any.
    pub fn audit(&self) -> Option<Arc<AuditLog>> {
        self.audit.clone()
    }

    /// Returns this engine for the requests of a caller. Without one, the caller is this process.
    #[must_use]
    pub fn called_by(&self, caller: Caller) -> Self {
        Self {
            caller: Some(Arc::new(caller)),
            ..self.clone()
        }
    }

    /// Returns whose requests the engine carries out.
    pub fn caller(&self) -> Caller {
        match &self.caller {
            Some(caller) => Caller::clone(caller),
            None => this_process(EntryPoint::Embedded),
        }
    }

    /// Returns a run that has not changed anything yet.
    pub(crate) fn audited(
        &self,
        run: &RunId,
        namespace: &Namespace,
        request: AuditRequest,
    ) -> Audited {
        let (caller, now) = (self.caller(), self.store.now());
        let record = AuditRecord::begun(run.clone(), caller, namespace.clone(), request, now);
        Audited {
            record: Box::new(record),
            is_begun: AtomicBool::new(false),
        }
    }

    /// Records that a run is about to make its first change.
    pub(crate) async fn audit_begin(&self, audited: &Audited) {
        if !audited.is_begun.swap(true, Ordering::Relaxed) {
            self.write_record(audited.record.clone()).await;
        }
    }

    /// Records the end of a run, if it has begun.
    pub(crate) async fn audit_end(&self, audited: Audited, finish: impl FnOnce(&mut AuditRecord)) {
        let Audited {
            mut record,
            is_begun,
        } = audited;
        if !is_begun.into_inner() {
            return;
        }
        record.ended = Some(self.store.now());
        record.outcome = AuditOutcome::Done;
        finish(&mut record);
        log(&record);
        self.write_record(record).await;
    }

    async fn write_record(&self, record: Box<AuditRecord>) {
        let Some(audit) = self.audit.clone() else {
            return;
        };
        let run = record.run.clone();
        let writing = blocking(move || {
            if let Err(error) = audit.add(&record) {
                let is_closed = error.kind() == ErrorKind::PermissionDenied
                    && !rustix::process::geteuid().is_root();
                let error = chain(&error);
                if is_closed {
                    info!(run = %record.run, %error, "cannot record the run: another user's state");
                } else {
                    warn!(run = %record.run, %error, "cannot record the run for `reclaim history`");
                }
            }
        });
        if timeout(PATIENCE, writing).await.is_err() {
            warn!(%run, "recording the run takes too long; continuing without waiting for it");
        }
    }
}

/// Writes the line of a run to the log.
fn log(record: &AuditRecord) {
    let Caller {
        entry_point,
        peer,
        policy,
        user_agent,
    } = &record.caller;
    let process = peer.process.as_ref();
    let certificate = peer.certificate.as_ref();
    info!(
        target: "audit",
        run = %record.run,
        request = record.request.word(),
        outcome = record.outcome.word(),
        namespace = %record.namespace,
        changed = record.changed,
        reclaimed_bytes = record.reclaimed_bytes,
        entry_point = entry_point.word(),
        uid = process.map(|process| process.uid),
        pid = process.and_then(|process| process.pid),
        command = process.and_then(|process| process.command.as_deref()),
        certificate = certificate.map(|certificate| certificate.subject.as_str()),
        host = peer.host.map(|host| host.to_string()),
        policy = policy.as_ref().map(PolicyName::as_str),
        user_agent = user_agent.as_deref(),
        error = record.error.as_deref(),
        "run ended"
    );
}

/// Enters the report of a prune.
pub(crate) fn enter_report(record: &mut AuditRecord, done: &Result<Report, RunError>) {
    let report = match done {
        Ok(report) => report,
        Err(error) => return enter_error(record, error),
    };
    if report.is_partial() {
        record.outcome = AuditOutcome::Partial;
    }
    if let Some(unfinished) = &report.unfinished {
        record.set_error(unfinished);
    }
    record.reclaimed_bytes = report.reclaimed.0.total_bytes();
    record.held_until = report.held_until;
    record.set_images(report.removed.iter().map(|image| AuditImage {
        name: image.name.clone(),
        digest: Some(image.target.clone()),
        change: ImageChange::Removed,
        reason: Some(image.reason),
        bytes: report.content_bytes.get(&image.target).copied(),
    }));
}

/// Enters why a run failed.
pub(crate) fn enter_error(record: &mut AuditRecord, error: &RunError) {
    record.outcome = AuditOutcome::Failed;
    record.set_error(&chain(error));
}

/// Returns an image with its change, without a reason.
pub(crate) fn changed(name: &str, digest: Option<&Digest>, change: ImageChange) -> AuditImage {
    AuditImage {
        name: name.to_owned(),
        digest: digest.cloned(),
        change,
        reason: None,
        bytes: None,
    }
}

#[cfg(test)]
mod tests {
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
