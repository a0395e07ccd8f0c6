//! The history of policy runs, on disk.
//!
//! One line of JSON for each run, in a file that can be read while it grows. An incomplete last
//! line, from a crash or a full disk, is dropped. If another line is damaged, the file is set aside
//! and the good lines move to a new one. Only a newer version of the file is an error.

mod record;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use reclaim_engine::state;
use reclaim_model::{PolicyName, chain};
use serde::Deserialize;
use tracing::warn;

use crate::policy_run::{PolicyRun, Trigger};
use record::VERSION;

pub use record::{FilesystemRecord, NamespaceRun, RunRecord};

/// How many runs are kept at least.
const KEPT: usize = 1000;

const FILE: &str = "runs.jsonl";

/// The file with the last run alone, for units of systemd that wait for a change.
const LAST: &str = "last-run.json";

/// Why the history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read or written.
    #[error("{operation} `{}`", path.display())]
    Io {
        /// What failed.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A newer program wrote the file.
    #[error("`{}` is of version {version}, and this program knows {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// The policy runs of one state directory.
#[derive(Debug)]
pub struct RunHistory {
    path: PathBuf,
    // LOCK ORDER: the file, then the runs, so that no reader waits for the disk.
    file: Mutex<()>,
    runs: Mutex<Vec<RunRecord>>,
}

impl RunHistory {
    /// Reads the runs of a state directory, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// [`HistoryError`] if the file cannot be read, or is of a newer version. A full disk is not an
    /// error: the next run is written once there is room.
    pub fn open(directory: &Path) -> Result<Self, HistoryError> {
        match state::make_directory(directory) {
            Err(error) if !state::is_full(&error) => {
                return Err(HistoryError::Io {
                    operation: "make",
                    path: directory.to_owned(),
                    source: error,
                });
            }
            Ok(()) | Err(_) => {}
        }
        let history = Self {
            path: directory.join(FILE),
            file: Mutex::default(),
            runs: Mutex::default(),
        };
        let Lines { runs, damage } = read(&history.path)?;
        if let Err(error) = history.settle(&runs, damage.as_deref()) {
            warn!(
                error = chain(&error),
                "cannot write the history of policy runs; retrying with the next run"
            );
        }
        *history.locked() = runs;
        Ok(history)
    }

    /// Sets a damaged file aside, and shortens a long one.
    fn settle(&self, runs: &[RunRecord], damage: Option<&str>) -> Result<(), HistoryError> {
        match damage {
            Some(problem) => {
                let lines: String = runs.iter().map(line).collect();
                let replaced = state::replace_damaged(&self.path, problem, lines.as_bytes());
                replaced.map_err(|source| self.failed(source))
            }
            None if runs.len() > 2 * KEPT => self.rewrite(runs),
            None => Ok(()),
        }
    }

    /// Reads the runs of a state directory and changes nothing. Without a file there are none.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn read(directory: &Path) -> Result<Vec<RunRecord>, HistoryError> {
        Ok(read(&directory.join(FILE))?.runs)
    }

    /// Returns the runs, oldest first.
    pub fn runs(&self) -> Vec<RunRecord> {
        self.locked().clone()
    }

    /// Returns when a policy last ended. Requested dry runs do not count.
    pub fn last_end(&self, policy: &PolicyName) -> Option<Timestamp> {
        let runs = self.locked();
        let mut runs = runs.iter().rev();
        let is_rehearsal = |run: &RunRecord| run.trigger == Trigger::Demand && run.dry_run;
        let last = runs.find(|run| run.policy == policy.as_str() && !is_rehearsal(run));
        last.map(|run| run.ended)
    }

    /// Adds a run, unless it had nothing to do, and replaces the file of the last run.
    ///
    /// It blocks until the run is on disk. After an error the run is in memory only.
    ///
    /// # Errors
    ///
    /// If it cannot be written, for example to a full disk.
    pub fn add(&self, run: &PolicyRun) -> Result<(), HistoryError> {
        let Some(record) = run.record() else {
            return Ok(());
        };
        let line = line(&record);
        // It keeps the lines in the order of the runs.
        let _file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let shortened = {
            let mut runs = self.locked();
            runs.push(record);
            let is_long = runs.len() > 2 * KEPT;
            is_long.then(|| {
                let first = runs.len() - KEPT;
                runs.drain(..first);
                runs.clone()
            })
        };
        let written = match shortened {
            Some(runs) => self.rewrite(&runs),
            None => state::append_line(&self.path, line.as_bytes())
                .map_err(|source| self.failed(source)),
        };
        // Last, because units of systemd start when it changes.
        let last = self.path.with_file_name(LAST);
        let replaced = state::replace(&last, line.as_bytes());
        written.and(replaced.map_err(|source| HistoryError::Io {
            operation: "write",
            path: last,
            source,
        }))
    }

    /// Replaces the file as a whole.
    fn rewrite(&self, runs: &[RunRecord]) -> Result<(), HistoryError> {
        let lines: String = runs.iter().map(line).collect();
        state::replace(&self.path, lines.as_bytes()).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> HistoryError {
        HistoryError::Io {
            operation: "write",
            path: self.path.clone(),
            source,
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<RunRecord>> {
        // Every change of the list is a single step.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(record: &RunRecord) -> String {
    let json = serde_json::to_string(record).expect("a record serializes to JSON");
    format!("{json}\n")
}

/// The contents of a file.
#[derive(Debug, Default)]
struct Lines {
    runs: Vec<RunRecord>,
    /// What is wrong with the first damaged line, if any.
    damage: Option<String>,
}

/// Reads a file, without an incomplete last line.
fn read(path: &Path) -> Result<Lines, HistoryError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }

    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lines::default()),
        Err(source) => {
            return Err(HistoryError::Io {
                operation: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut found = Lines::default();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    for (index, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
        if whole == 0 {
            break;
        }
        let versioned = serde_json::from_slice(line);
        if let Ok(Versioned { version }) = versioned
            && version > VERSION
        {
            let path = path.to_owned();
            return Err(HistoryError::Version { path, version });
        }
        match serde_json::from_slice(line) {
            Ok(run) => found.runs.push(run),
            Err(error) => {
                let problem = || format!("line {}: {error}", index + 1);
                found.damage.get_or_insert_with(problem);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use reclaim_model::Mode;

    use super::*;
    use crate::policy_run::PolicyOutcome;

    fn run(second: i64) -> PolicyRun {
        let moment = Timestamp::from_second(second).unwrap();
        PolicyRun {
            outcome: PolicyOutcome::Done,
            ..PolicyRun::begun("p".parse().unwrap(), Trigger::Schedule, Mode::Apply, moment)
        }
    }

    #[test]
    fn keeps_runs_across_restarts_and_drops_the_oldest() {
        let directory = tempfile::tempdir().unwrap();
        let history = RunHistory::open(directory.path()).unwrap();
        for second in 0..=2 * i64::try_from(KEPT).unwrap() {
            history.add(&run(second)).unwrap();
        }
        assert_eq!(history.runs().len(), KEPT);
        let last = fs::read(directory.path().join(LAST)).unwrap();
        let last: RunRecord = serde_json::from_slice(&last).unwrap();
        assert_eq!(Some(&last), history.runs().last());
        let again = RunHistory::open(directory.path()).unwrap();
        assert_eq!(again.runs(), history.runs());
        let last = again.last_end(&"p".parse().unwrap()).unwrap();
        assert_eq!(last.as_second(), 2 * i64::try_from(KEPT).unwrap());
        assert_eq!(again.last_end(&"q".parse().unwrap()), None);
    }

    #[test]
    fn a_requested_dry_run_does_not_count_as_an_end() {
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
        // A scheduled dry run counts.
        let by_schedule = PolicyRun {
            mode: Mode::DryRun,
            ..run(3)
        };
        history.add(&by_schedule).unwrap();
        assert_eq!(last(), 3);
    }

    #[test]
    fn an_incomplete_last_line_is_dropped() {
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
    fn a_damaged_file_is_set_aside_and_its_good_lines_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let history = RunHistory::open(directory.path()).unwrap();
        for second in [1, 2] {
            history.add(&run(second)).unwrap();
        }
        let path = directory.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        let half = whole.len() / 2;
        for damage in [
            &whole[..half / 2],
            b"no JSON\n",
            b"{\"version\":1}\n",
            b"\xff\0\n",
        ] {
            fs::write(&path, [damage, &whole].concat()).unwrap();
            let read = RunHistory::read(directory.path()).unwrap();
            let history = RunHistory::open(directory.path()).unwrap();
            assert_eq!(history.runs(), read);
            // The damage without a newline spoils the line after it.
            let n_lost = usize::from(!damage.ends_with(b"\n"));
            assert_eq!(read.len(), 2 - n_lost);
            history.add(&run(3)).unwrap();
            let again = RunHistory::open(directory.path()).unwrap();
            assert_eq!(again.runs(), history.runs());
            let entries = fs::read_dir(directory.path()).unwrap();
            let paths = entries.map(|it| it.unwrap().path());
            let is_aside = |it: &PathBuf| it.to_str().unwrap().contains("runs.jsonl.damaged-");
            let aside: Vec<PathBuf> = paths.filter(is_aside).collect();
            assert_eq!(fs::read(&aside[0]).unwrap(), [damage, &whole].concat());
            fs::remove_file(&aside[0]).unwrap();
        }
    }

    /// A line of an earlier version, from before the crates were divided.
    #[test]
    fn reads_the_lines_of_an_earlier_version() {
        const LINE: &str = concat!(
            r#"{"version":1,"policy":"pressure","trigger":"schedule","dry_run":false,"#,
            r#""outcome":"unmet","began":"2026-01-02T03:04:05.123456789Z","#,
            r#""ended":"2026-01-02T03:05:00Z","filesystems":[{"mount_point":"/var/lib","#,
            r#""total_bytes":1000,"left_bytes_before":10,"left_bytes_after":60,"#,
            r#""left_inodes_before":7,"left_inodes_after":8}],"#,
            r#""wanted":["90B on `/var/lib`"],"missing":["40B on `/var/lib`"],"#,
            r#""released":["019aa6f0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"],"#,
            r#""runs":[{"namespace":"default","run":"019aa6f1-1c2d-7e3f-8a4b-5c6d7e8f9a0b","#,
            r#""removed":3,"kept":4,"refused":1,"failed":2,"estimate_bytes":55,"#,
            r#""reclaimed_bytes":50,"held_until":"2026-01-02T04:04:05Z"}],"error":"no space"}"#,
            "\n",
        );
        const FIRST: &str = concat!(
            r#"{"version":1,"policy":"nightly","trigger":"demand","dry_run":true,"#,
            r#""outcome":"done","began":"2026-01-01T00:00:00Z","ended":"2026-01-01T00:00:01Z","#,
            r#""filesystems":[],"wanted":[],"missing":[],"released":[],"runs":[],"error":null}"#,
            "\n",
        );
        let moment = |text: &str| text.parse::<Timestamp>().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let text = format!("{FIRST}{LINE}");
        fs::write(&path, &text).unwrap();
        let history = RunHistory::open(directory.path()).unwrap();
        let runs = history.runs();
        assert_eq!(
            (runs.len(), runs[0].trigger, runs[0].outcome),
            (2, Trigger::Demand, PolicyOutcome::Done)
        );
        let expected = RunRecord {
            version: 1,
            policy: "pressure".to_owned(),
            trigger: Trigger::Schedule,
            caller: None,
            dry_run: false,
            outcome: PolicyOutcome::Unmet,
            began: moment("2026-01-02T03:04:05.123456789Z"),
            ended: moment("2026-01-02T03:05:00Z"),
            filesystems: vec![FilesystemRecord {
                mount_point: "/var/lib".into(),
                total_bytes: 1000,
                left_bytes_before: 10,
                left_bytes_after: 60,
                left_inodes_before: 7,
                left_inodes_after: 8,
            }],
            wanted: vec!["90B on `/var/lib`".to_owned()],
            missing: vec!["40B on `/var/lib`".to_owned()],
            not_yet_visible: Vec::new(),
            released: vec!["019aa6f0-1c2d-7e3f-8a4b-5c6d7e8f9a0b".to_owned()],
            runs: vec![NamespaceRun {
                namespace: "default".to_owned(),
                run: "019aa6f1-1c2d-7e3f-8a4b-5c6d7e8f9a0b".to_owned(),
                removed: 3,
                kept: 4,
                refused: 1,
                failed: 2,
                estimate_bytes: 55,
                reclaimed_bytes: 50,
                held_until: Some(moment("2026-01-02T04:04:05Z")),
                images: Vec::new(),
                part: None,
                slimmed: 0,
            }],
            error: Some("no space".to_owned()),
        };
        assert_eq!(runs[1], expected);
        assert_eq!(line(&expected), LINE, "the form is unchanged");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            text,
            "nothing is set aside"
        );
        for outcome in PolicyOutcome::ALL {
            let other = LINE.replace("unmet", outcome.word());
            fs::write(&path, other).unwrap();
            let runs = RunHistory::read(directory.path()).unwrap();
            assert_eq!(runs[0].outcome, outcome);
        }
    }

    #[test]
    fn a_newer_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let text = "no JSON\n{\"version\":2}\n";
        fs::write(&path, text).unwrap();
        let error = RunHistory::open(directory.path()).unwrap_err().to_string();
        let expected = "is of version 2, and this program knows 1";
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
