//! The host: records, containers, holds, content and snapshots of two namespaces, and a disk.

mod collection;
mod look;

pub(crate) use collection::Needed;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::Namespace;
use reclaim_testkit::Dice;

use crate::clock::Clock;
use crate::registry::{BLOCK, ImageId, Registry, ThingId};

/// The namespace whose images have three names each, as the CRI plugin gives them.
pub(crate) const CRI: &str = "k8s.io";

/// What the writable layer of a container takes.
pub(crate) const ACTIVE: u64 = 4 * BLOCK;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) image: ImageId,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) image: ImageId,
    /// By what name it was created.
    pub(crate) name: String,
}

/// What a run of ours removed and still holds.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) run: String,
    pub(crate) records: BTreeMap<String, Record>,
    pub(crate) expires: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Space {
    pub(crate) records: BTreeMap<String, Record>,
    pub(crate) containers: BTreeMap<String, Container>,
    pub(crate) holds: Vec<Held>,
    /// What is on disk for it, needed or not.
    pub(crate) blobs: BTreeSet<ThingId>,
    pub(crate) snapshots: BTreeSet<ThingId>,
}

impl Space {
    /// The images of which there are records.
    pub(crate) fn images(&self) -> BTreeSet<ImageId> {
        self.records.values().map(|it| it.image).collect()
    }

    /// The images that containers use: what they were created from, and what their names mean.
    pub(crate) fn used(&self) -> BTreeSet<ImageId> {
        let containers = self.containers.values().flat_map(|it| {
            let by_name = self.records.get(&it.name).map(|it| it.image);
            [Some(it.image), by_name].into_iter().flatten()
        });
        containers.collect()
    }

    /// When the last record of an image was written.
    pub(crate) fn pulled(&self, image: ImageId) -> Option<Timestamp> {
        let records = self.records.values().filter(|it| it.image == image);
        records.map(|it| it.created.max(it.updated)).max()
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) registry: Registry,
    pub(crate) spaces: BTreeMap<Namespace, Space>,
    /// All that the disk has.
    pub(crate) total: u64,
    /// What others have written on it.
    pub(crate) other: u64,
    containers: usize,
}

/// When a month may begin; in two of them clocks change in Europe.
const BEGINNINGS: [&str; 4] = [
    "2026-01-05T10:00:00Z",
    "2026-03-15T04:30:00Z",
    "2026-10-12T22:10:00Z",
    "2028-02-10T00:00:00Z",
];

impl World {
    pub(crate) fn generate(dice: &mut Dice) -> Self {
        let registry = Registry::generate(dice);
        let began = dice.pick(&BEGINNINGS).parse().expect("a time");
        let total = registry.bytes() * dice.between(80, 220) as u64 / 100;
        let total = total.next_multiple_of(BLOCK);
        let spaces = ["default", CRI].map(|it| (it.parse().expect("a name"), Space::default()));
        Self {
            clock: Clock::new(began),
            other: total * dice.below(30) as u64 / 100 / BLOCK * BLOCK,
            total,
            spaces: spaces.into(),
            registry,
            containers: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn space(&mut self, namespace: &Namespace) -> &mut Space {
        self.spaces.get_mut(namespace).expect("there are only two")
    }

    pub(crate) fn left(&self) -> u64 {
        self.total.saturating_sub(self.other + self.on_disk())
    }

    /// The names that a pull writes.
    pub(crate) fn names(&self, namespace: &Namespace, image: ImageId, latest: bool) -> Vec<String> {
        let it = &self.registry.images[image];
        let tag = if latest { it.latest() } else { it.tag() };
        if namespace.as_str() != CRI {
            return vec![tag];
        }
        let by_digest = format!("docker.io/library/{}@{}", it.repository, it.target);
        vec![tag, by_digest, it.config.to_string()]
    }

    /// Pulls an image. Returns the names that were written: none if the disk is full, or if all
    /// was there already.
    pub(crate) fn pull(
        &mut self,
        namespace: &Namespace,
        image: ImageId,
        latest: bool,
    ) -> Vec<String> {
        let now = self.now();
        let names = self.names(namespace, image, latest);
        let (blobs, snapshots) = {
            let it = &self.registry.images[image];
            (it.blobs.clone(), it.snapshots.clone())
        };
        let space = self.space(namespace);
        let before = (space.blobs.clone(), space.snapshots.clone());
        space.blobs.extend(blobs);
        space.snapshots.extend(snapshots);
        if self.other + self.on_disk() > self.total {
            let space = self.space(namespace);
            (space.blobs, space.snapshots) = before;
            return Vec::new();
        }
        let space = self.space(namespace);
        let mut written = Vec::new();
        for name in names {
            let there = space.records.get(&name);
            if there.is_some_and(|it| it.image == image) {
                continue;
            }
            let created = there.map_or(now, |it| it.created);
            let record = Record {
                image,
                created,
                updated: now,
            };
            space.records.insert(name.clone(), record);
            written.push(name);
        }
        written
    }

    /// Creates a container of a record. Returns its name.
    pub(crate) fn create(&mut self, namespace: &Namespace, name: &str) -> String {
        self.containers += 1;
        let id = format!("c{}", self.containers);
        let space = self.space(namespace);
        let image = space.records[name].image;
        let name = name.to_owned();
        space
            .containers
            .insert(id.clone(), Container { image, name });
        id
    }
}
