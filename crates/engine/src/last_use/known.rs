//! What is known of one namespace, and what a look or an event does to it.
//!
//! # What it decides
//!
//! Unknown means now: a target that is seen for the first time was used at that moment, and so was
//! one whose use ended while nobody was looking. Times only move forward here; a clock that went
//! back is dealt with where they are read.
//!
//! # What it may assume
//!
//! That events of a namespace come in the order in which they happened, but late: a look or a
//! report may know more already. So every record is judged by the time at which it was made.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Digest, Happening, LastUse, LastUses, PresentTarget, Reference, TargetsInUse, WrittenRecord,
};
use serde::{Deserialize, Serialize};

use super::Heard;
use super::removals::{Removal, Removals, back_off};

/// In how many looks in a row a target must be missing before it is forgotten. One look may have
/// begun before the target came.
const MAX_MISSES: u8 = 2;

/// How long a deletion that was heard can still be that of a run which has not reported yet.
const RUN_TIME: SignedDuration = SignedDuration::from_hours(24);

/// What is known of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) first_seen: Timestamp,
    pub(super) last_used: Timestamp,
    /// Whether it was in use when it was last looked at.
    pub(super) in_use: bool,
    /// How often it came back after a run had removed it.
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

    /// What it comes to at `now`: nothing is later than that, whatever the clock did.
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

/// A record that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    target: Digest,
    /// When it was made; the beginning of time where nobody knows.
    created: Timestamp,
}

/// What a run removed in this namespace.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// By target, the names that went.
    pub(super) names: BTreeMap<Digest, BTreeSet<String>>,
    /// The names that were to go and stay.
    pub(super) stayed: BTreeSet<String>,
}

/// Keys of what is not written yet.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) targets: BTreeSet<Digest>,
    pub(super) removals: BTreeSet<Digest>,
}

/// What is known of one namespace.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) targets: BTreeMap<Digest, Entry>,
    pub(super) removals: Removals,
    pub(super) changed: Changed,
    /// Re-pulls since somebody took the number.
    pub(super) new_repulls: u64,
    // The rest is for understanding events. It comes from the last look and the events since.
    names: BTreeMap<String, Name>,
    chains: BTreeMap<Digest, BTreeSet<Digest>>,
    containers: BTreeMap<String, BTreeSet<Digest>>,
    /// When names went, as the events say.
    deleted: BTreeMap<String, Timestamp>,
}

impl Known {
    /// What is known, at `now`.
    pub(super) fn uses(&self, now: Timestamp) -> LastUses {
        let uses = self.targets.iter();
        LastUses(
            uses.map(|(digest, it)| (digest.clone(), it.at(now)))
                .collect(),
        )
    }

    /// Whether it knows nothing that a known which is made anew would not.
    pub(super) fn is_forgettable(&self) -> bool {
        self.targets.is_empty()
            && self.removals.is_empty()
            && self.names.is_empty()
            && self.containers.is_empty()
            && self.deleted.is_empty()
            && self.changed == Changed::default()
    }

    /// Takes a look that began at `now`.
    pub(super) fn look(&mut self, seen: &TargetsInUse, now: Timestamp) {
        let mut names = BTreeMap::new();
        let mut chains: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
        let mut there = BTreeSet::new();
        for (digest, present) in &seen.present {
            let is_there = self.look_at(digest, present, now, &mut names);
            if is_there {
                there.insert(digest);
                self.note(digest, seen.used.contains(digest), now);
                for chain in &present.chains {
                    let of_chain = chains.entry(chain.clone()).or_default();
                    of_chain.insert(digest.clone());
                }
            }
        }
        self.names = names;
        self.chains = chains;
        self.containers.clone_from(&seen.containers);
        self.forget_missing(&there);
        let aged = self.removals.age(now);
        self.changed.removals.extend(aged);
        self.deleted
            .retain(|_, at| now.duration_since(*at).abs() < RUN_TIME);
    }

    /// Takes one target of a look. Returns whether it is there: what was removed after the look
    /// began is not.
    fn look_at(
        &mut self,
        digest: &Digest,
        present: &PresentTarget,
        now: Timestamp,
        names: &mut BTreeMap<String, Name>,
    ) -> bool {
        let mut is_there = false;
        for (name, times) in &present.names {
            let created = times.created.unwrap_or(now);
            if let Some(at) = self.removals.removed_at(name)
                && created <= at
            {
                if at >= now {
                    continue;
                }
                // Made before it was removed, and there after it: somebody restored it.
                let changed = self.removals.forget_name(name);
                self.changed.removals.extend(changed);
            }
            is_there = true;
            self.recognise(name, digest, created, now);
            let created = times.created.unwrap_or(Timestamp::MIN);
            let target = digest.clone();
            names.insert(name.clone(), Name { target, created });
        }
        is_there
    }

    /// Notes that a target is there.
    fn note(&mut self, digest: &Digest, is_used: bool, now: Timestamp) {
        let entry = self.entry(digest, now);
        // Between the last look and this one it may have been used until a moment ago.
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

    /// Takes an event.
    pub(super) fn hear(&mut self, what: &Happening, at: Timestamp) -> Heard {
        match what {
            Happening::ContainerWritten { id, image } => self.hear_container(id, image, at),
            Happening::ContainerDeleted { id } => {
                self.touch_users(id, at);
                self.containers.remove(id);
                // Whether anybody else uses the image is for a look to say.
                Heard::LookSoon
            }
            Happening::Task { container } => {
                if self.touch_users(container, at) {
                    Heard::Understood
                } else {
                    Heard::LookSoon
                }
            }
            Happening::ImageWritten { name, record } => {
                if let Some(WrittenRecord { target, created }) = record {
                    let created = created.unwrap_or(at);
                    self.touch(target, at);
                    self.recognise(name, target, created, at);
                    let target = target.clone();
                    self.names.insert(name.clone(), Name { target, created });
                }
                Heard::LookSoon
            }
            Happening::ImageDeleted { name } => {
                if self.names.get(name).is_some_and(|it| it.created <= at) {
                    self.names.remove(name);
                }
                self.deleted.insert(name.clone(), at);
                let changed = self.removals.correct(name, at);
                self.changed.removals.extend(changed);
                Heard::LookSoon
            }
            Happening::ImageRestoring { name } => {
                let changed = self.removals.forget_name(name);
                self.changed.removals.extend(changed);
                Heard::Understood
            }
            Happening::SnapshotPrepared { parent: None } | Happening::SnapshotChanged => {
                Heard::Understood
            }
            Happening::SnapshotPrepared {
                parent: Some(parent),
            } => self.hear_snapshot(parent, at),
            Happening::Unclear => Heard::LookSoon,
        }
    }

    fn hear_container(&mut self, id: &str, image: &str, at: Timestamp) -> Heard {
        let found = self.resolve(image);
        for digest in &found {
            self.touch(digest, at);
            if let Some(entry) = self.targets.get_mut(digest) {
                entry.in_use = true;
            }
        }
        let is_found = !found.is_empty();
        let known = self.containers.entry(id.to_owned()).or_default();
        known.extend(found);
        if is_found {
            Heard::Understood
        } else {
            Heard::LookSoon
        }
    }

    fn hear_snapshot(&mut self, parent: &str, at: Timestamp) -> Heard {
        let chain = parent.parse::<Digest>().ok();
        let targets = chain.and_then(|chain| self.chains.get(&chain).cloned());
        let Some(targets) = targets else {
            return Heard::LookSoon;
        };
        for digest in &targets {
            self.touch(digest, at);
        }
        Heard::Understood
    }

    /// Notes a use of what a container uses. Returns whether that is known.
    fn touch_users(&mut self, container: &str, at: Timestamp) -> bool {
        let Some(targets) = self.containers.get(container).cloned() else {
            return false;
        };
        for digest in &targets {
            self.touch(digest, at);
        }
        !targets.is_empty()
    }

    fn touch(&mut self, digest: &Digest, at: Timestamp) {
        let entry = self.entry(digest, at);
        entry.last_used = entry.last_used.max(at);
        entry.misses = 0;
    }

    /// Finds what a container was created from, as its engine wrote it.
    fn resolve(&self, image: &str) -> BTreeSet<Digest> {
        let mut names = vec![image.to_owned()];
        let mut found = BTreeSet::new();
        if let Ok(reference) = Reference::parse_normalized(image) {
            if let Some(digest) = reference.digest() {
                names.push(format!("{}@{digest}", reference.repository()));
                found.insert(digest.clone());
            }
            if let Some(tag) = reference.tag() {
                names.push(format!("{}:{tag}", reference.repository()));
            }
            names.push(reference.with_default_tag().to_string());
        }
        found.extend(image.parse::<Digest>());
        found.retain(|digest| self.targets.contains_key(digest));
        let records = names.iter().filter_map(|name| self.names.get(name));
        found.extend(records.map(|it| it.target.clone()));
        found
    }

    /// Counts a re-pull, if a record that was made at `created` is one.
    fn recognise(&mut self, name: &str, digest: &Digest, created: Timestamp, now: Timestamp) {
        let returned = self.removals.take_returned(name, digest, created);
        let Some(before) = returned.iter().map(|(_, it)| it.repulls).max() else {
            return;
        };
        let changed = returned.into_iter().map(|(target, _)| target);
        self.changed.removals.extend(changed);
        self.new_repulls += 1;
        let entry = self.entry(digest, now);
        entry.repulls = before.max(entry.repulls).saturating_add(1);
        let until = now.saturating_add(back_off(entry.repulls));
        entry.spared_until = entry.spared_until.max(until.ok());
    }

    /// Takes what a run removed that began at `started` and has ended by `now`.
    ///
    /// A record that was made later than now was made by a clock that was ahead, and before.
    pub(super) fn remove(&mut self, gone: &Gone, started: Timestamp, now: Timestamp) {
        let is_before = |it: &Name, at: Timestamp| it.created <= at || it.created > now;
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
            let of_target = self.names.iter().filter(|(_, it)| it.target == *digest);
            let mut left =
                of_target.filter(|(name, it)| is_before(it, latest) || gone.stayed.contains(*name));
            let is_whole = left.next().is_none();
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
        let is_of_run = |name: &String, it: &Name| {
            let was = gone.names.get(&it.target);
            was.is_some() && !gone.stayed.contains(name) || self.removals.removed_at(name).is_some()
        };
        let there = self.names.iter();
        let there = there.filter(|(name, it)| it.created <= now && is_of_run(name, it));
        let there: Vec<(String, Name)> = there.map(|(a, b)| (a.clone(), b.clone())).collect();
        for (name, Name { target, created }) in there {
            self.entry(&target, now);
            self.recognise(&name, &target, created, now);
        }
    }
}
