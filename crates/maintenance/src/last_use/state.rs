//! The index in memory. Pure, so that tests can simulate months of it in seconds.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use reclaim_model::{
    Digest, LastUse, LastUses, Mode, Namespace, Report, RunId, TargetsInUse, UseEvent,
};
use uuid::Uuid;

use super::Observed;
use super::file::{Batch, Contents};
use super::known::{Gone, Known};
use crate::time::{Moment, TimeOff};

/// How many runs are remembered, so that a report that is recorded twice counts once.
const REMEMBERED_RUNS: usize = 256;

/// The last uses and removals of all namespaces.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) namespaces: BTreeMap<Namespace, Known>,
    pub(super) repulls: u64,
    /// Whether the number of re-pulls is not saved yet.
    pub(super) is_count_new: bool,
    recorded: VecDeque<RunId>,
    /// Since when runs are held.
    pub(super) holds: Holds,
    are_holds_new: bool,
}

/// Since when the runs of each namespace are held.
pub(super) type Holds = BTreeMap<Namespace, BTreeMap<RunId, Timestamp>>;

impl State {
    pub(crate) fn record_scan(
        &mut self,
        namespace: &Namespace,
        seen: &TargetsInUse,
        moment: Moment,
    ) {
        self.change(namespace, |known| known.scan(seen, moment));
    }

    pub(crate) fn record_event(&mut self, event: &UseEvent, arrival: Moment) -> Observed {
        self.change(&event.namespace, |known| {
            known.record_event(&event.kind, event.at, arrival)
        })
    }

    /// Records what a run removed. Returns whether the run had not been recorded before.
    pub(crate) fn record_removals(&mut self, report: &Report, moment: Moment) -> bool {
        if report.mode == Mode::DryRun || self.recorded.contains(&report.run) {
            return false;
        }
        self.recorded.push_back(report.run.clone());
        if self.recorded.len() > REMEMBERED_RUNS {
            self.recorded.pop_front();
        }
        let mut gone = Gone::default();
        for removed in &report.removed {
            let names = gone.names.entry(removed.target.clone()).or_default();
            names.insert(removed.name.clone());
        }
        let refused = report.refused.iter().map(|it| it.name.clone());
        let failed = report.failed.iter().map(|it| it.name.clone());
        gone.stayed.extend(refused.chain(failed));
        let kept = report.kept.iter().map(|it| it.target.clone());
        gone.kept.extend(kept);
        if !gone.names.is_empty() {
            let now = moment.monotonic;
            let started = started(&report.run).map_or(now, |started| moment.monotonic_of(started));
            self.change(&report.namespace, |known| known.remove(&gone, started, now));
        }
        true
    }

    /// Adds an image that was known before, with its last use.
    pub(crate) fn remember(&mut self, namespace: &Namespace, target: &Digest, last: LastUse) {
        let known = self.namespaces.entry(namespace.clone()).or_default();
        known.remember(target, last);
    }

    pub(crate) fn uses(&self, namespace: &Namespace, now: Timestamp) -> LastUses {
        let known = self.namespaces.get(namespace);
        let targets = known.map_or_else(BTreeMap::new, |known| known.uses(now));
        LastUses { now, targets }
    }

    /// Returns the latest time of all uses and removals.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        let known = self.namespaces.values();
        known.filter_map(Known::latest).max()
    }

    /// Shifts what was recorded after time off that counts late.
    pub(super) fn shift(&mut self, off: TimeOff) {
        for known in self.namespaces.values_mut() {
            known.shift(off);
        }
        for since in self.holds.values_mut().flat_map(BTreeMap::values_mut) {
            self.are_holds_new |= off.shift(since);
        }
    }

    /// Drops which scans found images unused: events were missed since.
    pub(crate) fn forget_checks(&mut self) {
        let known = self.namespaces.values_mut();
        for entry in known.flat_map(|known| known.targets.values_mut()) {
            entry.unused_since = None;
        }
    }

    /// Caps all times at `now`.
    pub(super) fn cap(&mut self, now: Timestamp) {
        for known in self.namespaces.values_mut() {
            known.cap(now);
        }
    }

    /// Returns since when each of these runs of a namespace is held: `now` for a new one. Forgets the
    /// others of the namespace.
    pub(super) fn held_since(
        &mut self,
        namespace: &Namespace,
        runs: &[RunId],
        now: Timestamp,
    ) -> Vec<Timestamp> {
        let known = self.holds.get(namespace);
        let since = |run| known.and_then(|known| known.get(run)).copied();
        let held = runs
            .iter()
            .map(|run| (run.clone(), since(run).unwrap_or(now)));
        let held: BTreeMap<RunId, Timestamp> = held.collect();
        let times = runs.iter().map(|run| held[run]).collect();
        if known.map_or(!held.is_empty(), |known| *known != held) {
            self.are_holds_new = true;
            if held.is_empty() {
                self.holds.remove(namespace);
            } else {
                self.holds.insert(namespace.clone(), held);
            }
        }
        times
    }

    /// Whether anything is not saved yet.
    pub(super) fn is_changed(&self) -> bool {
        let mut namespaces = self.namespaces.values().map(|known| &known.changed);
        self.is_count_new
            || self.are_holds_new
            || namespaces.any(|it| !it.targets.is_empty() || !it.removals.is_empty())
    }

    /// Makes the state from the contents of a file.
    pub(super) fn of(contents: Contents) -> Self {
        let mut state = Self {
            repulls: contents.repulls,
            holds: contents.holds,
            ..Self::default()
        };
        for ((namespace, digest), entry) in contents.targets {
            let known = state.namespaces.entry(namespace).or_default();
            known.targets.insert(digest, entry);
        }
        for ((namespace, digest), removal) in contents.removals {
            let known = state.namespaces.entry(namespace).or_default();
            known.removals.load(digest, removal);
        }
        state
    }

    /// Returns the unsaved changes, and marks them as saved.
    pub(super) fn take_changes(&mut self) -> Batch {
        let mut batch = Batch {
            repulls: self.repulls,
            holds: self.holds.clone(),
            ..Batch::default()
        };
        self.is_count_new = false;
        self.are_holds_new = false;
        for (namespace, known) in &mut self.namespaces {
            let changed = std::mem::take(&mut known.changed);
            let key = |digest: Digest| (namespace.clone(), digest);
            batch.targets.extend(changed.targets.into_iter().map(|it| {
                let entry = known.targets.get(&it).cloned();
                (key(it), entry)
            }));
            batch
                .removals
                .extend(changed.removals.into_iter().map(|it| {
                    let removal = known.removals.get(&it).cloned();
                    (key(it), removal)
                }));
        }
        self.namespaces.retain(|_, known| !known.is_forgettable());
        batch
    }

    /// Marks the changes of a batch as unsaved again.
    pub(super) fn put_back(&mut self, batch: &Batch) {
        self.is_count_new = true;
        self.are_holds_new = true;
        for ((namespace, digest), _) in &batch.targets {
            let known = self.namespaces.entry(namespace.clone()).or_default();
            known.changed.targets.insert(digest.clone());
        }
        for ((namespace, digest), _) in &batch.removals {
            let known = self.namespaces.entry(namespace.clone()).or_default();
            known.changed.removals.insert(digest.clone());
        }
    }

    /// Marks everything as unsaved.
    pub(super) fn write_all_again(&mut self) {
        self.is_count_new = true;
        for known in self.namespaces.values_mut() {
            known.changed.targets.extend(known.targets.keys().cloned());
            let removals = known.removals.targets().cloned();
            known.changed.removals.extend(removals);
        }
    }

    fn change<T>(&mut self, namespace: &Namespace, change: impl FnOnce(&mut Known) -> T) -> T {
        let known = self.namespaces.entry(namespace.clone()).or_default();
        let done = change(known);
        let repulls = std::mem::take(&mut known.new_repulls);
        self.repulls = self.repulls.saturating_add(repulls);
        self.is_count_new |= repulls > 0;
        done
    }
}

/// Returns when a run began, by the time in its ID.
fn started(run: &RunId) -> Option<Timestamp> {
    let (seconds, nanoseconds) = Uuid::parse_str(&run.0).ok()?.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?;
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}
