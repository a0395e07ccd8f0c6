//! How the removals of a run change the last uses of a namespace.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::Digest;

use super::super::removals::{Record, Removal};
use super::Known;

/// What a run removed in this namespace.
#[derive(Debug, Default)]
pub(in super::super) struct Gone {
    /// The removed names, by target.
    pub(in super::super) names: BTreeMap<Digest, BTreeSet<String>>,
    /// The names whose removal was refused or failed.
    pub(in super::super) stayed: BTreeSet<String>,
    /// The targets of which the plan kept a name.
    pub(in super::super) kept: BTreeSet<Digest>,
}

impl Known {
    /// Records what a run removed that began at `started` and has ended by `now`.
    pub(in super::super) fn remove(&mut self, gone: &Gone, started: Timestamp, now: Timestamp) {
        for (digest, names) in &gone.names {
            let went = |name: &String| {
                let event = self.deleted.get(name).copied();
                let at = event.filter(|at| (started..=now).contains(at));
                (name.clone(), at.unwrap_or(now))
            };
            let names: BTreeMap<String, Timestamp> = names.iter().map(went).collect();
            let latest = names.values().copied().max().unwrap_or(now);
            for (name, at) in &names {
                if self.names.get(name).is_some_and(|it| it.created <= *at) {
                    self.names.remove(name);
                }
            }
            // The report covers what was present when the run began; only events cover what came
            // during the run.
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

    /// Counts images that came back before the run reported their removal.
    fn recognise_returned(&mut self, gone: &Gone, now: Timestamp) {
        let is_of_run = |name: &String, it: &Record| {
            let was = gone.names.get(&it.target);
            was.is_some() && !gone.stayed.contains(name) || self.removals.removed_at(name).is_some()
        };
        let there = self.names.iter();
        let there = there.filter(|(name, it)| is_of_run(name, it));
        let there: Vec<(String, Record)> = there.map(|(a, b)| (a.clone(), b.clone())).collect();
        for (name, record) in there {
            self.entry(&record.target, now);
            self.recognise(&name, &record, now);
        }
    }
}
