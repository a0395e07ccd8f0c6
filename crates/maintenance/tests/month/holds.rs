//! The promise of undo windows: none ends early by time that passed, whatever the wall clock shows,
//! and the daemon ends each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;
use reclaim_maintenance::PolicyRun;

use crate::diary::{Broken, hold};
use crate::host::{Host, NAMESPACES};
use crate::picture::RUN;

/// The label of a hold that the daemon ends.
const WINDOW: &str = "reclaim/undo-window";

/// How late a hold may end, and how long after it ended early a policy may report that it released
/// it.
const SLACK: SignedDuration = SignedDuration::from_mins(45);

/// A run of a namespace.
type Key = (&'static str, String);

/// A hold that the daemon ends.
#[derive(Debug)]
struct Kept {
    window: SignedDuration,
    /// When it was not there yet, in time that passed.
    since: SignedDuration,
    /// When it was there first, or when the daemon that could record it began.
    known: SignedDuration,
    /// How long the host had been off by then.
    off: SignedDuration,
    is_new: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Holds {
    kept: BTreeMap<Key, Kept>,
    /// Holds that ended early, between two times, until a policy reports that it released them.
    early: BTreeMap<Key, (SignedDuration, SignedDuration)>,
    /// Runs whose holds are not checked.
    ignored: BTreeSet<String>,
    /// The runs whose holds policies released.
    released: BTreeSet<String>,
    /// When they were checked last.
    checked: SignedDuration,
    /// When a daemon ended last.
    daemon_ended: Option<SignedDuration>,
}

impl Holds {
    /// Ignores the present holds of a namespace from now on, because another process may end them.
    pub(crate) fn ignore(&mut self, namespace: &str) {
        let present = self.kept.keys().filter(|(of, _)| of == &namespace);
        self.ignored.extend(present.map(|(_, run)| run.clone()));
        self.kept.retain(|(of, _), _| of != &namespace);
        self.early.retain(|(of, _), _| of != &namespace);
    }

    /// Records that a policy released holds.
    pub(crate) fn released(&mut self, run: &PolicyRun) {
        let released = run.released.iter().map(|hold| hold.run.0.clone());
        self.released.extend(released);
    }

    /// Records that the daemon ended: what it released is not reported any more, and a hold of its
    /// last moments may be new to the next one.
    pub(crate) fn daemon_ended(&mut self, passed: SignedDuration) {
        self.daemon_ended = Some(passed);
        self.early.clear();
        for kept in self.kept.values_mut() {
            kept.is_new |= passed - kept.since < SLACK;
        }
    }

    /// Records that a daemon began.
    pub(crate) fn daemon_began(&mut self, passed: SignedDuration, off: SignedDuration) {
        for kept in self.kept.values_mut().filter(|kept| kept.is_new) {
            (kept.known, kept.off) = (passed, off);
        }
    }
}

impl Host {
    /// Checks the holds of all namespaces.
    pub(crate) fn check_holds(&mut self) -> Result<(), Broken> {
        let (passed, off) = (self.clock.passed(), self.clock.off());
        let checked = std::mem::replace(&mut self.holds.checked, passed);
        let mut there: BTreeMap<Key, SignedDuration> = BTreeMap::new();
        self.fake.look(|state| {
            for namespace in NAMESPACES {
                for lease in state.namespaces[namespace].leases.values() {
                    let labels = &lease.message.labels;
                    if let (Some(run), Some(window)) = (labels.get(RUN), labels.get(WINDOW)) {
                        let seconds: u64 = window.trim_end_matches('s').parse().expect("seconds");
                        let window = SignedDuration::try_from(Duration::from_secs(seconds));
                        there.insert((namespace, run.clone()), window.expect("short"));
                    }
                }
            }
        });
        let (kept, gone): (BTreeMap<_, _>, _) = std::mem::take(&mut self.holds.kept)
            .into_iter()
            .partition(|(key, _)| there.contains_key(key));
        self.holds.kept = kept;
        for (key, kept) in gone {
            let is_unreported = self.holds.daemon_ended >= Some(checked);
            if is_unreported {
                continue;
            }
            if passed - kept.since < kept.window {
                let text = format!("the hold of {key:?} ended early: {kept:?}");
                self.write(&text);
                self.holds.early.insert(key, (checked, passed));
            } else {
                self.tally.windows += 1;
            }
        }
        there.retain(|(_, run), _| !self.holds.ignored.contains(run));
        for (key, window) in there {
            self.holds.kept.entry(key).or_insert(Kept {
                window,
                since: checked,
                known: passed,
                off,
                is_new: false,
            });
        }
        // A policy whose call failed may not know what it released.
        let failed = self.faults.last.saturating_add(SLACK);
        let released = &self.holds.released;
        self.holds
            .early
            .retain(|(_, run), (after, _)| *after > failed && !released.contains(run));
        let mut early = self.holds.early.iter();
        let unexplained = early.find(|(_, (_, before))| passed > *before + SLACK);
        hold(unexplained.is_none(), || {
            format!("the hold of {unexplained:?} ended early, and no policy released it")
        })?;
        let quiet_since = self.faults.last.max(self.rhythm.started);
        if self.index.is_none() || passed < quiet_since.saturating_add(SLACK) {
            return Ok(());
        }
        let mut kept = self.holds.kept.iter();
        let late = kept.find(|(_, kept)| {
            let counted = passed - kept.known - (off - kept.off);
            counted > kept.window + SLACK
        });
        hold(late.is_none(), || {
            format!("the hold of {late:?} has not ended")
        })
    }
}
