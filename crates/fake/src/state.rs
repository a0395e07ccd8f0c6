//! The state of a containerd.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use containerd_client::services::v1::snapshots::Info as SnapshotInfo;
use containerd_client::services::v1::{Container, Image, Info, Lease as LeaseMessage, Resource};
use jiff::Timestamp;
use prost_types::Timestamp as TimestampMessage;
use reclaim_model::{CollectorRules, parse_expiry};
use sha2::{Digest as _, Sha256};

use crate::events::Event;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The name of a snapshotter and the key of a snapshot.
pub type SnapshotKey = (String, String);

/// The state of a containerd.
///
/// Objects are containerd's messages. Changing the fields publishes no events; the methods, called in
/// [`crate::Fake::change`], do.
#[derive(Debug, Clone)]
pub struct State {
    /// The version that the server reports.
    pub version: String,
    /// The namespaces by name. Its first object creates a namespace.
    pub namespaces: BTreeMap<String, Namespace>,
    /// The loaded snapshotters.
    pub snapshotters: BTreeSet<String>,
    /// The image of pods' sandboxes, which the CRI plugin exports.
    pub sandbox_image: Option<String>,
    /// The limit of bytes of content and snapshots; a write that exceeds it fails.
    pub capacity: Option<u64>,
    /// The number of collections so far.
    pub collections: u64,
    /// The bytes of all blobs, by digest.
    pub(crate) bodies: BTreeMap<String, Body>,
    /// The events to publish.
    pub(crate) events: Vec<Event>,
}

/// The bytes of a blob, which all namespaces share.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Bytes(Bytes),
    /// The length only, for blobs that no client reads.
    Length(u64),
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Namespace {
    /// The labels of the namespace.
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
    /// Ingests by reference.
    pub(crate) ingests: BTreeMap<String, Ingest>,
}

/// A snapshot and its size.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The snapshot as containerd reports it.
    pub info: SnapshotInfo,
    /// The bytes on disk.
    pub bytes: u64,
    /// The number of files and directories.
    pub inodes: u64,
}

/// A lease and its resources.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lease {
    /// The lease as containerd reports it.
    pub message: LeaseMessage,
    /// The types and IDs of the resources, such as `content` and a digest.
    pub resources: BTreeSet<(String, String)>,
}

/// An unfinished write of a blob.
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
            sandbox_image: None,
            capacity: None,
            collections: 0,
            bodies: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Returns the collector rules of this version.
    pub fn rules(&self) -> CollectorRules {
        CollectorRules::for_version(&self.version).unwrap_or(CollectorRules::V2_3)
    }

    /// Returns a namespace, and creates it if it does not exist.
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

    /// Stores a blob that no client reads, such as a layer, by its length.
    pub fn put_opaque_blob(
        &mut self,
        namespace: &str,
        digest: &str,
        length: u64,
        labels: impl IntoIterator<Item = (String, String)>,
    ) {
        self.bodies
            .entry(digest.to_owned())
            .or_insert(Body::Length(length));
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

    /// Creates an image record, or updates the target of an existing one and adds labels.
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

    /// Removes an image record without collecting. Returns whether it existed.
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

    /// Removes a container record with its task and its snapshot. Returns whether it existed.
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

    /// Starts or ends the task of a container.
    pub fn set_running(&mut self, namespace: &str, id: &str, is_running: bool) {
        let tasks = &mut self.namespace(namespace).tasks;
        if is_running {
            tasks.insert(id.to_owned());
        } else {
            tasks.remove(id);
        }
        self.events.push(Event::task(namespace, id, is_running));
    }

    /// Returns the bytes of a blob of a namespace; zeros if only the length is known.
    pub(crate) fn body(&self, namespace: &str, digest: &str) -> Option<Bytes> {
        self.namespaces.get(namespace)?.content.get(digest)?;
        Some(match self.bodies.get(digest)? {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Length(length) => Bytes::from(vec![0; usize::try_from(*length).unwrap_or(0)]),
        })
    }

    /// Whether any namespace has the blob.
    pub(crate) fn has_body(&self, digest: &str) -> bool {
        self.bodies.contains_key(digest)
    }

    /// Returns the size of content and snapshots, with blobs rounded up to blocks of `block` bytes.
    pub fn occupied(&self, block: u64) -> u64 {
        let length = |body: &Body| match body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Length(length) => *length,
        };
        let blobs = self.bodies.values();
        let content: u64 = blobs.map(|body| length(body).next_multiple_of(block)).sum();
        let snapshots: u64 = self
            .namespaces
            .values()
            .flat_map(|namespace| namespace.snapshots.values())
            .map(|snapshot| snapshot.bytes)
            .sum();
        content + snapshots
    }
}

/// Whether a lease or an image with these labels has expired.
pub(crate) fn has_expired<'a, M>(labels: &'a M, now: Timestamp) -> bool
where
    &'a M: IntoIterator<Item = (&'a String, &'a String)>,
{
    labels
        .into_iter()
        .find(|(key, _)| *key == reclaim_model::EXPIRE)
        .and_then(|(_, value)| parse_expiry(value))
        .is_some_and(|expiry| expiry < now)
}

/// Returns the SHA-256 digest of bytes as text.
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
