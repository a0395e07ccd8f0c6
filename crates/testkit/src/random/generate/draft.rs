//! A store on the way: what is in it so far, and what there is to refer to.

use std::collections::{BTreeMap, BTreeSet};

use crate::labels::Labels;
use crate::namespace::{Descriptor, SnapshotKind, digest_of};
use crate::random::dice::Dice;
use crate::random::store::{Thing, What};

/// What one namespace has, by which other things refer to it.
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

/// A store that is being generated, and the dice that decide.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) dice: Dice,
    things: Vec<Thing>,
    namespace: &'static str,
    known: BTreeMap<&'static str, Known>,
    /// Namespace, kind and key of all there is: a key is given once.
    taken: BTreeSet<(&'static str, String)>,
    numbers: usize,
}

impl Draft {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            dice,
            things: Vec::new(),
            namespace: "",
            known: BTreeMap::new(),
            taken: BTreeSet::new(),
            numbers: 0,
        }
    }

    /// Goes on in another namespace.
    pub(super) fn enter(&mut self, namespace: &'static str) {
        self.namespace = namespace;
        self.known.entry(namespace).or_default();
    }

    pub(super) fn into_things(self) -> Vec<Thing> {
        self.things
    }

    /// Returns a number that was not returned before.
    pub(super) fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }

    /// What the current namespace has.
    pub(super) fn known(&self) -> &Known {
        &self.known[self.namespace]
    }

    /// Returns the things of the current namespace, to be labelled.
    pub(super) fn things_here(&mut self) -> Vec<&mut Thing> {
        let namespace = self.namespace;
        let things = self.things.iter_mut();
        things.filter(|it| it.namespace == namespace).collect()
    }

    /// Adds a thing, unless the namespace has one of its kind and key.
    pub(super) fn add(&mut self, what: What, labels: Labels) {
        let (key, digest) = key(&what);
        if !self.taken.insert((self.namespace, key)) {
            return;
        }
        let known = self.known.entry(self.namespace).or_default();
        match &what {
            What::Blob { bytes: _, note: _ } => known.digests.extend(digest),
            What::Snapshot {
                snapshotter,
                key,
                kind,
                parent: _,
                bytes: _,
            } => {
                let id = (snapshotter.clone(), key.clone(), *kind);
                known.snapshots.push(id);
            }
            What::Image {
                name,
                target,
                created: _,
            } => {
                known.names.push(name.clone());
                known.targets.push(target.clone());
            }
            What::Container {
                id,
                image: _,
                snapshot: _,
            } => known.containers.push(id.clone()),
            What::Ingest {
                reference,
                bytes: _,
            } => known.ingests.push(reference.clone()),
            What::Lease {
                id: _,
                resources: _,
            }
            | What::Sandbox { id: _ } => {}
        }
        self.things.push(Thing {
            namespace: self.namespace.to_owned(),
            labels,
            what,
        });
    }

    /// Picks a snapshot, if there is one of which `is_fit` says yes.
    pub(super) fn pick_snapshot(
        &mut self,
        is_fit: impl Fn(SnapshotKind) -> bool,
    ) -> Option<(String, String)> {
        let snapshots = &self.known[self.namespace].snapshots;
        let fit = snapshots.iter().filter(|(_, _, kind)| is_fit(*kind));
        let fit: Vec<(String, String)> = fit
            .map(|(snapshotter, key, _)| (snapshotter.clone(), key.clone()))
            .collect();
        (!fit.is_empty()).then(|| self.dice.pick(&fit).clone())
    }
}

/// Returns what a thing is found by, with its kind; and its digest if it is a blob.
fn key(what: &What) -> (String, Option<String>) {
    let key = match what {
        What::Blob { bytes, note: _ } => {
            let digest = digest_of(bytes).to_string();
            return (format!("blob {digest}"), Some(digest));
        }
        What::Snapshot {
            snapshotter, key, ..
        } => format!("snapshot {snapshotter}/{key}"),
        What::Image { name, .. } => format!("image {name}"),
        What::Container { id, .. } => format!("container {id}"),
        What::Lease { id, .. } => format!("lease {id}"),
        What::Ingest { reference, .. } => format!("ingest {reference}"),
        What::Sandbox { id } => format!("sandbox {id}"),
    };
    (key, None)
}
