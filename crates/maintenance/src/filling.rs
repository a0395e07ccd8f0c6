//! The history of filling: how full each filesystem was over the last four weeks.
//!
//! The scheduler measures the filesystems of content and snapshots all the time; one measurement in ten
//! minutes becomes a sample. Its time is monotonic ([`crate::time`]), so that a clock that jumps makes no
//! filesystem fill within a second. The samples are in memory and in a file of the state directory, which
//! is replaced as a whole. They decide about no removal: without them there is only no forecast, so no
//! damage of the file keeps a daemon from starting.

mod all;
mod forecast;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::state;
use reclaim_model::Filesystem;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::time::{HostClock, MonotonicTime};

pub use all::{FilesystemForecast, FillForecast, HighMark, Trend};
pub use forecast::{FillRate, FillTrend};

const FILE: &str = "filling.json";

/// The version of the file.
const VERSION: u32 = 1;

/// The largest file that is read, in bytes: many times what is written.
const MAX_FILE: u64 = 16 << 20;

/// The time between two samples, at least.
const EVERY: SignedDuration = SignedDuration::from_mins(10);

/// Samples that are older than this are thinned to one an hour.
const DENSE: SignedDuration = SignedDuration::from_hours(24);

/// Samples that are older than this are dropped.
const KEPT: SignedDuration = SignedDuration::from_hours(28 * 24);

/// How many filesystems are remembered: those that were measured last.
const MAX_FILESYSTEMS: usize = 32;

/// How full a filesystem was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillSample {
    /// The monotonic time: only differences between two samples mean anything.
    pub at: Timestamp,
    /// All bytes of the filesystem.
    pub total_bytes: u64,
    /// The bytes that any process may still take.
    pub left_bytes: u64,
}

/// The samples of each filesystem, by its mount point, oldest first.
type Samples = BTreeMap<PathBuf, Vec<FillSample>>;

/// The history of filling of one state directory. All methods may be called from any thread.
#[derive(Debug)]
pub struct FillHistory {
    /// `None` if nothing is written.
    path: Option<PathBuf>,
    clock: HostClock,
    // LOCK ORDER: the file, then the samples, so that no reader waits for the disk.
    file: Mutex<()>,
    timed: Mutex<Timed>,
}

/// The samples, and the time that their times compare with.
#[derive(Debug)]
struct Timed {
    time: MonotonicTime,
    last: Option<Timestamp>,
    samples: Samples,
}

/// The contents of the file.
#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    clock: MonotonicTime,
    filesystems: Vec<Recorded>,
}

#[derive(Serialize, Deserialize)]
struct Recorded {
    mount_point: PathBuf,
    samples: Vec<FillSample>,
}

/// What became of a file.
enum Found {
    Nothing,
    Samples(Contents),
    Damaged(String),
    /// It cannot be read now, or a newer program wrote it. It stays as it is.
    Foreign(String),
}

impl FillHistory {
    /// Reads the samples of a state directory.
    ///
    /// A damaged file is set aside. One that cannot be read, or that a newer program wrote, stays
    /// unchanged, and the samples of this process are in memory only.
    pub fn open(directory: &Path) -> Self {
        Self::open_with(directory, HostClock::system())
    }

    /// As [`Self::open`], with these clocks.
    pub fn open_with(directory: &Path, clock: HostClock) -> Self {
        let path = directory.join(FILE);
        match read(&path) {
            Found::Nothing => Self::new(Some(path), clock, None),
            Found::Samples(contents) => Self::new(Some(path), clock, Some(contents)),
            Found::Damaged(problem) => {
                if let Err(error) = state::set_aside(&path, &problem) {
                    warn!(path = %path.display(), %error, "cannot set the damaged file aside");
                }
                Self::new(Some(path), clock, None)
            }
            Found::Foreign(problem) => {
                let path = path.display();
                warn!(%path, problem, "the history of filling is not written");
                Self::new(None, clock, None)
            }
        }
    }

    /// Makes an empty history that is never written.
    pub fn in_memory() -> Self {
        Self::new(None, HostClock::system(), None)
    }

    fn new(path: Option<PathBuf>, clock: HostClock, contents: Option<Contents>) -> Self {
        let reading = clock.read();
        let mut timed = match contents {
            Some(contents) => Timed {
                time: contents.clock,
                last: None,
                samples: contents
                    .filesystems
                    .into_iter()
                    .map(|it| (it.mount_point, it.samples))
                    .collect(),
            },
            None => Timed {
                time: MonotonicTime::begin(reading.wall, &reading),
                last: None,
                samples: Samples::new(),
            },
        };
        timed.tidy();
        Self {
            path,
            clock,
            file: Mutex::default(),
            timed: Mutex::new(timed),
        }
    }

    /// Adds a sample of each filesystem and writes all to disk, if the last sample is old enough.
    ///
    /// It blocks until the file is on disk. After an error the samples are in memory only, and the next
    /// ones are written with them.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, for example to a full disk.
    pub fn record(&self, filesystems: &[Filesystem]) -> io::Result<()> {
        let reading = self.clock.read();
        let _file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = {
            let mut timed = self.timed();
            let (moment, off) = timed.time.advance(&reading);
            if let Some(off) = off {
                for sample in timed.samples.values_mut().flatten() {
                    off.shift(&mut sample.at);
                }
                if let Some(last) = &mut timed.last {
                    off.shift(last);
                }
            }
            let now = moment.monotonic;
            if timed
                .last
                .is_some_and(|last| now.duration_since(last) < EVERY)
            {
                return Ok(());
            }
            timed.add(now, filesystems);
            timed.contents()
        };
        let Some(path) = &self.path else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(&contents).map_err(io::Error::other)?;
        state::replace(path, &bytes)
    }

    /// Returns the samples of the filesystem that is mounted there, oldest first.
    pub fn samples(&self, mount_point: &Path) -> Vec<FillSample> {
        let timed = self.timed();
        timed.samples.get(mount_point).cloned().unwrap_or_default()
    }

    fn timed(&self) -> std::sync::MutexGuard<'_, Timed> {
        // A panic in the middle of a change only loses samples.
        self.timed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timed {
    fn add(&mut self, now: Timestamp, filesystems: &[Filesystem]) {
        for filesystem in filesystems {
            // Without any bytes there is nothing to fill, and JSON has no form for another name.
            if filesystem.bytes.total > 0 && filesystem.mount_point.to_str().is_some() {
                let of_place = self.samples.entry(filesystem.mount_point.clone());
                of_place.or_default().push(FillSample {
                    at: now,
                    total_bytes: filesystem.bytes.total,
                    left_bytes: filesystem.bytes.left,
                });
            }
        }
        self.tidy();
        self.last = Some(now);
    }

    /// Orders, thins and limits the samples. Those of the future are damage: time does not go back.
    fn tidy(&mut self) {
        let now = self.time.now();
        for samples in self.samples.values_mut() {
            samples.retain(|it| it.at <= now && now.duration_since(it.at) <= KEPT);
            samples.sort_by_key(|it| it.at);
            thin(samples, now);
        }
        self.samples.retain(|_, samples| !samples.is_empty());
        while self.samples.len() > MAX_FILESYSTEMS {
            let newest = |samples: &[FillSample]| samples.last().map(|it| it.at);
            let places = self.samples.iter();
            let oldest = places.min_by_key(|(_, samples)| newest(samples));
            let Some(oldest) = oldest.map(|(place, _)| place.clone()) else {
                break;
            };
            self.samples.remove(&oldest);
        }
        let newest = self.samples.values().filter_map(|it| it.last());
        self.last = newest.map(|it| it.at).max();
    }

    fn contents(&self) -> Contents {
        Contents {
            version: VERSION,
            clock: self.time.clone(),
            filesystems: self
                .samples
                .iter()
                .map(|(mount_point, samples)| Recorded {
                    mount_point: mount_point.clone(),
                    samples: samples.clone(),
                })
                .collect(),
        }
    }
}

/// Keeps the first sample of each ten minutes, and of each hour if it is old.
fn thin(samples: &mut Vec<FillSample>, now: Timestamp) {
    let mut last = None;
    samples.retain(|sample| {
        let is_dense = now.duration_since(sample.at) <= DENSE;
        let every = if is_dense {
            EVERY
        } else {
            SignedDuration::from_hours(1)
        };
        let slot = sample.at.as_second().div_euclid(every.as_secs());
        let slot = (is_dense, slot);
        last.replace(slot) != Some(slot)
    });
}

fn read(path: &Path) -> Found {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }

    let mut bytes = Vec::new();
    let reading = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    match reading {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Foreign(error.to_string()),
    }
    if let Ok(Versioned { version }) = serde_json::from_slice(&bytes)
        && version > VERSION
    {
        return Found::Foreign(format!(
            "it is of version {version}, and this program knows {VERSION}"
        ));
    }
    match serde_json::from_slice(&bytes) {
        Ok(contents) => Found::Samples(contents),
        Err(error) => Found::Damaged(error.to_string()),
    }
}
