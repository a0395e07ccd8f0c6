//! Writes the timeline of one state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::state;
use reclaim_model::{Digest, Filesystem, Mode, Report};
use tracing::{debug, warn};

use super::current::Sighting;
use super::file::{self, FILE, Found, KEPT};
use super::{Current, ObjectKey, Observation, Timeline};
use crate::time::Moment;

/// The shortest time between two observations.
const PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// The shortest time between two measurements of the filesystems.
const MEASURE: SignedDuration = SignedDuration::from_mins(10);

/// How many images a host may have. On larger ones nothing is recorded: the file would not stay small.
pub(super) const MAX_IMAGES: usize = 20_000;

/// The largest file, in bytes. A larger one loses its oldest observations.
const MAX_FILE: u64 = 32 << 20;

/// How much longer than [`KEPT`] observations stay, so that the file is not rewritten all the time.
const SLACK: SignedDuration = SignedDuration::from_hours(24);

/// Records which images are present and used. All methods may be called from any thread.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// `None` if nothing is written.
    path: Option<PathBuf>,
    recorded: Mutex<Recorded>,
    /// Whether the last write failed, so that an outage is logged once.
    has_failed: AtomicBool,
}

#[derive(Debug, Default)]
struct Recorded {
    current: Current,
    /// When the oldest observation was made.
    first: Option<Timestamp>,
    /// The bytes of the file.
    length: u64,
    /// The observations, if there is no file.
    in_memory: Vec<Observation>,
}

impl Recorder {
    /// Reads the timeline of a state directory. A damaged file is set aside, and its good lines are kept.
    pub(crate) fn open(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let observations = match file::read(&path) {
            Found::Nothing => Vec::new(),
            Found::Observations(found) => found,
            Found::Damaged(found, problem) => {
                let replaced = file::lines(&found)
                    .map_err(io::Error::from)
                    .and_then(|bytes| state::replace_damaged(&path, &problem, &bytes));
                if let Err(error) = replaced {
                    warn!(path = %path.display(), %error, "cannot set the damaged file aside");
                    return Self::new(None, &[]);
                }
                found
            }
            Found::Foreign(problem) => {
                let path = path.display();
                warn!(%path, %problem, "the timeline is not written");
                return Self::new(None, &[]);
            }
        };
        Self::new(Some(path), &observations)
    }

    /// Makes an empty timeline that is never written.
    pub(crate) fn in_memory() -> Self {
        Self::new(None, &[])
    }

    fn new(path: Option<PathBuf>, observations: &[Observation]) -> Self {
        let mut recorded = Recorded {
            first: observations.first().map(|it| it.at),
            ..Recorded::default()
        };
        for observation in observations {
            // They were applied when they were read.
            drop(recorded.current.apply(observation));
        }
        let length = path.as_ref().and_then(|path| path.metadata().ok());
        recorded.length = length.map_or(0, |metadata| metadata.len());
        Self {
            path,
            recorded: Mutex::new(recorded),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Logs the begin of an outage: without its timeline a daemon works as usual.
    pub(crate) fn note(&self, written: io::Result<()>) {
        let had_failed = self.has_failed.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written {
            if had_failed {
                debug!(%error, "cannot write the timeline");
            } else {
                warn!(%error, "cannot write the timeline; retrying with the next scans");
            }
        }
    }

    /// Whether enough time has passed since the last observation.
    pub(super) fn is_due(&self, moment: Moment) -> bool {
        let last = self.recorded().current.last;
        last.is_none_or(|(last, _)| moment.monotonic.duration_since(last) >= PAUSE)
    }

    /// Whether the filesystems should be measured for the next observation.
    pub(super) fn needs_filesystems(&self, moment: Moment) -> bool {
        let last = self.recorded().current.measured_at;
        last.is_none_or(|last| moment.monotonic.duration_since(last) >= MEASURE)
    }

    /// Returns the bytes of an object if they are known.
    pub(super) fn bytes(&self, key: &ObjectKey) -> Option<u64> {
        self.recorded().current.bytes(key)
    }

    /// Adds what a scan found, durably.
    ///
    /// # Errors
    ///
    /// If the file cannot be written. The next scan then finds the same again.
    pub(super) fn observe(
        &self,
        found: Vec<Sighting>,
        filesystems: &[Filesystem],
        moment: Moment,
    ) -> io::Result<()> {
        let mut recorded = self.recorded();
        let moment = recorded.not_before_last(moment);
        let new = recorded.current.difference(found, filesystems, moment);
        let is_empty = new.filesystems.is_empty()
            && new.images.is_empty()
            && new.gone.is_empty()
            && new.used.is_empty()
            && new.in_use.is_empty()
            && new.idle.is_empty();
        if is_empty && !new.begins {
            return Ok(());
        }
        self.add(&mut recorded, new)
    }

    /// Adds what a run of a policy removed, durably. Ignores dry runs and other runs.
    ///
    /// # Errors
    ///
    /// If the file cannot be written. The images then count as removed by others.
    pub(crate) fn record_removals(&self, report: &Report, moment: Moment) -> io::Result<()> {
        let Some(policy) = &report.policy else {
            return Ok(());
        };
        if report.mode == Mode::DryRun {
            return Ok(());
        }
        let mut names: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        for removed in &report.removed {
            let of_target = names.entry(removed.target.clone()).or_default();
            of_target.insert(removed.name.clone());
        }
        let mut recorded = self.recorded();
        let moment = recorded.not_before_last(moment);
        let removals = recorded
            .current
            .removals(&report.namespace, &names, policy, moment);
        removals.map_or(Ok(()), |new| self.add(&mut recorded, new))
    }

    /// Returns all observations.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn timeline(&self) -> io::Result<Timeline> {
        let recorded = self.recorded();
        match &self.path {
            Some(path) => {
                let path = path.clone();
                drop(recorded);
                read(&path)
            }
            None => Ok(Timeline {
                observations: recorded.in_memory.clone(),
            }),
        }
    }

    fn add(&self, recorded: &mut Recorded, new: Observation) -> io::Result<()> {
        if let Some(path) = &self.path {
            let line = file::lines(std::slice::from_ref(&new))?;
            state::append_line(path, &line)?;
            recorded.length += line.len() as u64;
        }
        recorded.current.apply(&new).map_err(io::Error::other)?;
        let first = *recorded.first.get_or_insert(new.at);
        let is_old = recorded.is_old(first);
        match &self.path {
            Some(path) if is_old || recorded.length > MAX_FILE => shorten(recorded, path)?,
            Some(_) => {}
            None => {
                recorded.in_memory.push(new);
                if is_old {
                    let from = recorded.oldest_kept();
                    let all = std::mem::take(&mut recorded.in_memory);
                    recorded.in_memory = file::shortened(all, from);
                    recorded.first = recorded.in_memory.first().map(|it| it.at);
                }
            }
        }
        Ok(())
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        // A panic in the middle of a change only loses an observation.
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rewrites the file without its oldest observations.
fn shorten(recorded: &mut Recorded, path: &Path) -> io::Result<()> {
    let mut observations = read(path)?.observations;
    let now = recorded.current.last.map_or(Timestamp::MIN, |(at, _)| at);
    let mut kept = KEPT;
    loop {
        let from = now.checked_sub(kept).unwrap_or(Timestamp::MIN);
        observations = file::shortened(observations, from);
        let bytes = file::lines(&observations)?;
        let is_small = bytes.len() as u64 <= MAX_FILE / 2;
        if is_small || kept < SignedDuration::from_hours(1) {
            state::replace(path, &bytes)?;
            recorded.length = bytes.len() as u64;
            recorded.first = observations.first().map(|it| it.at);
            return Ok(());
        }
        kept /= 2;
    }
}

impl Recorded {
    /// Time that was off and counts late may put an older moment after the last observation.
    fn not_before_last(&self, moment: Moment) -> Moment {
        let last = self.current.last.map(|(at, _)| at);
        let at = last.map_or(moment.monotonic, |last| last.max(moment.monotonic));
        Moment::new(at, moment.wall)
    }

    fn is_old(&self, first: Timestamp) -> bool {
        let now = self.current.last.map_or(first, |(at, _)| at);
        now.duration_since(first) > KEPT + SLACK
    }

    fn oldest_kept(&self) -> Timestamp {
        let now = self.current.last.map_or(Timestamp::MIN, |(at, _)| at);
        now.checked_sub(KEPT).unwrap_or(Timestamp::MIN)
    }
}

impl Timeline {
    /// Reads the timeline of a state directory, which a daemon may write at the same time. Of a damaged
    /// file it returns what is before the damage.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is of a newer version.
    pub fn read(directory: &Path) -> io::Result<Self> {
        read(&directory.join(FILE))
    }
}

fn read(path: &Path) -> io::Result<Timeline> {
    match file::read(path) {
        Found::Nothing => Ok(Timeline::default()),
        Found::Observations(observations) | Found::Damaged(observations, _) => {
            Ok(Timeline { observations })
        }
        Found::Foreign(error) => Err(error),
    }
}
