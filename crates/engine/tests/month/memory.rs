//! What a daemon must know of last use, kept by simpler means than its own.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_model::Namespace;

use crate::registry::ImageId;

/// A target of a namespace.
pub(crate) type Key = (Namespace, ImageId);

/// How long an image stays that came back, at least.
pub(crate) const SPARED: SignedDuration = SignedDuration::from_hours(24);

/// How long a removal is remembered for certain: seven days, less what a run takes from the moment
/// at which a name goes to that at which it tells of it.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(7 * 24 * 60 - 10);

/// In how many looks in a row something is missing before it is forgotten.
const MISSES: u8 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) used: Timestamp,
    pub(crate) in_use: bool,
    /// Since when and until when it stays because it came back.
    pub(crate) spared: Option<(Timestamp, Timestamp)>,
    /// Whether it is gone for us and perhaps not for the daemon, which did not listen.
    pub(crate) is_vague: bool,
    misses: u8,
}

impl Known {
    pub(crate) fn used(&self, now: Timestamp) -> Timestamp {
        if self.in_use { now } else { self.used.min(now) }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    targets: BTreeMap<Key, Known>,
    /// What runs removed as a whole.
    gone: BTreeMap<Key, Gone>,
    /// The names that runs removed of an image since it came back for certain, whole or not: a
    /// later removal is one with an earlier one that has not ended.
    went: BTreeMap<Key, BTreeSet<String>>,
    doubts: Doubts,
}

/// What a clock that was ahead has left behind.
///
/// A name that comes back before its removal, as the clock says, counts as gone for one more look.
#[derive(Debug, Clone, Default)]
struct Doubts {
    removed: BTreeMap<(Namespace, String), Timestamp>,
    images: BTreeSet<Key>,
}

/// A target that a run removed as a whole.
#[derive(Debug, Clone)]
struct Gone {
    /// When, by the clock.
    at: Timestamp,
    /// When, in what really passed.
    passed: SignedDuration,
    names: BTreeSet<String>,
}

impl Memory {
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&Key, &mut Known)> {
        self.targets.iter_mut()
    }

    /// When it was used last: now, if nobody knows or it is in use.
    pub(crate) fn used(&self, key: &Key, now: Timestamp) -> Timestamp {
        self.targets.get(key).map_or(now, |it| it.used(now))
    }

    /// Whether it came back so lately that it has to stay.
    pub(crate) fn is_spared(&self, key: &Key, now: Timestamp) -> bool {
        let spared = self.targets.get(key).and_then(|it| it.spared);
        spared.is_some_and(|(from, until)| (from..until).contains(&now))
    }

    pub(crate) fn touch(&mut self, key: &Key, at: Timestamp) -> &mut Known {
        let known = self.targets.entry(key.clone()).or_insert(Known {
            used: at,
            in_use: false,
            spared: None,
            is_vague: false,
            misses: 0,
        });
        known.used = known.used.max(at);
        known.misses = 0;
        known.is_vague = false;
        known
    }

    /// A container was seen to be created from it.
    pub(crate) fn begin(&mut self, key: &Key, at: Timestamp) {
        self.touch(key, at).in_use = true;
    }

    /// A look: what is there, and whether it is in use.
    pub(crate) fn look(&mut self, there: &BTreeMap<Key, bool>, now: Timestamp) {
        for (key, is_used) in there {
            let was_used = self.targets.get(key).is_none_or(|it| it.in_use);
            let used = self.targets.get(key).map_or(now, |it| it.used);
            let at = if was_used || *is_used { now } else { used };
            let is_vague = self.targets.get(key).is_some_and(|it| it.is_vague);
            let known = self.touch(key, at);
            known.in_use = *is_used;
            known.is_vague = is_vague && !is_used;
        }
        self.targets.retain(|key, known| {
            if there.contains_key(key) {
                return true;
            }
            known.misses += 1;
            known.misses < MISSES
        });
    }

    /// Whether nobody can say what the daemon knows of it.
    pub(crate) fn is_vague(&self, key: &Key) -> bool {
        let is_vague = self.targets.get(key).is_some_and(|it| it.is_vague);
        is_vague || self.doubts.images.contains(key)
    }

    /// A run of ours removed a name of an image.
    pub(crate) fn removed_name(&mut self, key: &Key, name: &str, at: Timestamp) {
        let names = self.went.entry(key.clone()).or_default();
        names.insert(name.to_owned());
        let name = (key.0.clone(), name.to_owned());
        self.doubts.removed.insert(name, at);
    }

    /// Of what nobody can say when it was used, for such a name.
    pub(crate) fn doubtful(&self) -> BTreeSet<Key> {
        self.doubts.images.clone()
    }

    /// A name is there.
    pub(crate) fn is_there(&mut self, key: &Key, name: &str, now: Timestamp) {
        let name = (key.0.clone(), name.to_owned());
        if self.doubts.removed.get(&name).is_some_and(|at| *at >= now) {
            self.doubts.images.insert(key.clone());
        }
    }

    pub(crate) fn set_vague(&mut self, key: &Key) {
        if let Some(known) = self.targets.get_mut(key) {
            known.is_vague = true;
        }
    }

    /// As it is after it was written down and read: misses are counted anew.
    pub(crate) fn reread(&self, before: &Self) -> Self {
        let mut memory = self.clone();
        memory.doubts = before.doubts.clone();
        for known in memory.targets.values_mut() {
            known.misses = 0;
        }
        memory
    }

    pub(crate) fn forget_unless(&mut self, is_known: impl Fn(&Key) -> bool) {
        self.targets.retain(|key, _| is_known(key));
    }

    /// A run of ours removed a target as a whole, name by name.
    pub(crate) fn removed(
        &mut self,
        key: &Key,
        is_sure: bool,
        at: Timestamp,
        passed: SignedDuration,
    ) {
        let names = self.went.get(key).cloned().unwrap_or_default();
        let gone = Gone { at, passed, names };
        self.gone.insert(key.clone(), gone);
        if is_sure {
            self.targets.remove(key);
        } else {
            self.set_vague(key);
        }
    }

    /// It is there again, and that is no pull.
    pub(crate) fn restored(&mut self, key: &Key) {
        self.gone.remove(key);
    }

    /// It was pulled. Returns whether it has to count as a re-pull for certain.
    pub(crate) fn pulled(
        &mut self,
        key: &Key,
        names: &[String],
        now: Timestamp,
        is_certain: bool,
    ) -> bool {
        let gone = self.gone.remove(key);
        self.named(&key.0, |it| names.contains(it));
        // Of one that was removed the daemon may still know a use that a clock which was ahead has
        // dated later than this.
        let before = self.targets.get(key);
        let is_vague = before.is_some_and(|it| it.is_vague && it.used > now);
        let known = self.touch(key, now);
        known.is_vague = is_vague;
        let since = gone.map(|it| now.duration_since(it.at));
        let is_back = since.is_some_and(|it| it.is_positive() && it <= REMEMBERED);
        if is_back && is_certain {
            known.spared = Some((now, now + SPARED));
            self.went.remove(key);
            return true;
        }
        false
    }

    /// A name that comes back ends a removal, whatever image it comes back with.
    pub(crate) fn named(&mut self, namespace: &Namespace, is_there: impl Fn(&String) -> bool) {
        self.gone
            .retain(|(other, _), gone| other != namespace || !gone.names.iter().any(&is_there));
    }

    /// Whether a run removed it, and when in what really passed.
    pub(crate) fn gone(&self, key: &Key) -> Option<SignedDuration> {
        self.gone.get(key).map(|it| it.passed)
    }
}
