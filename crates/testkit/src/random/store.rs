//! A store as data: a flat list of objects, each of which can be removed.

use std::sync::Arc;

use crate::labels::Labels;
use crate::namespace::{Descriptor, LeaseResource, SnapshotKind};

/// A store as data, which [`RandomStore::build`] builds in a containerd.
///
/// Objects refer to each other by digest, key and name, as in containerd. What they refer to may be
/// missing, so any part of a store is also a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomStore {
    /// The seed that it was generated from.
    pub seed: u64,
    /// The objects. Snapshots come after their parents; otherwise the order does not matter.
    pub objects: Vec<StoreObject>,
}

/// An object of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreObject {
    /// The namespace.
    pub namespace: String,
    /// The labels.
    pub labels: Labels,
    /// The kind of the object, with its data.
    pub kind: ObjectKind,
}

/// The kind of a [`StoreObject`], with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectKind {
    /// A blob.
    Blob {
        /// The bytes.
        bytes: Arc<[u8]>,
        /// A description for failure messages.
        note: String,
    },
    /// A snapshot with one file.
    Snapshot {
        /// The snapshotter.
        snapshotter: String,
        /// The key.
        key: String,
        /// The key of the parent. Without it, the snapshot is not built.
        parent: Option<String>,
        /// The kind. A view has no file.
        kind: SnapshotKind,
        /// The length of the file.
        bytes: usize,
    },
    /// An image record.
    Image {
        /// The name.
        name: String,
        /// The target.
        target: Descriptor,
        /// The creation time as RFC 3339; otherwise containerd sets it.
        created: Option<String>,
    },
    /// A container record.
    Container {
        /// The ID.
        id: String,
        /// The image that it names.
        image: String,
        /// The snapshotter and the key of its filesystem.
        snapshot: Option<(String, String)>,
    },
    /// A lease.
    Lease {
        /// The ID.
        id: String,
        /// The resources. Kinds that the server does not support are left out.
        resources: Vec<LeaseResource>,
    },
    /// An unfinished write of a blob.
    Ingest {
        /// The reference of the writer.
        reference: String,
        /// The number of written bytes.
        bytes: usize,
    },
    /// A sandbox record; left out if the server has no such store.
    Sandbox {
        /// The ID.
        id: String,
    },
}
