//! What a run of ours does to what is known.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::Digest;

use super::super::removals::{Record, Removal};
use super::Known;

/// What a run removed in this namespace.
#[derive(Debug, Default)]
pub(in super::super) struct Gone {
    /// By target, the names that went.
    pub(in super::super) names: BTreeMap<Digest, BTreeSet<String>>,
    /// The names that were to go and stay.
    pub(in super::super) stayed: BTreeSet<String>,
    /// The targets that keep a name by the plan.
    pub(in super::super) kept: BTreeSet<Digest>,
}

impl Known {
    /// Takes what a run removed that began at `started` and has ended by `now`.
    ///
    /// A record that was made later than now was made by a clock that was ahead, and before.
    pub(in super::super) fn remove(&mut self, gone: &Gone, started: Timestamp, now: Timestamp) {
        let is_before = |it: &Record, at: Timestamp| it.created <= at || it.created > now;
        for (digest, names) in &gone.names {
            let went = |name: &String| {
                let heard = self.deleted.get(name).copied();
                let at = heard.filter(|at| (started..=now).contains(at));
                (name.clone(), at.unwrap_or(now))
            };
            let names: BTreeMap<String, Timestamp> = names.iter().map(went).collect();
            let latest = names.values().copied().max().unwrap_or(now);
            for (name, at) in &names {
                if self.names.get(name).is_some_and(|it| is_before(it, *at)) {
                    self.names.remove(name);
                }
            }
            // The report tells of all that was there when the run began; of what came while it
            // went on only the events do.
            let of_target = self.names.iter().filter(|(_, it)| it.target == *digest);
            let mut left = of_target.filter(|(name, it)| {
                (started..=latest).contains(&it.created) || gone.stayed.contains(*name)
            });
            let is_whole = left.next().is_none() && !gone.kept.contains(digest);
            let entry = self.targets.get(digest);
            let removal = Removal {
                repulls: entry.map_or(0, |it| it.repulls),
                is_whole,
                started,
                names,
            };
            if is_whole {
                self.targets.remove(digest);
                self.changed.targets.insert(digest.clone());
            }
            self.changed
                .removals
                .extend(self.removals.add(digest, removal));
        }
        self.recognise_returned(gone, now);
    }

    /// Some may have come back before the run reported that they were gone.
    fn recognise_returned(&mut self, gone: &Gone, now: Timestamp) {
        let is_of_run = |name: &String, it: &Record| {
            let was = gone.names.get(&it.target);
            was.is_some() && !gone.stayed.contains(name) || self.removals.removed_at(name).is_some()
        };
        let there = self.names.iter();
        let there = there.filter(|(name, it)| it.created <= now && is_of_run(name, it));
        let there: Vec<(String, Record)> = there.map(|(a, b)| (a.clone(), b.clone())).collect();
        for (name, record) in there {
            self.entry(&record.target, now);
            self.recognise(&name, &record, now);
        }
    }
}
