//! A model of containerd's collection, and what the things on disk take.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::Namespace;

use super::{ACTIVE, Held, Space, World};
use crate::registry::{BLOCK, Thing, ThingId};

/// What somebody needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) blobs: BTreeSet<ThingId>,
    pub(crate) snapshots: BTreeSet<(Namespace, ThingId)>,
}

impl World {
    /// What would be needed if these records were gone, and with or without what is held.
    pub(crate) fn needed(
        &self,
        without: &BTreeMap<Namespace, BTreeSet<String>>,
        is_held: bool,
    ) -> Needed {
        let mut needed = Needed::default();
        let none = BTreeSet::new();
        for (namespace, space) in &self.spaces {
            let gone = without.get(namespace).unwrap_or(&none);
            let (blobs, snapshots) = self.needed_of(space, gone, is_held);
            // Of what was pulled: what is on disk.
            needed.blobs.extend(blobs.intersection(&space.blobs));
            let snapshots = snapshots.intersection(&space.snapshots);
            let snapshots = snapshots.map(|it| (namespace.clone(), *it));
            needed.snapshots.extend(snapshots);
        }
        needed
    }

    fn needed_of(
        &self,
        space: &Space,
        gone: &BTreeSet<String>,
        is_held: bool,
    ) -> (BTreeSet<ThingId>, BTreeSet<ThingId>) {
        let now = self.now();
        let records = space.records.iter().filter(|it| !gone.contains(it.0));
        let live = |it: &&Held| it.expires >= now && is_held;
        let holds = space.holds.iter().filter(live);
        let held = holds.flat_map(|it| it.records.values());
        let images: BTreeSet<_> = records
            .map(|it| it.1)
            .chain(held)
            .map(|it| it.image)
            .collect();
        let of = |image: &usize| &self.registry.images[*image];
        let blobs = images.iter().flat_map(|it| of(it).blobs.iter().copied());
        let used = space.containers.values().map(|it| &it.image);
        let snapshots = images.iter().chain(used);
        let snapshots = snapshots.flat_map(|it| of(it).snapshots.iter().copied());
        (blobs.collect(), snapshots.collect())
    }

    /// Collects what nobody needs.
    pub(crate) fn collect(&mut self) {
        let none = BTreeSet::new();
        let now = self.now();
        let kept: Vec<_> = self
            .spaces
            .values()
            .map(|space| self.needed_of(space, &none, true))
            .collect();
        for (space, (blobs, snapshots)) in self.spaces.values_mut().zip(kept) {
            space.holds.retain(|it| it.expires >= now);
            space.blobs.retain(|it| blobs.contains(it));
            space.snapshots.retain(|it| snapshots.contains(it));
        }
    }

    /// What things take in whole blocks.
    pub(crate) fn blocks(&self, things: &Needed) -> u64 {
        let round = |bytes: u64| bytes.next_multiple_of(BLOCK);
        self.weigh(things, round)
    }

    /// What things occupy by their length.
    pub(crate) fn bytes(&self, things: &Needed) -> u64 {
        self.weigh(things, |bytes| bytes)
    }

    fn weigh(&self, things: &Needed, of_blob: impl Fn(u64) -> u64) -> u64 {
        let ids = things.snapshots.iter().map(|it| it.1);
        let ids = ids.chain(things.blobs.iter().copied());
        ids.map(|id| self.bytes_of(id, &of_blob)).sum()
    }

    /// As [`Self::weigh`], of all that is there: asked so often that it has to be fast.
    fn weigh_all(&self, of_blob: impl Fn(u64) -> u64) -> u64 {
        let mut is_counted = vec![false; self.registry.things.len()];
        let mut sum = 0;
        for space in self.spaces.values() {
            for id in &space.blobs {
                if !std::mem::replace(&mut is_counted[*id], true) {
                    sum += self.bytes_of(*id, &of_blob);
                }
            }
            let snapshots = space.snapshots.iter();
            sum += snapshots
                .map(|id| self.bytes_of(*id, &of_blob))
                .sum::<u64>();
        }
        sum
    }

    fn bytes_of(&self, id: ThingId, of_blob: &impl Fn(u64) -> u64) -> u64 {
        match &self.registry.things[id] {
            Thing::Blob { bytes, .. } => of_blob(*bytes),
            Thing::Snapshot { bytes, .. } => *bytes,
        }
    }

    fn active(&self) -> u64 {
        let containers = self.spaces.values().map(|it| it.containers.len() as u64);
        containers.sum::<u64>() * ACTIVE
    }

    /// What content and snapshots take on the disk.
    pub(crate) fn on_disk(&self) -> u64 {
        self.weigh_all(|bytes| bytes.next_multiple_of(BLOCK)) + self.active()
    }

    /// What of it is needed, and not only held.
    pub(crate) fn lasting(&self) -> u64 {
        self.bytes(&self.needed(&BTreeMap::new(), false)) + self.active()
    }

    /// What of it the ledger counts as lasting: what a hold has too is its own, unless a container
    /// uses it.
    pub(crate) fn lasting_apart(&self) -> u64 {
        let mut needed = self.needed(&BTreeMap::new(), false);
        let now = self.now();
        let (mut held, mut used) = (Needed::default(), Needed::default());
        for (namespace, space) in &self.spaces {
            let holds = space.holds.iter().filter(|it| it.expires >= now);
            let records = holds.flat_map(|it| it.records.values());
            self.add(namespace, records.map(|it| it.image), &mut held);
            let containers = space.containers.values().map(|it| it.image);
            self.add(namespace, containers, &mut used);
        }
        let is_apart = |id: &ThingId| !held.blobs.contains(id) || used.blobs.contains(id);
        needed.blobs.retain(is_apart);
        needed
            .snapshots
            .retain(|it| !held.snapshots.contains(it) || used.snapshots.contains(it));
        self.bytes(&needed) + self.active()
    }

    fn add(&self, space: &Namespace, images: impl Iterator<Item = usize>, to: &mut Needed) {
        for image in images.map(|it| &self.registry.images[it]) {
            to.blobs.extend(&image.blobs);
            let snapshots = image.snapshots.iter().map(|it| (space.clone(), *it));
            to.snapshots.extend(snapshots);
        }
    }

    /// What content and snapshots occupy.
    pub(crate) fn occupied(&self) -> u64 {
        self.weigh_all(|bytes| bytes) + self.active()
    }
}
