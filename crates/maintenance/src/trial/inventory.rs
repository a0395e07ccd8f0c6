//! The tried host as the planner sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use reclaim_model::{
    Blob, Child, Config, Container, ContainerSource, Digest, Document, DocumentKind, GcLabelSet,
    GcLabels, GcRef, ImageRecord, Inventory, Namespace, NamespaceInventory, NamespaceProtection,
    Snapshot, SnapshotId, SnapshotKind, SnapshotSizes, Sources, Target,
};

use super::host::{Present, TriedHost};
use crate::timeline::{ObjectKey, SeenImage};

impl TriedHost<'_> {
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
                    gc: GcLabels::from(GcLabelSet {
                        refs: refs.into(),
                        ..GcLabelSet::default()
                    }),
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
