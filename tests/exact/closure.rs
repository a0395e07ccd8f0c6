//! Predicts what containerd's collector keeps, with the collector of the in-memory containerd.
//!
//! These tests compare the product's graph with it, and it with the real containerd: what is left
//! of a store must be what it predicts.

use std::collections::BTreeSet;

use reclaim_fake::Namespace;
use reclaim_fake::api::services::v1::snapshots::Info as SnapshotInfo;
use reclaim_fake::api::services::v1::{Container, Image, Info};
use reclaim_fake::api::types::Descriptor;
pub(crate) use reclaim_fake::{Kind, Node};
use reclaim_model::{CollectorRules, parse_expiry};
use reclaim_testkit::{Labels, Version};

use crate::contents::NamespaceContents;

/// Returns the kinds and keys that are kept without the images in `without`, including references
/// to what does not exist.
pub(crate) fn closure(
    contents: &NamespaceContents,
    version: Version,
    without: &BTreeSet<String>,
) -> BTreeSet<Node> {
    let now = jiff::Timestamp::now();
    reclaim_fake::closure(&loaded(contents), rules(version), now, without)
}

fn rules(version: Version) -> CollectorRules {
    CollectorRules::for_version(&version.to_string()).expect("the version has two numbers")
}

/// Returns what the record of an image keeps by itself.
pub(crate) fn kept_by(
    contents: &NamespaceContents,
    version: Version,
    image: &str,
) -> BTreeSet<Node> {
    let mut alone = loaded(contents);
    alone.images.retain(|name, _| name == image);
    alone.containers.clear();
    alone.leases.clear();
    alone.sandboxes.clear();
    reclaim_fake::closure(
        &alone,
        rules(version),
        jiff::Timestamp::now(),
        &BTreeSet::new(),
    )
}

/// Returns what holders other than images keep.
pub(crate) fn held(contents: &NamespaceContents, version: Version) -> BTreeSet<Node> {
    let all = contents.images.keys().cloned().collect();
    closure(contents, version, &all)
}

/// Whether containerd deletes a lease or, from 2.0 on, an image with these labels.
pub(crate) fn is_expired(labels: &Labels) -> bool {
    labels
        .get("containerd.io/gc.expire")
        .and_then(|text| parse_expiry(text))
        .is_some_and(|expire| expire < jiff::Timestamp::now())
}

/// Returns an in-memory namespace with these contents.
fn loaded(contents: &NamespaceContents) -> Namespace {
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
        lease.resources = held
            .resources
            .iter()
            .map(|resource| (resource.kind.clone(), resource.id.clone()))
            .collect();
        namespace.leases.insert(id.clone(), lease);
    }
    namespace
}
