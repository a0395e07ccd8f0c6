//! When each image was last used, and which removed images came back.
//!
//! containerd does not record when an image was used, so the daemon observes it: by scans of the
//! whole store, and by events in between. The result is in memory and in a file of the daemon's
//! state directory; `docs/last-use.md` says what counts as a use and how long it is kept. Its times
//! are monotonic ([`crate::time`]).
//!
//! The rules are pure (`known`, `removals`, `state`) and separate from the file (`file`) and the
//! task that observes (`watch`).

mod file;
mod known;
mod removals;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::LastUseSource;
use reclaim_engine::state::count_write;
use reclaim_model::{GoDuration, LastUses, Namespace, Report, RunId, TargetsInUse, UseEvent};
use tokio::sync::Notify;

use crate::time::{ClockReading, HostClock, Moment, MonotonicTime};
use crate::timeline::{Recorder, Timeline};
use file::{Opened, Store};

pub(crate) use state::State;

/// What recording an event achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// The event says everything that it implies.
    Complete,
    /// The event may imply more than it says: the store should be scanned soon.
    ScanNeeded,
}

/// Why last use cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file cannot be read, written or made.
    #[error("{operation} `{}`", path.display())]
    Io {
        /// What failed.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the file open.
    #[error("`{}` is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error("`{}` is damaged: {problem}; it is set aside before the next write", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is no file.
    #[error("`{}` does not exist", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// Nothing has written the file for so long that images may have been used unnoticed.
    #[error("`{}` has not been written for {}", path.display(), GoDuration(*age))]
    Stale {
        /// The file.
        path: PathBuf,
        /// The time since it was written, as far as known.
        age: Duration,
    },
    /// The file was written by a newer program.
    #[error(
        "`{}` is of version {version}, and this program knows {known}; use the program that \
         wrote it, or move the file away to begin without last use",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// The version that this program knows.
        known: u64,
    },
}

/// The state, and the time that its times compare with.
#[derive(Debug)]
struct TimedState {
    state: State,
    time: MonotonicTime,
    /// The time that the file has; `None` if there is no file, or none with a time.
    saved: Option<Timestamp>,
}

impl TimedState {
    fn advance(&mut self, reading: &ClockReading) -> Moment {
        let (moment, off) = self.time.advance(reading);
        if let Some(off) = off {
            self.state.shift(off);
        }
        moment
    }

    /// Whether the file has an old time, which would look as if nothing recorded uses since.
    fn is_time_due(&self) -> bool {
        let age = self
            .saved
            .map(|saved| self.time.now().duration_since(saved));
        age.is_some_and(|age| age >= SAVE_TIME_AFTER)
    }
}

/// After how long the time is saved even if nothing else has changed.
const SAVE_TIME_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// How long ago a file must have been written to be read by a process that does not record uses itself:
/// policies that run once a day write it as often.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(25);

/// The index of when each image was last used. All methods may be called from any thread.
#[derive(Debug)]
pub struct LastUseIndex {
    // LOCK ORDER: the file, then the state.
    file: Mutex<Option<Store>>,
    state: Mutex<TimedState>,
    clock: HostClock,
    /// What scans found over the last weeks.
    pub(crate) timeline: Recorder,
    /// Wakes the task that saves.
    changed: Notify,
    stream: StreamChanges,
}

/// What the event stream has reported.
#[derive(Debug, Default)]
struct StreamChanges {
    is_connected: AtomicBool,
    /// Grows with each change, and with each connection, during which some may have been missed.
    count: AtomicU64,
}

/// A connection to the event stream. When it is dropped, also by the end of the task that has it, the
/// stream is not connected.
#[derive(Debug)]
struct Connection<'s>(&'s StreamChanges);

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.0.is_connected.store(false, Ordering::SeqCst);
    }
}

impl LastUseIndex {
    /// Reads the index of a directory, which is made if it does not exist.
    ///
    /// On a full disk an existing file is read, and [`Self::save`] makes what is missing.
    ///
    /// # Errors
    ///
    /// If the file is of a newer version, open in another process, or cannot be read. A damaged one
    /// is set aside: every image then counts as used now.
    pub fn open(directory: &Path) -> Result<Self, IndexError> {
        Self::open_with(directory, HostClock::system())
    }

    /// Returns a number that grows with each event about images, containers or snapshots, and with each
    /// connection; `None` while the event stream is not connected. Equal numbers mean that the stream was
    /// connected in between, and that no event was received.
    pub(crate) fn changes(&self) -> Option<u64> {
        let is_connected = self.stream.is_connected.load(Ordering::SeqCst);
        is_connected.then(|| self.stream.count.load(Ordering::SeqCst))
    }

    /// Reads the clocks of the host.
    pub(crate) fn clock_reading(&self) -> ClockReading {
        self.clock.read()
    }

    /// Notes that the event stream is connected, for as long as the value lives.
    fn connected(&self) -> Connection<'_> {
        self.note_change();
        self.stream.is_connected.store(true, Ordering::SeqCst);
        Connection(&self.stream)
    }

    /// Notes that the event stream reported a change.
    fn note_change(&self) {
        self.stream.count.fetch_add(1, Ordering::SeqCst);
    }

    /// As [`Self::open`], with these clocks.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_with(directory: &Path, clock: HostClock) -> Result<Self, IndexError> {
        let (file, mut contents) = Store::open(directory)?;
        let time = contents.time.take();
        let state = State::of(contents);
        let timeline = Recorder::open(directory);
        Ok(Self::new(Some(file), state, clock, time, timeline))
    }

    /// Reads the index of a directory as it is, for a process that does not record uses: it changes
    /// nothing, and is never saved.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], also if the file is damaged or does not exist, and if nothing has written it for
    /// more than a day: images may have been used since.
    pub fn read(directory: &Path) -> Result<Self, IndexError> {
        Self::read_with(directory, HostClock::system())
    }

    /// As [`Self::read`], with these clocks.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_with(directory: &Path, clock: HostClock) -> Result<Self, IndexError> {
        let mut contents = file::read(directory)?;
        let time = contents.time.take();
        let saved = time.as_ref().map(MonotonicTime::now);
        let state = State::of(contents);
        let index = Self::new(None, state, clock, time, Recorder::in_memory());
        let now = index.moment().monotonic;
        let age = saved.map_or(SignedDuration::MAX, |saved| now.duration_since(saved));
        if age > MAX_AGE {
            return Err(IndexError::Stale {
                path: directory.join(file::FILE),
                age: age.unsigned_abs(),
            });
        }
        Ok(index)
    }

    /// Makes an empty index that is never saved.
    pub fn in_memory() -> Self {
        Self::in_memory_with(HostClock::system())
    }

    /// As [`Self::in_memory`], with these clocks.
    pub fn in_memory_with(clock: HostClock) -> Self {
        Self::new(None, State::default(), clock, None, Recorder::in_memory())
    }

    fn new(
        file: Option<Store>,
        mut state: State,
        clock: HostClock,
        time: Option<MonotonicTime>,
        timeline: Recorder,
    ) -> Self {
        let saved = time.as_ref().map(MonotonicTime::now);
        let time = time.unwrap_or_else(|| {
            // A file of version 1 has times of the wall clock. How much time has passed since the
            // latest is unknown; it may be in the future.
            let reading = clock.read();
            let latest = state.latest().unwrap_or(reading.wall);
            let time = MonotonicTime::begin(latest.min(reading.wall), &reading);
            state.cap(time.now());
            time
        });
        let saved = file.as_ref().and(saved);
        Self {
            file: Mutex::new(file),
            state: Mutex::new(TimedState { state, time, saved }),
            clock,
            timeline,
            changed: Notify::new(),
            stream: StreamChanges::default(),
        }
    }

    /// Returns the present moment. May block.
    pub fn moment(&self) -> Moment {
        self.now().1
    }

    /// Records a scan of a namespace that began at `moment`: what is present, and what is in use.
    pub fn record_scan(&self, namespace: &Namespace, seen: &TargetsInUse, moment: Moment) {
        let mut timed = self.timed();
        let moment = timed.time.recount(moment);
        timed.state.record_scan(namespace, seen, moment);
        drop(timed);
        self.changed.notify_one();
    }

    /// Drops which scans found images unused, because events were missed since.
    fn forget_checks(&self) {
        self.timed().state.forget_checks();
    }

    /// Records an event of containerd that just arrived. Returns whether a scan of the store should
    /// follow.
    pub fn record_event(&self, event: &UseEvent) -> Observed {
        let (mut timed, moment) = self.now();
        let observed = timed.state.record_event(event, moment);
        drop(timed);
        self.changed.notify_one();
        observed
    }

    /// Records what a run removed that just ended, to recognise re-pulls. Ignores dry runs, and
    /// reports that were recorded before.
    pub fn record_removals(&self, report: &Report) {
        let (mut timed, moment) = self.now();
        let is_new = timed.state.record_removals(report, moment);
        drop(timed);
        self.changed.notify_one();
        if is_new {
            let recorded = self.timeline.record_removals(report, moment);
            self.timeline.note(recorded);
        }
    }

    /// Returns what scans found over the last weeks. May block.
    ///
    /// # Errors
    ///
    /// If its file cannot be read.
    pub fn timeline(&self) -> std::io::Result<Timeline> {
        self.timeline.timeline()
    }

    /// Returns the last uses of the images of a namespace. Images in use were used now, and no use
    /// is later.
    pub fn uses(&self, namespace: &Namespace) -> LastUses {
        let (timed, moment) = self.now();
        timed.state.uses(namespace, moment.monotonic)
    }

    /// Returns for how long each of these runs of a namespace has been held. Forgets the others of
    /// the namespace.
    pub(crate) fn held_for(&self, namespace: &Namespace, runs: &[RunId]) -> Vec<SignedDuration> {
        let (mut timed, moment) = self.now();
        let since = timed
            .state
            .held_since(namespace, runs, moment.monotonic)
            .into_iter();
        let ages = since.map(|since| moment.monotonic.duration_since(since));
        let ages = ages.collect();
        drop(timed);
        self.changed.notify_one();
        ages
    }

    /// Returns how many images came back after a run removed them, since the index was made.
    pub fn repulls(&self) -> u64 {
        self.timed().state.repulls
    }

    /// Returns the namespaces that the index has.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let timed = self.timed();
        timed.state.namespaces.keys().cloned().collect()
    }

    /// Waits until something may have changed since the last call returned.
    async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether anything is not saved yet.
    pub fn is_changed(&self) -> bool {
        let timed = self.timed();
        timed.state.is_changed() || timed.is_time_due()
    }

    /// Saves the changes durably, if there are any.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, for example on a full disk. The changes stay in memory for the
    /// next call.
    pub fn save(&self) -> Result<(), IndexError> {
        // After a panic in redb the database is dropped and opened again.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match file.as_mut() {
            Some(file) if self.is_changed() => count_write(self.write(file)),
            Some(_) | None => Ok(()),
        }
    }

    fn write(&self, file: &mut Store) -> Result<(), IndexError> {
        if file.ready()? == Opened::Empty {
            self.timed().state.write_all_again();
        }
        let batch = {
            let mut timed = self.timed();
            let mut batch = timed.state.take_changes();
            batch.time = Some(timed.time.clone());
            batch
        };
        let written = file.write(&batch);
        let mut timed = self.timed();
        if written.is_err() {
            timed.state.put_back(&batch);
        } else {
            timed.saved = batch.time.as_ref().map(MonotonicTime::now);
        }
        written
    }

    /// Locks the state at the present moment.
    fn now(&self) -> (MutexGuard<'_, TimedState>, Moment) {
        let mut timed = self.timed();
        let moment = timed.advance(&self.clock.read());
        (timed, moment)
    }

    fn timed(&self) -> MutexGuard<'_, TimedState> {
        // A panic in the middle of a change only loses a part of an observation.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LastUseSource for LastUseIndex {
    fn uses(&self, namespace: &Namespace) -> LastUses {
        Self::uses(self, namespace)
    }
}
