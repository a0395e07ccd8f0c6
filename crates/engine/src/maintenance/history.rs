//! The runs of policies, on disk: what each saw, did and left.
//!
//! One line of JSON for each run, in a file that anybody may read while it grows. A line that a
//! crash cut off at the end is dropped; a damaged line before that, or one of a version to come,
//! is a reason not to go on: what else is wrong with the file is not known.

mod record;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use reclaim_model::PolicyName;
use serde::Deserialize;

use super::outcome::{Outcome, PolicyRun, Trigger};
use record::VERSION;

pub use record::{FilesystemRecord, NamespaceRun, RunRecord};

/// How many runs are remembered at least.
const KEPT: usize = 1000;

const FILE: &str = "runs.jsonl";

/// Why the runs cannot be remembered.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read or written.
    #[error("{operation} `{}`", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A line is none of ours.
    #[error(
        "`{}` is damaged in line {line}: {problem}; move it away to begin anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is of a version to come.
    #[error("`{}` is of version {version}, and this program knows {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// The file of one state directory.
#[derive(Debug)]
pub struct RunHistory {
    path: PathBuf,
    runs: Mutex<Vec<RunRecord>>,
}

impl RunHistory {
    /// Reads the runs of a state directory, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// [`HistoryError`] if the file is there and not as it should be.
    pub fn open(directory: &Path) -> Result<Self, HistoryError> {
        fs::create_dir_all(directory).map_err(|source| HistoryError::Io {
            operation: "make",
            path: directory.to_owned(),
            source,
        })?;
        let history = Self {
            path: directory.join(FILE),
            runs: Mutex::default(),
        };
        let (runs, is_whole) = read(&history.path)?;
        if !is_whole || runs.len() > 2 * KEPT {
            history.rewrite(&runs)?;
        }
        *history.locked() = runs;
        Ok(history)
    }

    /// Reads the runs of a state directory without changing anything; none if there is no file.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn read(directory: &Path) -> Result<Vec<RunRecord>, HistoryError> {
        Ok(read(&directory.join(FILE))?.0)
    }

    /// Returns the runs, oldest first.
    pub fn runs(&self) -> Vec<RunRecord> {
        self.locked().clone()
    }

    /// Returns when a policy was last done with. To have it show what it would do is not that.
    pub fn last_end(&self, policy: &PolicyName) -> Option<Timestamp> {
        let runs = self.locked();
        let mut runs = runs.iter().rev();
        let is_rehearsal = |run: &RunRecord| run.trigger == Trigger::Demand && run.dry_run;
        let last = runs.find(|run| run.policy == policy.as_str() && !is_rehearsal(run));
        last.map(|run| run.ended)
    }

    /// Remembers a run. In memory it is remembered in any case. One that had nothing to do is
    /// not worth a line: it would soon be all that is remembered.
    ///
    /// # Errors
    ///
    /// If it cannot be written: a full disk, for one.
    pub fn add(&self, run: &PolicyRun) -> Result<(), HistoryError> {
        if run.outcome == Outcome::Nothing && run.reports.is_empty() {
            return Ok(());
        }
        let record = RunRecord::of(run);
        let mut runs = self.locked();
        runs.push(record.clone());
        if runs.len() > 2 * KEPT {
            let first = runs.len() - KEPT;
            runs.drain(..first);
            return self.rewrite(&runs);
        }
        drop(runs);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&self.path);
        file.and_then(|mut file| file.write_all(line(&record).as_bytes()))
            .map_err(|source| self.failed(source))
    }

    /// Replaces the file as a whole.
    fn rewrite(&self, runs: &[RunRecord]) -> Result<(), HistoryError> {
        let new = self.path.with_extension("new");
        let lines: String = runs.iter().map(line).collect();
        let replace = || {
            let mut file = File::create(&new)?;
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        replace().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> HistoryError {
        HistoryError::Io {
            operation: "write",
            path: self.path.clone(),
            source,
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<RunRecord>> {
        // The list is changed in one step each.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(record: &RunRecord) -> String {
    let json = serde_json::to_string(record).expect("a record has a form in JSON");
    format!("{json}\n")
}

/// Reads a file, and says whether it ends with a whole line.
fn read(path: &Path) -> Result<(Vec<RunRecord>, bool), HistoryError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }

    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), true)),
        Err(source) => {
            return Err(HistoryError::Io {
                operation: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    let is_whole = text.is_empty() || text.ends_with('\n');
    let n_lines = text.lines().count();
    let mut runs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if !is_whole && index + 1 == n_lines {
            break;
        }
        let damaged = |error: serde_json::Error| HistoryError::Damaged {
            path: path.to_owned(),
            line: index + 1,
            problem: error.to_string(),
        };
        let Versioned { version } = serde_json::from_str(line).map_err(damaged)?;
        if version > VERSION {
            let path = path.to_owned();
            return Err(HistoryError::Version { path, version });
        }
        runs.push(serde_json::from_str(line).map_err(damaged)?);
    }
    Ok((runs, is_whole))
}

#[cfg(test)]
mod tests {
    use reclaim_model::Mode;

    use super::*;

    fn run(second: i64) -> PolicyRun {
        let moment = Timestamp::from_second(second).unwrap();
        PolicyRun {
            outcome: Outcome::Done,
            ..PolicyRun::begun("p".parse().unwrap(), Trigger::Schedule, Mode::Apply, moment)
        }
    }

    #[test]
    fn remembers_runs_across_restarts_and_forgets_the_oldest() {
        let directory = tempfile::tempdir().unwrap();
        let history = RunHistory::open(directory.path()).unwrap();
        for second in 0..=2 * i64::try_from(KEPT).unwrap() {
            history.add(&run(second)).unwrap();
        }
        assert_eq!(history.runs().len(), KEPT);
        let again = RunHistory::open(directory.path()).unwrap();
        assert_eq!(again.runs(), history.runs());
        let last = again.last_end(&"p".parse().unwrap()).unwrap();
        assert_eq!(last.as_second(), 2 * i64::try_from(KEPT).unwrap());
        assert_eq!(again.last_end(&"q".parse().unwrap()), None);
    }

    #[test]
    fn showing_what_it_would_do_is_no_end() {
        let directory = tempfile::tempdir().unwrap();
        let history = RunHistory::open(directory.path()).unwrap();
        history.add(&run(1)).unwrap();
        let rehearsal = PolicyRun {
            trigger: Trigger::Demand,
            mode: Mode::DryRun,
            ..run(2)
        };
        assert!(rehearsal.is_rehearsal());
        history.add(&rehearsal).unwrap();
        let last = || history.last_end(&"p".parse().unwrap()).unwrap().as_second();
        assert_eq!((history.runs().len(), last()), (2, 1));
        // A policy that never does more is done with all the same.
        let by_schedule = PolicyRun {
            mode: Mode::DryRun,
            ..run(3)
        };
        history.add(&by_schedule).unwrap();
        assert_eq!(last(), 3);
    }

    #[test]
    fn a_line_cut_off_at_the_end_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        RunHistory::open(directory.path())
            .unwrap()
            .add(&run(1))
            .unwrap();
        let path = directory.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
        let history = RunHistory::open(directory.path()).unwrap();
        assert_eq!(history.runs().len(), 1);
        history.add(&run(2)).unwrap();
        assert_eq!(RunHistory::open(directory.path()).unwrap().runs().len(), 2);
    }

    #[test]
    fn what_is_damaged_or_newer_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for (text, words) in [
            (
                "{\"version\":2}\n",
                "is of version 2, and this program knows 1",
            ),
            ("{\"version\":1}\n", "is damaged in line 1"),
            ("no JSON\n{}\n", "is damaged in line 1"),
        ] {
            fs::write(&path, text).unwrap();
            let error = RunHistory::open(directory.path()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
