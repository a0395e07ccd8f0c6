//! What runs removed, for as long as its return counts as a re-pull.
//!
//! A removal is of one target with its removed names. It ends when one of the names, or the target
//! under any name, is written again: that is one re-pull, however many records it brings.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Digest, RecordTimes};
use serde::{Deserialize, Serialize};

use crate::time::{Moment, TimeOff};

/// How long after its removal the return of an image counts as a re-pull.
pub(super) const MEMORY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How many removals of a namespace are remembered. Beyond it the oldest are dropped: an uncounted
/// re-pull costs less than a file without bounds.
const MAX_REMOVALS: usize = 10_000;

/// How long an image is spared after its first re-pull. Each further one doubles the time.
const FIRST_BACK_OFF: SignedDuration = SignedDuration::from_hours(24);

/// The longest time for which an image is spared.
const MAX_BACK_OFF: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Returns how long an image is spared after this many re-pulls.
pub(super) fn back_off(repulls: u32) -> SignedDuration {
    let doublings = repulls.saturating_sub(1).min(30);
    let time = FIRST_BACK_OFF.checked_mul(1 << doublings);
    time.unwrap_or(MAX_BACK_OFF).min(MAX_BACK_OFF)
}

/// An image record that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) target: Digest,
    /// When it was created.
    pub(super) created: Timestamp,
    /// When it was last written. It points at its target since then at the earliest.
    pub(super) written: Timestamp,
    /// Both by the wall clock, as the record has them.
    pub(super) times: RecordTimes,
}

impl Record {
    /// Makes a record that was seen at `moment`, which replaces unknown times.
    pub(super) fn new(target: &Digest, times: RecordTimes, moment: Moment) -> Self {
        let monotonic = |wall| moment.monotonic_of(wall);
        let created = times.created.map_or(moment.monotonic, monotonic);
        Self {
            target: target.clone(),
            created,
            written: times.updated.map_or(created, monotonic).max(created),
            times,
        }
    }
}

/// The removal of a target, or of some of its names, by a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    /// When each name was removed.
    pub(super) names: BTreeMap<String, Timestamp>,
    /// When the run began. No name was removed before.
    pub(super) started: Timestamp,
    /// Whether no name of the target was left.
    pub(super) is_whole: bool,
    /// How many re-pulls of the target there were before.
    pub(super) repulls: u32,
}

impl Removal {
    fn latest(&self) -> Timestamp {
        let latest = self.names.values().copied().max();
        latest.unwrap_or(self.started)
    }
}

/// The removals of one namespace. A name is in at most one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Removals {
    by_target: BTreeMap<Digest, Removal>,
    by_name: BTreeMap<String, Digest>,
}

impl Removals {
    pub(super) fn get(&self, target: &Digest) -> Option<&Removal> {
        self.by_target.get(target)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Digest> {
        self.by_target.keys()
    }

    /// Returns the time of the latest removal.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        self.by_target.values().map(Removal::latest).max()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }

    /// Adds a removal. Returns the targets whose removals changed.
    pub(super) fn add(&mut self, target: &Digest, removal: Removal) -> Vec<Digest> {
        let mut changed = vec![target.clone()];
        for name in removal.names.keys() {
            changed.extend(self.take_name(name));
        }
        for name in removal.names.keys() {
            self.by_name.insert(name.clone(), target.clone());
        }
        match self.by_target.get_mut(target) {
            Some(known) => {
                known.names.extend(removal.names);
                known.started = removal.started;
                known.is_whole = removal.is_whole;
                known.repulls = known.repulls.max(removal.repulls);
            }
            None => {
                self.by_target.insert(target.clone(), removal);
            }
        }
        changed
    }

    /// Returns when a run removed a name, if one did.
    pub(super) fn removed_at(&self, name: &str) -> Option<Timestamp> {
        let removal = self.by_target.get(self.by_name.get(name)?)?;
        removal.names.get(name).copied()
    }

    /// Sets when the server removed a name, which is before the run reported it. Returns the target
    /// whose removal changed.
    pub(super) fn correct(&mut self, name: &str, at: Timestamp) -> Option<Digest> {
        let target = self.by_name.get(name)?;
        let removal = self.by_target.get_mut(target)?;
        let started = removal.started;
        let known = removal.names.get_mut(name)?;
        if at < started || at >= *known {
            return None;
        }
        *known = at;
        Some(target.clone())
    }

    /// Takes out the removals for which a record is a re-pull. Returns them with their targets.
    pub(super) fn take_returned(&mut self, name: &str, record: &Record) -> Vec<(Digest, Removal)> {
        let Record {
            target,
            created,
            written,
            ..
        } = record;
        let is_return =
            |from: Timestamp, to: Timestamp| to > from && to.duration_since(from) <= MEMORY;
        let mut found = Vec::new();
        let went = self.removed_at(name);
        if went.is_some_and(|at| is_return(at, *created)) {
            found.extend(self.by_name.get(name).cloned());
        }
        // An existing name may have been moved to the target.
        let of_target = self.by_target.get(target);
        if of_target.is_some_and(|it| it.is_whole && is_return(it.latest(), *written))
            && !found.contains(target)
        {
            found.push(target.clone());
        }
        let taken = found.into_iter().filter_map(|target| {
            let removal = self.take(&target)?;
            Some((target, removal))
        });
        taken.collect()
    }

    /// Drops a name that is present again without a pull. Returns the target whose removal changed.
    pub(super) fn forget_name(&mut self, name: &str) -> Option<Digest> {
        let target = self.take_name(name)?;
        if let Some(removal) = self.by_target.get_mut(&target) {
            removal.is_whole = false;
        }
        Some(target)
    }

    /// Takes a name out of its removal. Returns the target.
    fn take_name(&mut self, name: &str) -> Option<Digest> {
        let target = self.by_name.remove(name)?;
        let removal = self.by_target.get_mut(&target)?;
        removal.names.remove(name);
        if removal.names.is_empty() {
            self.by_target.remove(&target);
        }
        Some(target)
    }

    /// Shifts what was recorded after time off. Returns the targets whose removals changed.
    pub(super) fn shift(&mut self, off: TimeOff) -> Vec<Digest> {
        let mut changed = Vec::new();
        for (target, removal) in &mut self.by_target {
            let mut is_changed = off.shift(&mut removal.started);
            for time in removal.names.values_mut() {
                is_changed |= off.shift(time);
            }
            if is_changed {
                changed.push(target.clone());
            }
        }
        changed
    }

    /// Drops removals that are too old or too many. Caps their times at `now`, because those of a
    /// file of version 1 may be later. Returns the targets whose removals changed.
    pub(super) fn age(&mut self, now: Timestamp) -> Vec<Digest> {
        let mut changed = Vec::new();
        for (target, removal) in &mut self.by_target {
            for at in removal.names.values_mut().filter(|at| **at > now) {
                *at = now;
                changed.push(target.clone());
            }
            removal.started = removal.started.min(now);
        }
        let mut by_age: Vec<(Timestamp, Digest)> = Vec::new();
        for (target, removal) in &self.by_target {
            by_age.push((removal.latest(), target.clone()));
        }
        by_age.sort_unstable();
        let too_many = by_age.len().saturating_sub(MAX_REMOVALS);
        for (n, (latest, target)) in by_age.into_iter().enumerate() {
            if n < too_many || now.duration_since(latest) > MEMORY {
                self.take(&target);
                changed.push(target);
            }
        }
        changed
    }

    /// Adds a removal from the file.
    pub(super) fn load(&mut self, target: Digest, removal: Removal) {
        for name in removal.names.keys() {
            self.by_name.insert(name.clone(), target.clone());
        }
        self.by_target.insert(target, removal);
    }

    fn take(&mut self, target: &Digest) -> Option<Removal> {
        let removal = self.by_target.remove(target)?;
        for name in removal.names.keys() {
            self.by_name.remove(name);
        }
        Some(removal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_from_one_day_to_thirty() {
        let days = [1, 2, 3, 4, 5, 6, 7, 40, u32::MAX].map(|it| back_off(it).as_hours() / 24);
        assert_eq!(days, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
    }
}
