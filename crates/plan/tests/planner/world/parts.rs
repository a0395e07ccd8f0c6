//! The pieces of a world: what an image is made of, and short ways to write records.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Container, EXPIRE, FLAT, GcLabels, ImageRecord, Lease, LeaseResource, SnapshotId, parse_expiry,
};

use super::{OVERLAY, ago, digest};

/// One platform of an image: a manifest, its config and its layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    /// Layers from the bottom up.
    pub(crate) layers: &'a [&'a str],
    /// Labels of the config.
    pub(crate) labels: &'a [(&'a str, &'a str)],
    /// Whether its snapshots exist.
    pub(crate) is_unpacked: bool,
}

impl Part<'_> {
    /// The name of the whole stack.
    pub(crate) fn stack(&self) -> String {
        self.layers.join("+")
    }
}

impl Default for Part<'_> {
    fn default() -> Self {
        Self {
            layers: &["base"],
            labels: &[],
            is_unpacked: true,
        }
    }
}

/// Labels as a client writes them, as the collector reads them.
pub(crate) fn gc(labels: &BTreeMap<String, String>) -> GcLabels {
    GcLabels::parse(labels.iter().map(|(key, value)| (&**key, &**value)))
}

/// A lease's resource: the blob of this name.
pub(crate) fn content(name: &str) -> LeaseResource {
    LeaseResource::Content(digest(name))
}

/// A lease's resource: a snapshot of the ordinary snapshotter.
pub(crate) fn snapshot(key: &str) -> LeaseResource {
    LeaseResource::Snapshot(SnapshotId::new(OVERLAY, key))
}

/// Short ways to change an image record.
pub(crate) trait RecordExt {
    fn label(&mut self, key: &str, value: &str) -> &mut Self;
    fn created(&mut self, created: Timestamp) -> &mut Self;
    fn cri(&mut self) -> &mut Self;
}

impl RecordExt for ImageRecord {
    fn label(&mut self, key: &str, value: &str) -> &mut Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self.gc = gc(&self.labels);
        self.expires = self.labels.get(EXPIRE).and_then(|it| parse_expiry(it));
        self
    }

    fn created(&mut self, created: Timestamp) -> &mut Self {
        self.created_at = Some(created);
        self
    }

    fn cri(&mut self) -> &mut Self {
        self.label("io.cri-containerd.image", "managed")
    }
}

/// Short ways to change a container.
pub(crate) trait ContainerExt {
    fn of(&mut self, target: &str) -> &mut Self;
    fn on(&mut self, key: &str) -> &mut Self;
    fn label(&mut self, key: &str, value: &str) -> &mut Self;
}

impl ContainerExt for Container {
    fn of(&mut self, target: &str) -> &mut Self {
        self.image_digest = Some(digest(target));
        self
    }

    fn on(&mut self, key: &str) -> &mut Self {
        self.snapshot = Some(SnapshotId::new(OVERLAY, key));
        self
    }

    fn label(&mut self, key: &str, value: &str) -> &mut Self {
        let labels = [(key, value)];
        self.gc = GcLabels::parse(labels);
        self
    }
}

/// Short ways to change a lease.
pub(crate) trait LeaseExt {
    fn label(&mut self, key: &str, value: &str) -> &mut Self;
    fn flat(&mut self) -> &mut Self;
    fn expired(&mut self) -> &mut Self;
}

impl LeaseExt for Lease {
    fn label(&mut self, key: &str, value: &str) -> &mut Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self.expires = self.labels.get(EXPIRE).and_then(|it| parse_expiry(it));
        self.is_flat = self.labels.contains_key(FLAT);
        self
    }

    fn flat(&mut self) -> &mut Self {
        self.label(FLAT, "")
    }

    fn expired(&mut self) -> &mut Self {
        let expiry = ago(SignedDuration::from_secs(1));
        self.label(EXPIRE, &expiry.to_string())
    }
}
