//! The last uses and removals of one namespace, and how a scan or an event changes them.
//!
//! # Rules
//!
//! Unknown means now: a target that is seen for the first time counts as used at that moment, and so
//! does one whose use ended between two scans. Times only move forward here; readers deal with a
//! clock that was set back.
//!
//! # Assumptions
//!
//! Events of a namespace come in the order in which they happened, but late: a scan or a report may
//! be ahead of them. So the creation time of a record decides what an event says about it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Digest, LastUse, LastUses, PresentTarget, TargetsInUse};
use serde::{Deserialize, Serialize};

use super::removals::{Record, Removals, back_off};

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
            misses: 0,
        }
    }

    /// Returns the last use as of `now`. No time is later, even after the clock was set back.
    fn at(&self, now: Timestamp) -> LastUse {
        let longest = now.saturating_add(back_off(self.repulls));
        let longest = longest.unwrap_or(Timestamp::MAX);
        let spared_until = self.spared_until.map(|until| until.min(longest));
        LastUse {
            first_seen: self.first_seen.min(now),
            last_used: if self.in_use {
                now
            } else {
                self.last_used.min(now)
            },
            spared_until: spared_until.filter(|until| *until > now),
        }
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
    pub(super) fn uses(&self, now: Timestamp) -> LastUses {
        let uses = self.targets.iter();
        LastUses(
            uses.map(|(digest, it)| (digest.clone(), it.at(now)))
                .collect(),
        )
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

    /// Records a scan that began at `now`.
    pub(super) fn scan(&mut self, seen: &TargetsInUse, now: Timestamp) {
        let mut records = Records::default();
        let mut chains: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
        let mut there = BTreeSet::new();
        for (digest, present) in &seen.present {
            let is_used = seen.used.contains(digest);
            // After the clock was set back, a removal may seem to be later than this scan. What is in
            // use is there.
            if self.scan_target(digest, present, now, &mut records) || is_used {
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
        now: Timestamp,
        records: &mut Records<'s>,
    ) -> bool {
        let mut is_there = false;
        for (name, times) in &present.names {
            let record = Record::new(digest, *times, now);
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
            entry.last_used = entry.last_used.max(now);
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
