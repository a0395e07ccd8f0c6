//! The host when a plan was made.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_fake::{Call, Kind, closure};
use reclaim_maintenance::{Excess, Occupied, PolicyRun};
use reclaim_model::{CollectorRules, Cut, Filesystem, LastUses, Namespace, Report, RunId};

use crate::host::Host;
use crate::registry::{BLOCK, ImageId, Registry, SNAPSHOTTER};

/// The ID of the lease that guards a namespace.
pub(crate) const GUARD: &str = "reclaim.prune";

/// The prefix of the leases that hold what runs removed.
pub(crate) const HOLD: &str = "reclaim.hold.";

/// The label of leases that names the run.
pub(crate) const RUN: &str = reclaim_model::RUN_LABEL;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) image: ImageId,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct Container {
    /// What it was created from, by its snapshot.
    pub(crate) image: ImageId,
    /// By what name it was created.
    name: String,
}

/// Records and containers of one namespace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Space {
    pub(crate) records: BTreeMap<String, Record>,
    pub(crate) containers: BTreeMap<String, Container>,
}

impl Space {
    pub(crate) fn of(namespace: &reclaim_fake::Namespace, registry: &Registry) -> Self {
        let time = |it: &Option<prost_types::Timestamp>| {
            let it = it.expect("records have times");
            Timestamp::new(it.seconds, it.nanos).expect("a time")
        };
        let records = namespace.images.iter().filter_map(|(name, image)| {
            let target = &image.target.as_ref()?.digest;
            let record = Record {
                image: registry.image_of(target)?,
                created: time(&image.created_at),
                updated: time(&image.updated_at),
            };
            Some((name.clone(), record))
        });
        let containers = namespace.containers.iter().filter_map(|(id, container)| {
            let key = (
                container.snapshotter.clone(),
                container.snapshot_key.clone(),
            );
            let chain = &namespace.snapshots.get(&key)?.info.parent;
            let image = registry.images.iter().position(|it| it.chain == *chain)?;
            let name = container.image.clone();
            Some((id.clone(), Container { image, name }))
        });
        Self {
            records: records.collect(),
            containers: containers.collect(),
        }
    }

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

/// The content and snapshots that are needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needed {
    /// Lengths by digest.
    blobs: BTreeMap<String, u64>,
    /// Bytes by namespace and `snapshotter/key`.
    snapshots: BTreeMap<(String, String), u64>,
}

impl Needed {
    /// Returns what another set does not have.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.blobs.retain(|it, _| !other.blobs.contains_key(it));
        rest.snapshots
            .retain(|it, _| !other.snapshots.contains_key(it));
        rest
    }

    pub(crate) fn has_blob(&self, digest: &str) -> bool {
        self.blobs.contains_key(digest)
    }

    pub(crate) fn has_snapshot(&self, namespace: &Namespace, chain: &str) -> bool {
        let key = format!("{SNAPSHOTTER}/{chain}");
        self.snapshots.contains_key(&(namespace.to_string(), key))
    }

    /// Returns its size in whole blocks.
    pub(crate) fn blocks(&self) -> u64 {
        let blobs = self.blobs.values();
        let blobs: u64 = blobs.map(|it| it.next_multiple_of(BLOCK)).sum();
        blobs + self.snapshots.values().sum::<u64>()
    }

    /// Returns its size by length.
    pub(crate) fn bytes(&self) -> u64 {
        self.blobs.values().sum::<u64>() + self.snapshots.values().sum::<u64>()
    }
}

/// What may need content and snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Anything,
    AllButHolds,
    Holds,
    Containers,
}

/// The host at the moment of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) now: Timestamp,
    pub(crate) namespace: Namespace,
    pub(crate) space: Space,
    pub(crate) filesystem: Filesystem,
    /// What runs freed and the filesystem does not show yet.
    pub(crate) late: u64,
    /// The same, as the daemon knows it.
    pub(crate) expected: Vec<Excess>,
    /// The last uses in the daemon's index.
    pub(crate) uses: LastUses,
    /// How long images were not used, by what really happened.
    pub(crate) idle: BTreeMap<ImageId, SignedDuration>,
    /// Whether no call failed lately, so that nothing is uncertain.
    pub(crate) is_clear: bool,
    /// Whether the daemon may miss events. It forgets its checks when it connects again, which may be
    /// after the plan was made.
    pub(crate) is_deaf: bool,
    rules: CollectorRules,
    state: BTreeMap<String, reclaim_fake::Namespace>,
}

impl Picture {
    /// Returns what would be needed if these records were gone.
    pub(crate) fn needed(&self, without: &BTreeSet<String>, by: By) -> Needed {
        self.needed_after(without, &[], by)
    }

    /// Returns what would be needed if these records and the references of these cuts were gone.
    pub(crate) fn needed_after(&self, without: &BTreeSet<String>, cuts: &[Cut], by: By) -> Needed {
        let mut needed = Needed::default();
        let none = BTreeSet::new();
        for (name, state) in &self.state {
            let gone = if *name == self.namespace.as_str() {
                without
            } else {
                &none
            };
            let cut;
            let state = if cuts.is_empty() || *name != self.namespace.as_str() {
                state
            } else {
                cut = after(state, cuts);
                &cut
            };
            let kept = match by {
                By::Anything => closure(state, self.rules, self.now, gone),
                By::AllButHolds | By::Holds | By::Containers => {
                    closure(&only(state, by), self.rules, self.now, gone)
                }
            };
            for (kind, key) in kept {
                if kind == Kind::Content {
                    if let Some(info) = state.content.get(&key) {
                        let length = u64::try_from(info.size).expect("a length");
                        needed.blobs.insert(key, length);
                    }
                } else if kind == Kind::Snapshot {
                    let place = key.split_once('/').expect("a snapshotter and a key");
                    let place = (place.0.to_owned(), place.1.to_owned());
                    if let Some(snapshot) = state.snapshots.get(&place) {
                        needed.snapshots.insert((name.clone(), key), snapshot.bytes);
                    }
                }
            }
        }
        needed
    }

    /// Returns what content and snapshots occupy. What only a hold keeps does not count as lasting.
    pub(crate) fn occupied(&self) -> Occupied {
        let none = BTreeSet::new();
        let (held, used) = (
            self.needed(&none, By::Holds),
            self.needed(&none, By::Containers),
        );
        let lasting = self.needed(&none, By::AllButHolds);
        let lasting = lasting.without(&held.without(&used));
        let mut all = Needed::default();
        for (name, state) in &self.state {
            let blobs = state.content.iter();
            let length = |size: i64| u64::try_from(size).expect("a length");
            let blobs = blobs.map(|(digest, it)| (digest.clone(), length(it.size)));
            all.blobs.extend(blobs);
            let snapshots = state.snapshots.iter();
            let snapshots = snapshots.map(|((of, key), it)| {
                let place = (name.clone(), format!("{of}/{key}"));
                (place, it.bytes)
            });
            all.snapshots.extend(snapshots);
        }
        Occupied {
            all: all.bytes(),
            lasting: lasting.bytes(),
        }
    }
}

/// Returns a namespace without the labels of cuts.
fn after(state: &reclaim_fake::Namespace, cuts: &[Cut]) -> reclaim_fake::Namespace {
    let mut state = state.clone();
    for cut in cuts {
        if let Some(info) = state.content.get_mut(&cut.blob.to_string()) {
            info.labels.retain(|key, value| !cut.includes(key, value));
        }
    }
    state
}

/// Returns a namespace with only some of those who need something.
fn only(state: &reclaim_fake::Namespace, by: By) -> reclaim_fake::Namespace {
    let mut state = state.clone();
    state
        .leases
        .retain(|id, _| id.starts_with(HOLD) == (by == By::Holds));
    if by != By::AllButHolds {
        state.images.clear();
    }
    match by {
        By::Holds => state.containers.clear(),
        By::Containers => state.leases.clear(),
        By::Anything | By::AllButHolds => {}
    }
    state
}

/// The pictures of the runs that removed something, until they report.
#[derive(Debug, Default)]
pub(crate) struct Pictures(BTreeMap<(Namespace, RunId), Picture>);

impl Pictures {
    /// Returns those of the reports of a run, in their order.
    pub(crate) fn take(&mut self, run: &PolicyRun) -> Vec<(Picture, Report)> {
        let reports = run.reports.iter().filter_map(|report| {
            let key = (report.namespace.clone(), report.run.clone());
            Some((self.0.remove(&key)?, report.clone()))
        });
        reports.collect()
    }

    /// Drops those of a daemon that ended.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Host {
    /// Takes a picture when a run writes its journal: nothing has changed since it observed the
    /// store.
    pub(crate) fn picture(&mut self, call: &Call) {
        let methods = [
            "Content/Write",
            "Content/Update",
            "Leases/AddResource",
            "Images/Delete",
        ];
        let (true, Some(index)) = (methods.contains(&call.method.as_str()), &self.index) else {
            return;
        };
        let Some(run) = self.fake.look(|state| {
            let guard = state.namespaces.get(&call.namespace)?.leases.get(GUARD)?;
            guard.message.labels.get(RUN).cloned()
        }) else {
            return;
        };
        let Ok(namespace) = call.namespace.parse::<Namespace>() else {
            return;
        };
        let key = (namespace.clone(), RunId(run));
        if self.pictures.0.contains_key(&key) {
            return;
        }
        let now = self.clock.now();
        let name = crate::host::NAMESPACES
            .into_iter()
            .find(|it| *it == call.namespace);
        let name = name.expect("there are only two");
        let space = self.space(name);
        let idle = space.images().into_iter().filter_map(|image| {
            let idle = self.uses.idle((name, image), &self.clock)?;
            Some((image, idle))
        });
        let lately = self
            .faults
            .last
            .saturating_add(SignedDuration::from_mins(30));
        let picture = Picture {
            now,
            uses: index.uses(&namespace),
            idle: idle.collect(),
            namespace,
            space,
            filesystem: self.disk.filesystem(),
            late: self.disk.known_late(),
            expected: self.late.bytes(),
            is_clear: self.clock.passed() > lately,
            is_deaf: self.uses.is_deaf(&self.clock),
            rules: self.fake.look(reclaim_fake::State::rules),
            state: self.fake.look(|state| state.namespaces.clone()),
        };
        self.pictures.0.insert(key, picture);
    }
}
