//! The host as the adapters show it: inventory, sizes, filesystem.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Blob, CollectorRules, Container, ContainerState, Filesystem, GcLabels, ImageRecord, Inventory,
    Lease, LeaseResource, Namespace, NamespaceInventory, RUN_LABEL, Room, Snapshot, SnapshotId,
    SnapshotKind, SnapshotSizes, Target,
};

use super::{ACTIVE, CRI, Held, Record, Space, World};
use crate::registry::{SNAPSHOTTER, Thing};

impl World {
    pub(crate) fn inventory(&self) -> Inventory {
        let spaces = self.spaces.iter();
        Inventory {
            rules: CollectorRules::V2_0,
            observed_at: self.now(),
            namespaces: spaces
                .map(|(name, space)| (name.clone(), self.look(name, space)))
                .collect(),
            label_keys: std::collections::BTreeSet::new(),
            documents: self.registry.documents.clone(),
        }
    }

    fn look(&self, name: &Namespace, space: &Space) -> NamespaceInventory {
        let records = space.records.iter();
        let containers = space.containers.iter();
        let mut blobs = Vec::new();
        for id in &space.blobs {
            if let Thing::Blob { digest, bytes, gc } = &self.registry.things[*id] {
                blobs.push(Blob {
                    digest: digest.clone(),
                    size: *bytes,
                    gc: gc.clone(),
                });
            }
        }
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        NamespaceInventory {
            images: records
                .map(|(key, record)| self.record(name, key, record))
                .collect(),
            blobs,
            snapshots: BTreeMap::from([(SNAPSHOTTER.into(), self.snapshots(space))]),
            containers: containers
                .map(|(id, it)| Container {
                    id: id.clone(),
                    image: it.name.clone(),
                    snapshot: Some(SnapshotId::new(SNAPSHOTTER, format!("active-{id}"))),
                    state: ContainerState::Running,
                    ..Container::default()
                })
                .collect(),
            leases: space.holds.iter().map(|it| self.lease(it)).collect(),
            ..NamespaceInventory::default()
        }
    }

    /// A record as containerd has it.
    pub(crate) fn record(&self, namespace: &Namespace, name: &str, record: &Record) -> ImageRecord {
        let managed = ("io.cri-containerd.image".to_owned(), "managed".to_owned());
        let labels = (namespace.as_str() == CRI).then_some(managed);
        ImageRecord {
            name: name.to_owned(),
            target: Target {
                media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
                digest: self.registry.images[record.image].target.clone(),
                size: 1,
                annotations: BTreeMap::new(),
            },
            labels: labels.into_iter().collect(),
            created_at: Some(record.created),
            updated_at: Some(record.updated),
            gc: GcLabels::default(),
            expires: None,
        }
    }

    fn snapshots(&self, space: &Space) -> Vec<Snapshot> {
        let snapshot = |key: &str, parent: Option<&str>, kind| Snapshot {
            key: key.into(),
            parent: parent.map(Into::into),
            kind,
            gc: GcLabels::default(),
        };
        let mut found = Vec::new();
        for id in &space.snapshots {
            if let Thing::Snapshot { key, parent, .. } = &self.registry.things[*id] {
                found.push(snapshot(key, parent.as_deref(), SnapshotKind::Committed));
            }
        }
        for (id, container) in &space.containers {
            let chain = &self.registry.images[container.image].chain;
            let key = format!("active-{id}");
            found.push(snapshot(&key, Some(chain), SnapshotKind::Active));
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }

    fn lease(&self, held: &Held) -> Lease {
        let images: BTreeSet<usize> = held.records.values().map(|it| it.image).collect();
        let targets = images.into_iter();
        let targets = targets.map(|it| self.registry.images[it].target.clone());
        Lease {
            id: format!("hold-{}", held.run),
            labels: [(RUN_LABEL.to_owned(), held.run.clone())].into(),
            expires: Some(held.expires),
            is_flat: false,
            resources: targets.map(LeaseResource::Content).collect(),
        }
    }

    /// What the snapshots of a namespace occupy.
    pub(crate) fn sizes(&self, namespace: &Namespace) -> SnapshotSizes {
        let space = &self.spaces[namespace];
        let mut sizes = SnapshotSizes::default();
        for id in &space.snapshots {
            if let Thing::Snapshot { key, bytes, .. } = &self.registry.things[*id] {
                sizes.insert(SnapshotId::new(SNAPSHOTTER, key.as_str()), *bytes);
            }
        }
        for id in space.containers.keys() {
            let key = format!("active-{id}");
            sizes.insert(SnapshotId::new(SNAPSHOTTER, key), ACTIVE);
        }
        sizes
    }

    pub(crate) fn filesystem(&self) -> Filesystem {
        Filesystem {
            mount_point: "/var/lib/containerd".into(),
            block: crate::registry::BLOCK,
            bytes: Room {
                total: self.total,
                left: self.left(),
            },
            inodes: Room::default(),
            has_content: true,
            snapshotters: BTreeSet::from([SNAPSHOTTER.into()]),
        }
    }
}
