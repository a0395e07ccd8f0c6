//! The whole state in memory: pure, so that months of it can be tested in seconds.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use reclaim_model::{LastUses, Mode, Namespace, Report, RunId, TargetsInUse, UseEvent};
use uuid::Uuid;

use super::Heard;
use super::shelf::{Gone, Shelf};

/// How many runs are remembered, so that a report that is told twice counts once.
const REMEMBERED_RUNS: usize = 256;

/// What is known of all namespaces.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) shelves: BTreeMap<Namespace, Shelf>,
    pub(super) repulls: u64,
    /// Whether the number of re-pulls is not written yet.
    pub(super) is_count_new: bool,
    told: VecDeque<RunId>,
}

impl State {
    pub(super) fn note(&mut self, namespace: &Namespace, seen: &TargetsInUse, now: Timestamp) {
        self.change(namespace, |shelf| shelf.look(seen, now));
    }

    pub(super) fn hear(&mut self, event: &UseEvent) -> Heard {
        self.change(&event.namespace, |shelf| shelf.hear(&event.what, event.at))
    }

    pub(super) fn removed(&mut self, report: &Report, now: Timestamp) {
        if report.mode == Mode::DryRun || self.told.contains(&report.run) {
            return;
        }
        self.told.push_back(report.run.clone());
        if self.told.len() > REMEMBERED_RUNS {
            self.told.pop_front();
        }
        let mut gone = Gone::default();
        for removed in &report.removed {
            let names = gone.names.entry(removed.target.clone()).or_default();
            names.insert(removed.name.clone());
        }
        let stayed = report.refused.iter().map(|it| it.name.clone());
        gone.stayed.extend(stayed);
        if !gone.names.is_empty() {
            let started = started(&report.run).unwrap_or(now).min(now);
            self.change(&report.namespace, |shelf| shelf.remove(&gone, started, now));
        }
    }

    pub(super) fn uses(&self, namespace: &Namespace, now: Timestamp) -> LastUses {
        let shelf = self.shelves.get(namespace);
        shelf.map_or_else(LastUses::default, |shelf| shelf.uses(now))
    }

    /// Whether anything is not written yet.
    pub(super) fn is_changed(&self) -> bool {
        let mut shelves = self.shelves.values().map(|shelf| &shelf.changed);
        self.is_count_new || shelves.any(|it| !it.targets.is_empty() || !it.removals.is_empty())
    }

    fn change<T>(&mut self, namespace: &Namespace, change: impl FnOnce(&mut Shelf) -> T) -> T {
        let shelf = self.shelves.entry(namespace.clone()).or_default();
        let done = change(shelf);
        let repulls = std::mem::take(&mut shelf.new_repulls);
        self.repulls = self.repulls.saturating_add(repulls);
        self.is_count_new |= repulls > 0;
        done
    }
}

/// When a run began, as its ID tells.
fn started(run: &RunId) -> Option<Timestamp> {
    let (seconds, nanoseconds) = Uuid::parse_str(&run.0).ok()?.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?;
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}
