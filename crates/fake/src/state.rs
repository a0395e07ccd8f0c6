//! What a containerd stores.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use containerd_client::services::v1::snapshots::Info as SnapshotInfo;
use containerd_client::services::v1::{Container, Image, Info, Lease as LeaseMessage, Resource};
use jiff::Timestamp;
use prost_types::Timestamp as TimestampMessage;
use reclaim_model::{CollectorRules, parse_expiry};
use sha2::{Digest as _, Sha256};

use crate::collector::{Kind, closure};
use crate::events::Event;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The name of a snapshotter and the key of a snapshot in it.
pub type SnapshotKey = (String, String);

/// Everything that a containerd stores.
///
/// Objects are containerd's own messages. Changing them here publishes no event; see
/// [`crate::Fake::change`] for how to publish one.
#[derive(Debug, Clone)]
pub struct State {
    /// The version that the server reports.
    pub version: String,
    /// By name. A namespace exists from its first object on.
    pub namespaces: BTreeMap<String, Namespace>,
    /// The snapshotters that are loaded.
    pub snapshotters: BTreeSet<String>,
    /// How many bytes of content and snapshots fit; a write of more fails.
    pub capacity: Option<u64>,
    /// How many collections there have been.
    pub collections: u64,
    bodies: BTreeMap<String, Body>,
    /// What happened and was not published yet.
    pub(crate) events: Vec<Event>,
}

/// The bytes of a blob, which all namespaces share.
#[derive(Debug, Clone)]
enum Body {
    Bytes(Bytes),
    /// Only their number: no client reads them.
    Length(u64),
}

/// One namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Namespace {
    /// Its own labels.
    pub labels: Labels,
    /// Image records by name.
    pub images: BTreeMap<String, Image>,
    /// Blobs by digest.
    pub content: BTreeMap<String, Info>,
    /// Snapshots of all snapshotters.
    pub snapshots: BTreeMap<SnapshotKey, Snapshot>,
    /// Container records by ID.
    pub containers: BTreeMap<String, Container>,
    /// IDs of containers with a running task.
    pub tasks: BTreeSet<String>,
    /// Labels of sandbox records by ID.
    pub sandboxes: BTreeMap<String, Labels>,
    /// Leases by ID.
    pub leases: BTreeMap<String, Lease>,
    /// Blobs that are being written, by reference.
    pub(crate) ingests: BTreeMap<String, Ingest>,
}

/// A snapshot with what it occupies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// As containerd reports it.
    pub info: SnapshotInfo,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// A lease with what it holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lease {
    /// As containerd reports it.
    pub message: LeaseMessage,
    /// Types and IDs of its resources, such as `content` and a digest.
    pub resources: BTreeSet<(String, String)>,
}

/// A blob that is being written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ingest {
    pub(crate) data: Vec<u8>,
    pub(crate) total: i64,
    pub(crate) expected: String,
    pub(crate) started: Option<TimestampMessage>,
}

impl State {
    pub(crate) fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            namespaces: BTreeMap::new(),
            snapshotters: ["native", "overlayfs"].map(str::to_owned).into(),
            capacity: None,
            collections: 0,
            bodies: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Returns the rules by which this version collects.
    pub fn rules(&self) -> CollectorRules {
        CollectorRules::for_version(&self.version).unwrap_or(CollectorRules::V2_3)
    }

    /// Returns a namespace, which begins to exist.
    pub fn namespace(&mut self, name: &str) -> &mut Namespace {
        self.namespaces.entry(name.to_owned()).or_default()
    }

    /// Stores a blob. Returns its digest.
    pub fn put_blob(
        &mut self,
        namespace: &str,
        body: impl Into<Bytes>,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> String {
        let body = body.into();
        let digest = digest_of(&body);
        let length = body.len() as u64;
        self.bodies.insert(digest.clone(), Body::Bytes(body));
        self.add_info(namespace, &digest, length, labels);
        digest
    }

    /// Stores a blob of which only the length matters, such as a layer.
    pub fn put_opaque_blob(
        &mut self,
        namespace: &str,
        digest: &str,
        length: u64,
        labels: impl IntoIterator<Item = (String, String)>,
    ) {
        let body = self.bodies.entry(digest.to_owned());
        body.or_insert(Body::Length(length));
        self.add_info(namespace, digest, length, labels);
    }

    fn add_info(
        &mut self,
        namespace: &str,
        digest: &str,
        length: u64,
        labels: impl IntoIterator<Item = (String, String)>,
    ) {
        let content = &mut self.namespace(namespace).content;
        let info = content.entry(digest.to_owned()).or_default();
        digest.clone_into(&mut info.digest);
        info.size = i64::try_from(length).unwrap_or(i64::MAX);
        info.labels.extend(labels);
    }

    /// Writes an image record, or moves it to another target and adds labels to it.
    pub fn put_image(&mut self, namespace: &str, image: Image, now: Timestamp) {
        let time = Some(timestamp(now));
        let images = &mut self.namespace(namespace).images;
        let is_new = !images.contains_key(&image.name);
        let record = images.entry(image.name.clone()).or_default();
        record.name = image.name;
        record.target = image.target;
        record.labels.extend(image.labels);
        record.created_at = record.created_at.or(time);
        record.updated_at = time;
        let record = record.clone();
        self.events.push(if is_new {
            Event::image_created(namespace, &record)
        } else {
            Event::image_updated(namespace, &record)
        });
    }

    /// Removes an image record, as a client that does not wait for a collection. Returns whether
    /// there was one.
    pub fn remove_image(&mut self, namespace: &str, name: &str) -> bool {
        let removed = self.namespace(namespace).images.remove(name);
        if removed.is_some() {
            self.events.push(Event::image_deleted(namespace, name));
        }
        removed.is_some()
    }

    /// Stores a snapshot.
    pub fn put_snapshot(&mut self, namespace: &str, key: SnapshotKey, snapshot: Snapshot) {
        let prepared = (snapshot.info.kind()
            != containerd_client::services::v1::snapshots::Kind::Committed)
            .then(|| Event::snapshot_prepared(namespace, &key.1, &snapshot.info.parent));
        self.namespace(namespace).snapshots.insert(key, snapshot);
        self.events.extend(prepared);
    }

    /// Stores a container record.
    pub fn put_container(&mut self, namespace: &str, container: Container) {
        self.events
            .push(Event::container_created(namespace, &container));
        let containers = &mut self.namespace(namespace).containers;
        containers.insert(container.id.clone(), container);
    }

    /// Removes a container record with its task and its snapshot. Returns whether there was one.
    pub fn remove_container(&mut self, namespace: &str, id: &str) -> bool {
        let space = self.namespace(namespace);
        let Some(container) = space.containers.remove(id) else {
            return false;
        };
        space.tasks.remove(id);
        let key = (container.snapshotter, container.snapshot_key);
        space.snapshots.remove(&key);
        self.events.push(Event::container_deleted(namespace, id));
        true
    }

    /// Begins or ends the task of a container.
    pub fn set_running(&mut self, namespace: &str, id: &str, is_running: bool) {
        let tasks = &mut self.namespace(namespace).tasks;
        if is_running {
            tasks.insert(id.to_owned());
        } else {
            tasks.remove(id);
        }
        self.events.push(Event::task(namespace, id, is_running));
    }

    /// Returns the bytes of a blob of a namespace. Those of which only the number is known are
    /// zeros.
    pub(crate) fn body(&self, namespace: &str, digest: &str) -> Option<Bytes> {
        self.namespaces.get(namespace)?.content.get(digest)?;
        Some(match self.bodies.get(digest)? {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Length(length) => Bytes::from(vec![0; usize::try_from(*length).unwrap_or(0)]),
        })
    }

    /// Whether another namespace has the bytes of a blob already.
    pub(crate) fn has_body(&self, digest: &str) -> bool {
        self.bodies.contains_key(digest)
    }

    /// Returns what content and snapshots occupy, in whole blocks of `block` bytes.
    pub fn occupied(&self, block: u64) -> u64 {
        let blobs = self.bodies.values().map(|body| match body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Length(length) => *length,
        });
        let blobs: u64 = blobs.map(|length| length.next_multiple_of(block)).sum();
        let snapshots = self
            .namespaces
            .values()
            .flat_map(|it| it.snapshots.values());
        blobs + snapshots.map(|it| it.bytes).sum::<u64>()
    }

    /// Collects what nothing holds, as containerd does in one pass: leases and images that have
    /// expired, then content and snapshots.
    pub fn collect(&mut self, now: Timestamp) {
        self.collections += 1;
        let rules = self.rules();
        let names: Vec<String> = self.namespaces.keys().cloned().collect();
        for name in names {
            self.collect_namespace(&name, rules, now);
        }
        let namespaces = self.namespaces.values();
        let held: BTreeSet<&String> = namespaces.flat_map(|it| it.content.keys()).collect();
        self.bodies.retain(|digest, _| held.contains(digest));
    }

    fn collect_namespace(&mut self, name: &str, rules: CollectorRules, now: Timestamp) {
        let Some(space) = self.namespaces.get_mut(name) else {
            return;
        };
        let kept = closure(space, rules, now, &BTreeSet::new());
        let is_kept = |kind: Kind, key: &String| kept.contains(&(kind, key.clone()));
        space
            .leases
            .retain(|_, lease| !has_expired(&lease.message.labels, now));
        if rules >= CollectorRules::V2_0 {
            let events = &mut self.events;
            space.images.retain(|image, _| {
                let stays = is_kept(Kind::Image, image);
                if !stays {
                    events.push(Event::image_deleted(name, image));
                }
                stays
            });
        }
        space
            .content
            .retain(|digest, _| is_kept(Kind::Content, digest));
        let tells = !self.version.trim_start_matches('v').starts_with("1.6.");
        let events = &mut self.events;
        space.snapshots.retain(|(snapshotter, key), _| {
            let stays = kept.contains(&(Kind::Snapshot, format!("{snapshotter}/{key}")));
            if !stays && tells {
                events.push(Event::snapshot_removed(name, key));
            }
            stays
        });
    }
}

/// Whether a lease or an image with these labels has expired.
pub(crate) fn has_expired<'a, M>(labels: &'a M, now: Timestamp) -> bool
where
    &'a M: IntoIterator<Item = (&'a String, &'a String)>,
{
    let mut labels = labels.into_iter();
    let expiry = labels.find(|(key, _)| *key == reclaim_model::EXPIRE);
    let expiry = expiry.and_then(|(_, value)| parse_expiry(value));
    expiry.is_some_and(|expiry| expiry < now)
}

/// Returns the SHA-256 digest of some bytes, as text.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    reclaim_model::Digest::Sha256(Sha256::digest(bytes).into()).to_string()
}

pub(crate) fn timestamp(time: Timestamp) -> TimestampMessage {
    TimestampMessage {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

impl Lease {
    /// Adds a resource.
    pub fn hold(&mut self, resource: Resource) {
        self.resources.insert((resource.r#type, resource.id));
    }
}
