//! When images were really used, and what of it the daemon can know.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::clock::Clock;
use crate::diary::{Broken, hold};
use crate::host::{Host, NAMESPACES};
use crate::picture::{GUARD, HOLD, Space};
use crate::registry::{ImageId, SNAPSHOTTER};

/// How long after a fault or a start events may be missed: the daemon reconnects within it.
const DEAF: SignedDuration = SignedDuration::from_mins(8);

/// How long what an unfinished run has removed is held for certain.
const HELD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long a run may take, or what is left of it until it is finished.
const FINISHED: SignedDuration = SignedDuration::from_hours(1);

/// A namespace and an image.
type Key = (&'static str, ImageId);

#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// The last certain use of an image, in time that passed.
    last: BTreeMap<Key, SignedDuration>,
    /// Until when the daemon may miss events.
    deaf_until: SignedDuration,
    /// Containers of images whose last record others removed.
    orphaned: BTreeSet<(&'static str, String)>,
    /// When removed images may have been collected because setting the clock forward expired
    /// their hold.
    lost: BTreeSet<&'static str>,
    /// Since when a run is under way or unfinished, in time that passed.
    busy_since: BTreeMap<&'static str, SignedDuration>,
    /// Where another process may have left an unfinished run for the next prune.
    pub(crate) left: BTreeSet<&'static str>,
}

impl Uses {
    /// Records that the daemon may miss events for a while.
    pub(crate) fn go_deaf(&mut self, clock: &Clock) {
        self.deaf_until = self.deaf_until.max(clock.passed() + DEAF);
    }

    /// Whether the daemon may miss events now.
    pub(crate) fn is_deaf(&self, clock: &Clock) -> bool {
        clock.passed() < self.deaf_until
    }

    /// Returns how long an image was not used. `None` if no use is certain.
    pub(crate) fn idle(&self, key: Key, clock: &Clock) -> Option<SignedDuration> {
        let last = *self.last.get(&key)?;
        Some(clock.passed() - last)
    }
}

impl Host {
    /// Records a use that an event reports.
    pub(crate) fn used(&mut self, namespace: &'static str, image: ImageId) {
        let passed = self.clock.passed();
        if self.index.is_some() && !self.uses.is_deaf(&self.clock) {
            self.uses.last.insert((namespace, image), passed);
        }
    }

    /// Records the containers whose image lost its last record in a change by others. `before` is
    /// the host before it.
    pub(crate) fn note_orphans(&mut self, namespace: &'static str, before: &Space) {
        let after = self.space(namespace);
        let gone = |image: &ImageId| !after.images().contains(image);
        for (id, container) in &after.containers {
            if before.images().contains(&container.image) && gone(&container.image) {
                self.uses.orphaned.insert((namespace, id.clone()));
            }
        }
    }

    /// Records that the clock was set, which may expire holds.
    pub(crate) fn note_jump(&mut self, by: SignedDuration) {
        if by < HELD {
            return;
        }
        for namespace in NAMESPACES {
            if !self.is_at_rest(namespace) {
                self.uses.lost.insert(namespace);
            }
        }
    }

    /// Whether no run is under way or unfinished.
    fn is_at_rest(&self, namespace: &str) -> bool {
        self.fake.look(|state| {
            let mut leases = state.namespaces[namespace].leases.keys();
            let is_of_run =
                |id: &String| id == GUARD || id.starts_with(HOLD) && id.ends_with(".unfinished");
            !leases.any(is_of_run)
        })
    }

    /// Checks what is true at any moment: every record has its content, and what a container uses
    /// has a record unless others removed it.
    pub(crate) fn check_store(&mut self) -> Result<(), Broken> {
        for namespace in NAMESPACES {
            let space = self.space(namespace);
            self.check_content(namespace, &space)?;
            if !self.is_at_rest(namespace) {
                self.check_progress(namespace)?;
                continue;
            }
            self.uses.busy_since.remove(namespace);
            self.uses.left.remove(namespace);
            let images = space.images();
            for (id, container) in &space.containers {
                let is_excused = self.uses.orphaned.contains(&(namespace, id.clone()))
                    || self.uses.lost.contains(namespace);
                hold(is_excused || images.contains(&container.image), || {
                    let image = container.image;
                    format!("container {id} in {namespace} uses image {image}, which is gone")
                })?;
            }
            self.uses.lost.remove(namespace);
            let containers = space.containers;
            self.uses
                .orphaned
                .retain(|(of, id)| *of != namespace || containers.contains_key(id));
            // A loss by others stays excused.
            for (id, container) in containers {
                if !images.contains(&container.image) {
                    self.uses.orphaned.insert((namespace, id));
                }
            }
        }
        Ok(())
    }

    /// Checks that runs end while the daemon runs and calls succeed.
    fn check_progress(&mut self, namespace: &'static str) -> Result<(), Broken> {
        let passed = self.clock.passed();
        let since = *self.uses.busy_since.entry(namespace).or_insert(passed);
        let since = since.max(self.faults.last).max(self.rhythm.started);
        let is_ours = self.index.is_some() && !self.uses.left.contains(namespace);
        let is_slow = is_ours && passed > since + FINISHED;
        hold(!is_slow, || format!("a run in {namespace} is unfinished"))
    }

    fn check_content(&self, namespace: &str, space: &Space) -> Result<(), Broken> {
        self.fake.look(|state| {
            let found = &state.namespaces[namespace];
            for (name, record) in &space.records {
                let image = &self.registry.images[record.image];
                let unpacked = (SNAPSHOTTER.to_owned(), image.chain.clone());
                let needed = if found.snapshots.contains_key(&unpacked) {
                    // A policy may have freed its compressed layers.
                    vec![image.target.clone(), image.config.clone()]
                } else {
                    image.blobs()
                };
                let missing = needed.iter().find(|it| !found.content.contains_key(*it));
                hold(missing.is_none(), || {
                    format!("`{name}` in {namespace} lacks {missing:?}")
                })?;
            }
            Ok(())
        })
    }
}
