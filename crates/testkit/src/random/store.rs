//! The description of a store: a flat list of things, each of which can be left out.

use std::sync::Arc;

use crate::labels::Labels;
use crate::namespace::{Descriptor, LeaseResource, SnapshotKind};

/// A store as data: what [`RandomStore::build`] puts into a containerd.
///
/// Things refer to each other by digest, key and name, as in containerd itself. What they refer
/// to need not be there, so any part of a store is a store too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomStore {
    /// What it was generated from.
    pub seed: u64,
    /// Everything in it, in no order that matters but that of snapshots, parents first.
    pub things: Vec<Thing>,
}

/// One object of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// The namespace that it is in.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// What it is.
    pub what: What,
}

/// What a [`Thing`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A blob.
    Blob {
        /// Its bytes.
        bytes: Arc<[u8]>,
        /// What it is meant to be; for people.
        note: String,
    },
    /// A snapshot with one file in it.
    Snapshot {
        /// The snapshotter.
        snapshotter: String,
        /// The key.
        key: String,
        /// The key of its parent; it is left out if that is not there.
        parent: Option<String>,
        /// Committed, active or view. A view has no file.
        kind: SnapshotKind,
        /// The length of its file.
        bytes: usize,
    },
    /// An image record.
    Image {
        /// The name.
        name: String,
        /// What it points at.
        target: Descriptor,
        /// When it claims to be created, as RFC 3339; otherwise it is new.
        created: Option<String>,
    },
    /// A container record.
    Container {
        /// The ID.
        id: String,
        /// What it says it was created from.
        image: String,
        /// Snapshotter and key of its filesystem.
        snapshot: Option<(String, String)>,
    },
    /// A lease.
    Lease {
        /// The ID.
        id: String,
        /// What it holds. Kinds that the server does not know are left out.
        resources: Vec<LeaseResource>,
    },
    /// A blob on its way that nobody finishes.
    Ingest {
        /// The reference of the writer.
        reference: String,
        /// How much has been written.
        bytes: usize,
    },
    /// A sandbox record; left out where the server has no such store.
    Sandbox {
        /// The ID.
        id: String,
    },
}
