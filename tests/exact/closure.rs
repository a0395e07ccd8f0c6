//! What containerd's collector keeps, by the collector of the containerd in memory.
//!
//! The product's own graph is checked against it here, and it against the real containerd: what is
//! left of a store has to be what it foretells.

use std::collections::BTreeSet;

use reclaim_fake::Namespace;
use reclaim_fake::api::services::v1::snapshots::Info as SnapshotInfo;
use reclaim_fake::api::services::v1::{Container, Image, Info};
use reclaim_fake::api::types::Descriptor;
pub(crate) use reclaim_fake::{Kind, Node};
use reclaim_model::{CollectorRules, parse_expiry};
use reclaim_testkit::{Labels, Version};

use crate::picture::Contents;

/// Returns what is kept if the images in `without` were gone: kinds and keys, also of what does
/// not exist.
pub(crate) fn closure(
    contents: &Contents,
    version: Version,
    without: &BTreeSet<String>,
) -> BTreeSet<Node> {
    let rules = CollectorRules::for_version(&version.to_string()).expect("it has two numbers");
    reclaim_fake::closure(&loaded(contents), rules, jiff::Timestamp::now(), without)
}

/// Returns what is kept by holders other than images.
pub(crate) fn held(contents: &Contents, version: Version) -> BTreeSet<Node> {
    let all = contents.images.keys().cloned().collect();
    closure(contents, version, &all)
}

/// Whether the server deletes a lease or, from 2.0 on, an image with these labels by itself.
pub(crate) fn is_expired(labels: &Labels) -> bool {
    let expire = labels.get("containerd.io/gc.expire");
    let expire = expire.and_then(|it| parse_expiry(it));
    expire.is_some_and(|expire| expire < jiff::Timestamp::now())
}

/// Returns a namespace that has the same in it.
fn loaded(contents: &Contents) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.sandboxes.clone_from(&contents.sandboxes);
    for (digest, blob) in &contents.blobs {
        let info = Info {
            digest: digest.clone(),
            labels: blob.labels.clone().into_iter().collect(),
            ..Info::default()
        };
        namespace.content.insert(digest.clone(), info);
    }
    for (key, snapshot) in &contents.snapshots {
        let (snapshotter, name) = key.split_once('/').expect("a snapshotter and a key");
        let info = SnapshotInfo {
            name: name.to_owned(),
            parent: snapshot.info.parent.clone().unwrap_or_default(),
            labels: snapshot.info.labels.clone().into_iter().collect(),
            ..SnapshotInfo::default()
        };
        let place = (snapshotter.to_owned(), name.to_owned());
        let snapshot = reclaim_fake::Snapshot {
            info,
            ..reclaim_fake::Snapshot::default()
        };
        namespace.snapshots.insert(place, snapshot);
    }
    for (name, record) in &contents.images {
        let target = Descriptor {
            digest: record.target.digest.to_string(),
            ..Descriptor::default()
        };
        let image = Image {
            target: Some(target),
            labels: record.labels.clone().into_iter().collect(),
            ..Image::default()
        };
        namespace.images.insert(name.clone(), image);
    }
    for (id, record) in &contents.containers {
        let (snapshotter, snapshot_key) = record.snapshot.clone().unwrap_or_default();
        let container = Container {
            snapshotter,
            snapshot_key,
            labels: record.labels.clone().into_iter().collect(),
            ..Container::default()
        };
        namespace.containers.insert(id.clone(), container);
    }
    for (id, held) in &contents.leases {
        let mut lease = reclaim_fake::Lease::default();
        lease.message.labels = held.labels.clone().into_iter().collect();
        let resources = held.resources.iter();
        lease.resources = resources
            .map(|it| (it.kind.clone(), it.id.clone()))
            .collect();
        namespace.leases.insert(id.clone(), lease);
    }
    namespace
}
