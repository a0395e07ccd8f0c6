//! The host as it would be if the tried policies had run.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use reclaim_model::{
    Digest, Filesystem, LastUse, Namespace, PresentTarget, Protection, RecordTimes, TargetsInUse,
    UseEvent, UseEventKind, WrittenRecord,
};

use super::filling::Filling;
use super::holdings::Holdings;
use super::{PolicyTrial, TriedImage, TriedRun};
use crate::last_use::State;
use crate::policy::Policy;
use crate::pressure::Occupied;
use crate::time::Moment;
use crate::timeline::{Current, ImageUse, ObjectKey, Observation, SeenImage};

/// A namespace and a target.
pub(super) type Key = (Namespace, Digest);

/// An image that is present on the tried host.
#[derive(Debug, Clone)]
pub(super) struct Present {
    pub(super) seen: SeenImage,
    /// Its blobs and snapshots with their bytes.
    pub(super) objects: Vec<(ObjectKey, u64)>,
}

/// The host as it would be.
#[derive(Debug)]
pub(super) struct TriedHost<'p> {
    policies: &'p [Policy],
    pub(super) protection: Arc<Protection>,
    /// The host as it was.
    real: Current,
    real_holdings: Holdings,
    /// What real images hold, by their numbers.
    real_objects: BTreeMap<u32, Vec<(ObjectKey, u64)>>,
    pub(super) images: BTreeMap<Key, Present>,
    holdings: Holdings,
    /// The images that a tried policy removed and that were not pulled again, by their places.
    removed: BTreeMap<Key, (usize, Present)>,
    pub(super) uses: State,
    /// What was measured last, and what real images held then on each filesystem.
    measured: Vec<(Filesystem, u64)>,
    filling: Filling,
    pub(super) runs: Vec<TriedRun>,
    pub(super) removals: Vec<TriedImage>,
    pulled_bytes: u64,
    damage: Option<String>,
}

impl<'p> TriedHost<'p> {
    pub(super) fn new(policies: &'p [Policy], protection: &Protection) -> Self {
        Self {
            policies,
            protection: Arc::new(protection.clone()),
            real: Current::default(),
            real_holdings: Holdings::default(),
            real_objects: BTreeMap::new(),
            images: BTreeMap::new(),
            holdings: Holdings::default(),
            removed: BTreeMap::new(),
            uses: State::default(),
            measured: Vec::new(),
            filling: Filling::default(),
            runs: Vec::new(),
            removals: Vec::new(),
            pulled_bytes: 0,
            damage: None,
        }
    }

    /// Applies what really happened until an observation.
    pub(super) fn observe(&mut self, new: &Observation) {
        if let Some(filesystem) = new.filesystems.iter().find(|it| it.has_content)
            && self.holdings.block == 0
        {
            self.holdings.block = filesystem.block;
            self.real_holdings.block = filesystem.block;
        }
        if new.begins {
            // Whatever is not listed again has gone unseen.
            let listed = new.images.iter();
            let listed: Vec<Key> = listed
                .map(|it| (it.namespace.clone(), it.target.clone()))
                .collect();
            let gone = self.images.keys().filter(|key| !listed.contains(key));
            for key in gone.cloned().collect::<Vec<_>>() {
                self.take(&key);
            }
            for objects in std::mem::take(&mut self.real_objects).into_values() {
                self.real_holdings.remove(&objects);
            }
        }
        let key_of = |seen: &SeenImage| (seen.namespace.clone(), seen.target.clone());
        let gone: Vec<Key> = new
            .gone
            .iter()
            .filter_map(|id| self.real.images.get(id))
            .map(|image| key_of(&image.seen))
            .collect();
        let was_there = |seen: &SeenImage| !new.begins && self.real.images.contains_key(&seen.id);
        let arrived: Vec<bool> = new.images.iter().map(|seen| !was_there(seen)).collect();
        if let Err(error) = self.real.apply(new) {
            self.damage.get_or_insert(error.to_string());
            return;
        }
        for id in new
            .gone
            .iter()
            .copied()
            .chain(new.removed.iter().map(|it| it.image))
        {
            if let Some(objects) = self.real_objects.remove(&id) {
                self.real_holdings.remove(&objects);
            }
        }
        // What others removed would be gone, too.
        for key in gone {
            self.take(&key);
        }
        let moment = Moment::new(new.at, new.wall);
        for (seen, is_new) in new.images.iter().zip(arrived) {
            let objects = seen.objects.iter().filter_map(|id| {
                let (key, bytes) = self.real.object(*id)?;
                Some((key.clone(), bytes))
            });
            let objects: Vec<(ObjectKey, u64)> = objects.collect();
            if let Some(before) = self.real_objects.insert(seen.id, objects.clone()) {
                self.real_holdings.remove(&before);
            }
            self.real_holdings.add(&objects);
            let key = key_of(seen);
            let present = Present {
                seen: seen.clone(),
                objects,
            };
            if is_new {
                self.arrive(&key, present, moment);
            } else if self.images.contains_key(&key) {
                self.put(&key, present);
            } else if let Some((_, gone)) = self.removed.get_mut(&key) {
                *gone = present;
            }
        }
        for ImageUse { image, at } in &new.used {
            self.used(*image, Moment::new(*at, new.wall));
        }
        for image in &new.in_use {
            self.used(*image, moment);
        }
        if !new.filesystems.is_empty() {
            let measured = new.filesystems.iter();
            let measured = measured.map(|it| (it.clone(), self.real_holdings.bytes_on(it)));
            self.measured = measured.collect();
        }
    }

    /// An image was pulled or built.
    fn arrive(&mut self, key: &Key, present: Present, moment: Moment) {
        let (namespace, target) = key;
        let is_there = self.images.contains_key(key);
        let last = LastUse {
            first_seen: present.seen.first_seen.min(moment.monotonic),
            last_used: present.seen.last_used.min(moment.monotonic),
            unused_since: None,
            spared_until: present.seen.spared_until,
        };
        let pulled = self.put(key, present);
        if let Some((place, _)) = self.removed.remove(key) {
            self.removals[place].pulled_again = Some(moment.wall);
            self.pulled_bytes += pulled;
            self.written(key, moment);
        } else if !is_there {
            self.uses.remember(namespace, target, last);
        } else {
            self.written(key, moment);
        }
    }

    /// An image was used. If a tried policy removed it, it is pulled again.
    fn used(&mut self, id: u32, moment: Moment) {
        let Some(image) = self.real.images.get(&id) else {
            return;
        };
        let key = (image.seen.namespace.clone(), image.seen.target.clone());
        if let Some((place, mut gone)) = self.removed.remove(&key) {
            for name in &mut gone.seen.names {
                name.created = Some(moment.wall);
                name.updated = Some(moment.wall);
            }
            self.removals[place].pulled_again = Some(moment.wall);
            self.pulled_bytes += self.put(&key, gone);
        }
        if self.images.contains_key(&key) {
            self.written(&key, moment);
        }
    }

    /// Records a use as the event of a pull does: a return of a removed image is recognised by it.
    fn written(&mut self, (namespace, target): &Key, moment: Moment) {
        let Some(present) = self.images.get(&(namespace.clone(), target.clone())) else {
            return;
        };
        for name in &present.seen.names {
            let event = UseEvent {
                namespace: namespace.clone(),
                at: moment.wall,
                kind: UseEventKind::ImageWritten {
                    name: name.name.clone(),
                    record: Some(WrittenRecord {
                        target: target.clone(),
                        times: RecordTimes {
                            created: name.created,
                            updated: name.updated,
                        },
                    }),
                },
            };
            self.uses.record_event(&event, moment);
        }
    }

    /// Adds an image or replaces it. Returns the bytes of blobs that no other image has.
    fn put(&mut self, key: &Key, present: Present) -> u64 {
        let before = self.images.remove(key);
        let new = self.holdings.add(&present.objects);
        if let Some(before) = before {
            self.holdings.remove(&before.objects);
        }
        self.images.insert(key.clone(), present);
        new
    }

    /// Takes an image away. Returns it with the bytes that went with it.
    fn take(&mut self, key: &Key) -> Option<(Present, u64)> {
        let present = self.images.remove(key)?;
        let bytes = self.holdings.remove(&present.objects);
        Some((present, bytes))
    }

    /// A run of a policy removed names of an image.
    pub(super) fn remove(&mut self, key: &Key, names: &[&str], by: &Policy, moment: Moment) -> u64 {
        let Some(present) = self.images.get_mut(key) else {
            return 0;
        };
        let unused = self.uses.uses(&key.0, moment.monotonic);
        let unused = unused
            .targets
            .get(&key.1)
            .map_or(SignedDuration::ZERO, |last| {
                moment.monotonic.duration_since(last.last_used)
            });
        let is_whole = present
            .seen
            .names
            .iter()
            .all(|it| names.contains(&&*it.name));
        if !is_whole {
            present.seen.names.retain(|it| !names.contains(&&*it.name));
            return 0;
        }
        let Some((present, bytes)) = self.take(key) else {
            return 0;
        };
        let place = self.removals.len();
        self.removals.push(TriedImage {
            at: moment.wall,
            policy: by.name().clone(),
            namespace: key.0.clone(),
            names: present
                .seen
                .names
                .iter()
                .map(|it| it.name.clone())
                .collect(),
            target: key.1.clone(),
            unused_seconds: u64::try_from(unused.as_secs()).unwrap_or(0),
            bytes,
            pulled_again: None,
        });
        self.removed.insert(key.clone(), (place, present));
        bytes
    }

    /// Records a scan of the tried host.
    pub(super) fn scan(&mut self, moment: Moment) {
        let mut by_namespace: BTreeMap<&Namespace, TargetsInUse> = BTreeMap::new();
        for (key, present) in &self.images {
            let (namespace, target) = key;
            let seen = by_namespace.entry(namespace).or_default();
            let names = present.seen.names.iter().map(|name| {
                let times = RecordTimes {
                    created: name.created,
                    updated: name.updated,
                };
                (name.name.clone(), times)
            });
            let found = PresentTarget {
                names: names.collect(),
                ..PresentTarget::default()
            };
            seen.present.insert(target.clone(), found);
            if self.is_in_use(key) {
                seen.used.insert(target.clone());
            }
        }
        for (namespace, seen) in by_namespace {
            self.uses.record_scan(namespace, &seen, moment);
        }
    }

    pub(super) fn is_in_use(&self, (namespace, target): &Key) -> bool {
        let id = self.real.id(namespace, target);
        let image = id.and_then(|id| self.real.images.get(&id));
        image.is_some_and(|image| image.is_in_use)
    }

    /// Returns the filesystems as they would be.
    pub(super) fn filesystems(&self) -> Vec<Filesystem> {
        let measured = self.measured.iter().map(|(filesystem, real)| {
            let mut filesystem = filesystem.clone();
            let tried = self.holdings.bytes_on(&filesystem);
            let left = filesystem.bytes.left.saturating_add(*real);
            filesystem.bytes.left = left.saturating_sub(tried).min(filesystem.bytes.total);
            filesystem
        });
        measured.collect()
    }

    /// Returns what images would occupy.
    pub(super) fn occupied(&self) -> Occupied {
        Occupied {
            all: self.holdings.bytes,
            lasting: self.holdings.bytes,
        }
    }

    /// Adds how full the filesystems are to the history of filling.
    pub(super) fn sample(&mut self, observation: &Observation) {
        if observation.filesystems.is_empty() {
            return;
        }
        let tried = self.filesystems();
        for ((recorded, _), tried) in self.measured.iter().zip(&tried) {
            self.filling.add(observation.wall, recorded, tried);
        }
    }

    /// Returns the trial, without what the caller knows.
    pub(super) fn into_trial(self, mut notes: Vec<String>) -> PolicyTrial {
        notes.extend(
            self.damage
                .map(|why| format!("the timeline is damaged: {why}")),
        );
        let pulled_again = self.removals.iter().filter(|it| it.pulled_again.is_some());
        PolicyTrial {
            policies: Vec::new(),
            since: None,
            until: None,
            removed_images: self.removals.len(),
            freed_bytes: self.removals.iter().map(|it| it.bytes).sum(),
            pulled_again: pulled_again.count(),
            pulled_bytes: self.pulled_bytes,
            runs: self.runs,
            filesystems: self.filling.filesystems(self.policies),
            images: self.removals,
            notes,
        }
    }
}
