//! The last uses and removals of one namespace, and how a scan or an event changes them.
//!
//! # Rules
//!
//! Unknown means now: a target that is seen for the first time counts as used at that moment, and so
//! does one whose use ended between two scans. All times are monotonic; those of records and events
//! are converted when they are read.
//!
//! # Assumptions
//!
//! Events of a namespace come in the order in which they happened, but late: a scan or a report may
//! be ahead of them. So the creation time of a record decides what an event says about it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Digest, LastUse, PresentTarget, TargetsInUse};
use serde::{Deserialize, Serialize};

use super::removals::{Record, Removals, back_off};
use crate::time::{Moment, TimeOff};

mod events;
mod runs;

pub(super) use runs::Gone;

/// After how many scans in a row without it a target is forgotten. One scan may have begun before
/// the target was pulled.
const MAX_MISSES: u8 = 2;

/// How long after a deletion the report of the run that caused it may still come.
const RUN_TIME: SignedDuration = SignedDuration::from_hours(24);

/// The last use of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) first_seen: Timestamp,
    pub(super) last_used: Timestamp,
    /// Whether it was in use at the last scan.
    pub(super) in_use: bool,
    /// How often it came back after a run removed it.
    pub(super) repulls: u32,
    pub(super) spared_until: Option<Timestamp>,
    /// The first scan since its last use that found it unused.
    #[serde(default)]
    pub(super) unused_since: Option<Timestamp>,
    #[serde(skip)]
    misses: u8,
}

impl Entry {
    fn new(now: Timestamp) -> Self {
        Self {
            first_seen: now,
            last_used: now,
            in_use: false,
            repulls: 0,
            spared_until: None,
            unused_since: None,
            misses: 0,
        }
    }

    /// Returns the last use as of `now`.
    fn at(&self, now: Timestamp) -> LastUse {
        LastUse {
            first_seen: self.first_seen,
            last_used: if self.in_use { now } else { self.last_used },
            unused_since: self.unused_since,
            spared_until: self.spared_until.filter(|until| *until > now),
        }
    }

    fn use_at(&mut self, time: Timestamp) {
        self.last_used = self.last_used.max(time);
        self.unused_since = None;
    }

    /// Shifts what was recorded after time off. Returns whether anything was.
    fn shift(&mut self, off: TimeOff) -> bool {
        if let Some(until) = &mut self.spared_until {
            let length = back_off(self.repulls);
            let mut pulled = until.saturating_sub(length).unwrap_or(Timestamp::MIN);
            if off.shift(&mut pulled) {
                *until = pulled.saturating_add(length).unwrap_or(Timestamp::MAX);
            }
        }
        if let Some(since) = &mut self.unused_since {
            off.shift(since);
        }
        // No use is before the first sight.
        off.shift(&mut self.first_seen) | off.shift(&mut self.last_used)
    }

    /// Caps the times of a file of version 1 at `now`: the wall clock may have been ahead.
    fn cap(&mut self, now: Timestamp) {
        self.first_seen = self.first_seen.min(now);
        self.last_used = self.last_used.min(now);
        let longest = now.saturating_add(back_off(self.repulls));
        let longest = longest.unwrap_or(Timestamp::MAX);
        self.spared_until = self.spared_until.map(|until| until.min(longest));
    }
}

/// The records that a scan found.
#[derive(Debug, Default)]
struct Records<'s> {
    names: BTreeMap<String, Record>,
    /// Names that are present again without a pull.
    restored: Vec<&'s str>,
}

/// The keys of unsaved changes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) targets: BTreeSet<Digest>,
    pub(super) removals: BTreeSet<Digest>,
}

/// The last uses and removals of one namespace.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) targets: BTreeMap<Digest, Entry>,
    pub(super) removals: Removals,
    pub(super) changed: Changed,
    /// Re-pulls since the number was last taken.
    pub(super) new_repulls: u64,
    // The fields below help to interpret events. The last scan and later events update them.
    names: BTreeMap<String, Record>,
    chains: BTreeMap<Digest, BTreeSet<Digest>>,
    containers: BTreeMap<String, BTreeSet<Digest>>,
    /// When names were deleted, by the events.
    deleted: BTreeMap<String, Timestamp>,
}

impl Known {
    /// Returns the last uses as of `now`.
    pub(super) fn uses(&self, now: Timestamp) -> BTreeMap<Digest, LastUse> {
        let targets = self.targets.iter();
        targets
            .map(|(digest, entry)| (digest.clone(), entry.at(now)))
            .collect()
    }

    /// Adds an image that was known before, with its last use.
    pub(super) fn remember(&mut self, target: &Digest, last: LastUse) {
        let entry = Entry {
            first_seen: last.first_seen,
            last_used: last.last_used,
            spared_until: last.spared_until,
            unused_since: last.unused_since,
            ..Entry::new(last.first_seen)
        };
        self.targets.insert(target.clone(), entry);
    }

    /// Whether it is empty, so that a new one could replace it.
    pub(super) fn is_forgettable(&self) -> bool {
        self.targets.is_empty()
            && self.removals.is_empty()
            && self.names.is_empty()
            && self.containers.is_empty()
            && self.deleted.is_empty()
            && self.changed == Changed::default()
    }

    /// Returns the latest time of all uses and removals.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        let used = self.targets.values().map(|entry| entry.last_used);
        used.chain(self.removals.latest()).max()
    }

    /// Shifts what was recorded after time off.
    pub(super) fn shift(&mut self, off: TimeOff) {
        for (digest, entry) in &mut self.targets {
            if entry.shift(off) {
                self.changed.targets.insert(digest.clone());
            }
        }
        self.changed.removals.extend(self.removals.shift(off));
        for record in self.names.values_mut() {
            off.shift(&mut record.created);
            off.shift(&mut record.written);
        }
        for time in self.deleted.values_mut() {
            off.shift(time);
        }
    }

    /// Caps all times at `now`.
    pub(super) fn cap(&mut self, now: Timestamp) {
        for entry in self.targets.values_mut() {
            entry.cap(now);
        }
        let aged = self.removals.age(now);
        self.changed.removals.extend(aged);
    }

    /// Records a scan that began at `moment`.
    pub(super) fn scan(&mut self, seen: &TargetsInUse, moment: Moment) {
        let now = moment.monotonic;
        let mut records = Records::default();
        let mut chains: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
        let mut there = BTreeSet::new();
        for (digest, present) in &seen.present {
            let is_used = seen.used.contains(digest);
            // What is in use is there, even if a run removed all of its names since the scan began.
            if self.scan_target(digest, present, moment, &mut records) || is_used {
                there.insert(digest);
                self.mark_present(digest, is_used, now);
                for chain in &present.chains {
                    let of_chain = chains.entry(chain.clone()).or_default();
                    of_chain.insert(digest.clone());
                }
            }
        }
        // Last, because another record may be a re-pull for the same removal.
        for name in records.restored {
            let changed = self.removals.forget_name(name);
            self.changed.removals.extend(changed);
        }
        self.names = records.names;
        self.chains = chains;
        self.containers.clone_from(&seen.containers);
        self.forget_missing(&there);
        let aged = self.removals.age(now);
        self.changed.removals.extend(aged);
        self.deleted
            .retain(|_, at| now.duration_since(*at).abs() < RUN_TIME);
    }

    /// Records one target of a scan. Returns whether it is present: what a run removed after the
    /// scan began is not.
    fn scan_target<'s>(
        &mut self,
        digest: &Digest,
        present: &'s PresentTarget,
        moment: Moment,
        records: &mut Records<'s>,
    ) -> bool {
        let now = moment.monotonic;
        let mut is_there = false;
        for (name, times) in &present.names {
            // The wall clock may have been set since a known record was converted.
            let known = self.names.get(name);
            let known = known.filter(|known| known.target == *digest && known.times == *times);
            let record = known.cloned();
            let record = record.unwrap_or_else(|| Record::new(digest, *times, moment));
            if let Some(at) = self.removals.removed_at(name)
                && record.created <= at
            {
                if at >= now {
                    continue;
                }
                // Created before the removal and present after it: it was restored.
                records.restored.push(name);
            }
            is_there = true;
            self.recognise(name, &record, now);
            records.names.insert(name.clone(), record);
        }
        is_there
    }

    /// Marks a target as present.
    fn mark_present(&mut self, digest: &Digest, is_used: bool, now: Timestamp) {
        let entry = self.entry(digest, now);
        // If it was in use at the last scan, its use may have ended a moment ago.
        if is_used || entry.in_use {
            entry.use_at(now);
        }
        if !is_used {
            entry.unused_since.get_or_insert(now);
        }
        entry.in_use = is_used;
        entry.misses = 0;
    }

    fn entry(&mut self, digest: &Digest, now: Timestamp) -> &mut Entry {
        self.changed.targets.insert(digest.clone());
        let entry = self.targets.entry(digest.clone());
        entry.or_insert_with(|| Entry::new(now))
    }

    fn forget_missing(&mut self, there: &BTreeSet<&Digest>) {
        let changed = &mut self.changed.targets;
        self.targets.retain(|digest, entry| {
            if there.contains(digest) {
                return true;
            }
            entry.misses = entry.misses.saturating_add(1);
            let is_kept = entry.misses < MAX_MISSES;
            if !is_kept {
                changed.insert(digest.clone());
            }
            is_kept
        });
    }

    /// Counts a re-pull if the record is one.
    fn recognise(&mut self, name: &str, record: &Record, now: Timestamp) {
        let returned = self.removals.take_returned(name, record);
        let Some(before) = returned.iter().map(|(_, it)| it.repulls).max() else {
            return;
        };
        let changed = returned.into_iter().map(|(target, _)| target);
        self.changed.removals.extend(changed);
        self.new_repulls += 1;
        let entry = self.entry(&record.target, now);
        entry.repulls = before.max(entry.repulls).saturating_add(1);
        let until = now.saturating_add(back_off(entry.repulls));
        entry.spared_until = entry.spared_until.max(until.ok());
    }
}
