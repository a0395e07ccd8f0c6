//! A store under construction, and the names that its objects can refer to.

use std::collections::{BTreeMap, BTreeSet};

use crate::labels::Labels;
use crate::namespace::{Descriptor, SnapshotKind, digest_of};
use crate::random::dice::Dice;
use crate::random::store::{ObjectKind, StoreObject};

/// The names of the objects of a namespace.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) digests: Vec<String>,
    /// Snapshotter, key, kind.
    pub(super) snapshots: Vec<(String, String, SnapshotKind)>,
    pub(super) names: Vec<String>,
    pub(super) targets: Vec<Descriptor>,
    pub(super) containers: Vec<String>,
    pub(super) ingests: Vec<String>,
}

/// A store under construction, and its dice.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) dice: Dice,
    objects: Vec<StoreObject>,
    namespace: &'static str,
    known: BTreeMap<&'static str, Known>,
    /// Namespace, kind and key of all objects, each of which is used once.
    taken: BTreeSet<(&'static str, String)>,
    numbers: usize,
}

impl Draft {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            dice,
            objects: Vec::new(),
            namespace: "",
            known: BTreeMap::new(),
            taken: BTreeSet::new(),
            numbers: 0,
        }
    }

    /// Switches to another namespace.
    pub(super) fn enter(&mut self, namespace: &'static str) {
        self.namespace = namespace;
        self.known.entry(namespace).or_default();
    }

    pub(super) fn into_objects(self) -> Vec<StoreObject> {
        self.objects
    }

    /// Returns a number that was not returned before.
    pub(super) fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }

    /// Returns the names in the current namespace.
    pub(super) fn known(&self) -> &Known {
        &self.known[self.namespace]
    }

    /// Returns the objects of the current namespace.
    pub(super) fn objects_here(&mut self) -> Vec<&mut StoreObject> {
        let namespace = self.namespace;
        self.objects
            .iter_mut()
            .filter(|object| object.namespace == namespace)
            .collect()
    }

    /// Adds an object, unless the namespace has one of the same kind and key.
    pub(super) fn add(&mut self, object: ObjectKind, labels: Labels) {
        let (key, digest) = key(&object);
        if !self.taken.insert((self.namespace, key)) {
            return;
        }
        let known = self.known.entry(self.namespace).or_default();
        match &object {
            ObjectKind::Blob { bytes: _, note: _ } => known.digests.extend(digest),
            ObjectKind::Snapshot {
                snapshotter,
                key,
                kind,
                parent: _,
                bytes: _,
            } => {
                let id = (snapshotter.clone(), key.clone(), *kind);
                known.snapshots.push(id);
            }
            ObjectKind::Image {
                name,
                target,
                created: _,
            } => {
                known.names.push(name.clone());
                known.targets.push(target.clone());
            }
            ObjectKind::Container {
                id,
                image: _,
                snapshot: _,
            } => known.containers.push(id.clone()),
            ObjectKind::Ingest {
                reference,
                bytes: _,
            } => known.ingests.push(reference.clone()),
            ObjectKind::Lease {
                id: _,
                resources: _,
            }
            | ObjectKind::Sandbox { id: _ } => {}
        }
        self.objects.push(StoreObject {
            namespace: self.namespace.to_owned(),
            labels,
            kind: object,
        });
    }

    /// Picks a snapshot of a kind that `is_fit` accepts, if there is one.
    pub(super) fn pick_snapshot(
        &mut self,
        is_fit: impl Fn(SnapshotKind) -> bool,
    ) -> Option<(String, String)> {
        let snapshots = &self.known[self.namespace].snapshots;
        let fit: Vec<(String, String)> = snapshots
            .iter()
            .filter(|(_, _, kind)| is_fit(*kind))
            .map(|(snapshotter, key, _)| (snapshotter.clone(), key.clone()))
            .collect();
        (!fit.is_empty()).then(|| self.dice.pick(&fit).clone())
    }
}

/// Returns the kind and key of an object as a text, and the digest of a blob.
fn key(object: &ObjectKind) -> (String, Option<String>) {
    let key = match object {
        ObjectKind::Blob { bytes, note: _ } => {
            let digest = digest_of(bytes).to_string();
            return (format!("blob {digest}"), Some(digest));
        }
        ObjectKind::Snapshot {
            snapshotter, key, ..
        } => format!("snapshot {snapshotter}/{key}"),
        ObjectKind::Image { name, .. } => format!("image {name}"),
        ObjectKind::Container { id, .. } => format!("container {id}"),
        ObjectKind::Lease { id, .. } => format!("lease {id}"),
        ObjectKind::Ingest { reference, .. } => format!("ingest {reference}"),
        ObjectKind::Sandbox { id } => format!("sandbox {id}"),
    };
    (key, None)
}
