//! The host as it would be if the tried policies had run.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Blob, Child, Config, Container, ContainerSource, Digest, Document, DocumentKind, Filesystem,
    GcLabels, GcRef, ImageRecord, Inventory, LastUse, Namespace, NamespaceInventory,
    NamespaceProtection, PresentTarget, Protection, RecordTimes, Snapshot, SnapshotId,
    SnapshotKind, SnapshotSizes, Sources, Target, TargetsInUse, UseEvent, UseEventKind,
    WrittenRecord,
};

use super::filling::Filling;
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
    objects: Vec<(ObjectKey, u64)>,
}

/// The blobs and snapshots of images, each once.
#[derive(Debug, Default)]
struct Holdings {
    /// The length of a block, of which files occupy whole ones.
    block: u64,
    users: BTreeMap<ObjectKey, u32>,
    /// In whole blocks.
    content: u64,
    snapshots: BTreeMap<reclaim_model::Snapshotter, u64>,
    /// By their lengths.
    bytes: u64,
}

/// The host as it would be.
#[derive(Debug)]
pub(super) struct TriedHost<'p> {
    policies: &'p [Policy],
    protection: Arc<Protection>,
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

impl Holdings {
    /// Adds the objects of an image. Returns the bytes of blobs that no other image has.
    fn add(&mut self, objects: &[(ObjectKey, u64)]) -> u64 {
        let mut new = 0;
        for (key, bytes) in objects {
            let users = self.users.entry(key.clone()).or_default();
            *users += 1;
            if *users == 1 {
                let size = self.size_of(key, *bytes);
                *self.place(key) += size;
                self.bytes += *bytes;
                new += if matches!(key, ObjectKey::Blob(_)) {
                    *bytes
                } else {
                    0
                };
            }
        }
        new
    }

    /// Takes the objects of an image away. Returns the bytes of those that no other image has.
    fn remove(&mut self, objects: &[(ObjectKey, u64)]) -> u64 {
        let mut gone = 0;
        for (key, bytes) in objects {
            let Some(users) = self.users.get_mut(key) else {
                continue;
            };
            *users -= 1;
            if *users == 0 {
                self.users.remove(key);
                let size = self.size_of(key, *bytes);
                let place = self.place(key);
                *place = place.saturating_sub(size);
                self.bytes = self.bytes.saturating_sub(*bytes);
                gone += *bytes;
            }
        }
        gone
    }

    fn size_of(&self, key: &ObjectKey, bytes: u64) -> u64 {
        match key {
            ObjectKey::Blob(_) => bytes.next_multiple_of(self.block.max(1)),
            ObjectKey::Snapshot { .. } => bytes,
        }
    }

    fn place(&mut self, key: &ObjectKey) -> &mut u64 {
        match key {
            ObjectKey::Blob(_) => &mut self.content,
            ObjectKey::Snapshot { snapshotter, .. } => {
                self.snapshots.entry(snapshotter.clone()).or_default()
            }
        }
    }

    /// Returns the bytes on a filesystem.
    fn bytes_on(&self, filesystem: &Filesystem) -> u64 {
        let content = if filesystem.has_content {
            self.content
        } else {
            0
        };
        let here = |snapshotter| self.snapshots.get(snapshotter).copied().unwrap_or(0);
        let snapshots = filesystem.snapshotters.iter().map(here);
        snapshots.fold(content, u64::saturating_add)
    }
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

    fn is_in_use(&self, (namespace, target): &Key) -> bool {
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

    /// Returns the inventory of the tried host, and the sizes of its snapshots. What really used an image,
    /// or kept it for another reason, is a container here.
    pub(super) fn inventory(&self, now: Timestamp) -> (Inventory, SnapshotSizes) {
        let mut inventory = Inventory {
            observed_at: now,
            ..Inventory::default()
        };
        let mut sizes = SnapshotSizes::default();
        let mut blobs: BTreeMap<&Namespace, BTreeMap<&Digest, Blob>> = BTreeMap::new();
        let mut snapshots: BTreeMap<&Namespace, BTreeMap<SnapshotId, Snapshot>> = BTreeMap::new();
        for (key, present) in &self.images {
            let (namespace, target) = key;
            let found = inventory.namespaces.entry(namespace.clone()).or_default();
            found.images.extend(records(&present.seen));
            if self.is_in_use(key) || present.seen.is_unreadable {
                found.containers.extend(users(&present.seen));
            }
            let mut refs = Vec::new();
            for (object, bytes) in &present.objects {
                match object {
                    ObjectKey::Blob(digest) if digest == target => {}
                    ObjectKey::Blob(digest) => {
                        refs.push(GcRef::Content(digest.clone()));
                        let of_namespace = blobs.entry(namespace).or_default();
                        of_namespace
                            .entry(digest)
                            .or_insert_with(|| blob(digest, *bytes));
                    }
                    ObjectKey::Snapshot {
                        snapshotter, key, ..
                    } => {
                        let id = SnapshotId::new(snapshotter.clone(), &**key);
                        refs.push(GcRef::Snapshot(id.clone()));
                        sizes.insert(id.clone(), *bytes);
                        let snapshot = Snapshot {
                            key: id.key.clone(),
                            parent: None,
                            kind: SnapshotKind::Committed,
                            gc: GcLabels::default(),
                        };
                        snapshots.entry(namespace).or_default().insert(id, snapshot);
                    }
                }
            }
            let mut own = present.objects.iter();
            let own = own.find(|(object, _)| *object == ObjectKey::Blob(target.clone()));
            if let Some((_, bytes)) = own {
                let sources = present.seen.sources.iter().map(String::as_str);
                let blob = Blob {
                    gc: GcLabels {
                        refs: refs.into(),
                        ..GcLabels::default()
                    },
                    sources: Sources::of_repositories(sources),
                    ..blob(target, *bytes)
                };
                blobs.entry(namespace).or_default().insert(target, blob);
            }
            inventory.documents.extend(documents(present));
        }
        for (namespace, blobs) in blobs {
            let found = inventory.namespaces.entry(namespace.clone()).or_default();
            found.blobs = blobs.into_values().collect();
        }
        for (namespace, snapshots) in snapshots {
            let found = inventory.namespaces.entry(namespace.clone()).or_default();
            for (id, snapshot) in snapshots {
                let list = found.snapshots.entry(id.snapshotter).or_default();
                list.push(snapshot);
            }
        }
        for (name, found) in &mut inventory.namespaces {
            self.complete(name, found);
        }
        (inventory, sizes)
    }

    fn complete(&self, name: &Namespace, found: &mut NamespaceInventory) {
        found.images.sort_by(|a, b| a.name.cmp(&b.name));
        found.containers.sort_by(|a, b| a.id.cmp(&b.id));
        let is_whole = self.protection.namespaces.contains(name);
        found.protection = NamespaceProtection {
            rules: Arc::clone(&self.protection),
            whole: is_whole.then(|| name.clone()),
            is_lifted: false,
        };
    }
}

fn blob(digest: &Digest, bytes: u64) -> Blob {
    Blob {
        digest: digest.clone(),
        size: bytes,
        gc: GcLabels::default(),
        sources: Sources::default(),
    }
}

fn records(seen: &SeenImage) -> impl Iterator<Item = ImageRecord> {
    seen.names.iter().map(|name| {
        let labels = name.labels.iter().map(|(key, value)| (&**key, &**value));
        ImageRecord {
            name: name.name.clone(),
            target: Target {
                media_type: seen.media_type.clone(),
                digest: seen.target.clone(),
                size: 0,
                annotations: BTreeMap::new(),
            },
            gc: GcLabels::parse(labels),
            labels: name.labels.clone(),
            created_at: name.created,
            updated_at: name.updated,
            expires: None,
        }
    })
}

/// Returns what keeps all names of an image.
fn users(seen: &SeenImage) -> impl Iterator<Item = Container> {
    let names = seen.names.iter().enumerate();
    names.map(|(n, name)| Container {
        id: format!("use-{}-{n}", seen.id),
        source: ContainerSource::Engine,
        image: name.name.clone(),
        image_digest: Some(seen.target.clone()),
        ..Container::default()
    })
}

/// Returns the documents of an image, by which the planner reads it. The target lists the configurations
/// of all platforms itself.
fn documents(present: &Present) -> Vec<(Digest, Document)> {
    let seen = &present.seen;
    let kind = DocumentKind::of_media_type(&seen.media_type);
    let configs = seen.configs.iter().filter(|it| it.digest != seen.target);
    let children = configs.clone().map(|config| Child {
        digest: config.digest.clone(),
        size: 0,
        kind: DocumentKind::Config,
        is_attestation: false,
        is_layer: false,
    });
    let children: Vec<Child> = children.collect();
    let mut documents: Vec<(Digest, Document)> = configs
        .map(|config| {
            let document = Document::Config(Config {
                labels: config.labels.clone(),
                labels_left_out: config.labels_left_out,
                ..Config::default()
            });
            (config.digest.clone(), document)
        })
        .collect();
    let target = match kind {
        DocumentKind::Index => Some(Document::Index(children)),
        DocumentKind::Manifest => Some(Document::Manifest(children)),
        DocumentKind::Config | DocumentKind::Leaf => None,
    };
    documents.extend(target.map(|document| (seen.target.clone(), document)));
    documents
}
