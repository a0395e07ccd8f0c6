//! Where the bytes are: every byte of the store in exactly one column.
//!
//! # How a byte finds its column
//!
//! The columns of [`Column`] stand in the order in which they claim: a layer that a container
//! uses is in use, whatever else holds it. What removing images would free comes after everything
//! that would stay, so the columns `unused` and `dangling` are exactly what
//! [`decide`](crate::decide) says that a prune frees.
//!
//! # How namespaces add up
//!
//! Snapshots belong to one namespace. A blob is one file that several may have: each namespace
//! counts it in its own columns, and the total counts it once, in the first column that any of
//! them has for it. A namespace can release a blob and free nothing, because another keeps it;
//! that is the column `elsewhere`. So the namespaces add up to more than the total, by what is
//! shared; each says how much of its content others have too. The total is what pruning all
//! namespaces would leave and free.
//!
//! # What each step frees
//!
//! [`Freeable`](reclaim_model::Freeable) has for each part of images what a request for this part
//! alone frees, by the code that plans it.
//!
//! # What is on disk
//!
//! Content counts by the length of its files, snapshots by what their snapshotter says that they
//! occupy. Both are whole: blobs of algorithms unknown here, blobs being written and, where the
//! files can be seen, blobs that no namespace has are columns too. What a snapshotter holds that
//! does not answer is missing, with a warning. Directories without a record and containerd's own
//! files are not columns; [`DiskUsage::on_disk`] adds them.

mod claims;
mod freeable;
mod images;
mod keepers;
mod map;
mod shortfall;

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Column, Container, Digest, DiskUsage, FreedBlob, Gap, Inventory, LeaseHolding, Namespace,
    NamespaceInventory, NamespaceUsage, OutsideRecords, SnapshotSizes, StoreMap, UsageByColumn,
};

use crate::facts::Facts;
use crate::freed::kept_by_others;
use crate::graph::Node;
use crate::image_mounts;
use crate::leased::HeldByLeases;
use crate::roles::Roles;
use crate::select::{select_dangling, select_unused};
use crate::weights::{Weight, weights};

use claims::{Verdicts, claims};
use freeable::Slimmable;
pub use shortfall::shortfall;

/// What disk usage is computed from.
#[derive(Debug)]
pub struct UsageInput<'a> {
    /// What was seen, with the documents behind the images of all namespaces.
    pub inventory: &'a Inventory,
    /// Containers of each namespace that only engines know of.
    pub registered: &'a BTreeMap<Namespace, Vec<Container>>,
    /// What each snapshot occupies. One without an entry was gone when it was measured.
    pub snapshot_bytes: &'a BTreeMap<Namespace, SnapshotSizes>,
    /// Files of the content store that no namespace has; `None` if they cannot be seen.
    pub orphaned: Option<&'a [FreedBlob]>,
    /// What containerd's directories hold outside of records; `None` if they cannot be seen.
    pub outside_records: Option<&'a OutsideRecords>,
}

/// A blob as one namespace counts it.
struct Entry<'a> {
    digest: &'a Digest,
    namespace: usize,
    column: Column,
    bytes: u64,
}

/// One namespace while it is added up.
struct Counted<'c, 'a> {
    inventory: &'a Inventory,
    facts: &'c Facts<'a>,
    /// By node.
    columns: &'c [Column],
    /// By node.
    weights: &'c [Weight],
    /// The blobs that another namespace keeps.
    kept_elsewhere: &'c BTreeSet<&'a Digest>,
}

impl Counted<'_, '_> {
    /// Lists what leases hold that nothing else needs.
    fn leases(
        &self,
        namespace: &Namespace,
        roles: &Roles<'_>,
        bytes: &SnapshotSizes,
    ) -> Vec<LeaseHolding> {
        let held = HeldByLeases {
            inventory: self.inventory,
            namespace,
            graph: &self.facts.graph,
            roles,
        };
        let mut leased = held.in_columns(self.columns);
        leased.measure(bytes);
        leased.leases
    }
}

/// Adds everything up.
pub fn disk_usage(input: &UsageInput<'_>) -> DiskUsage {
    add_up(input, |_| {})
}

/// Adds everything up, and lists every object with the images that keep it.
pub fn store_map(input: &UsageInput<'_>) -> StoreMap {
    let mut namespaces = Vec::new();
    let usage = add_up(input, |counted| namespaces.push(map::map(counted)));
    StoreMap {
        observed_at: input.inventory.observed_at,
        usage,
        namespaces,
    }
}

/// Adds everything up; `visit` gets each namespace in order.
fn add_up<'a>(input: &UsageInput<'a>, mut visit: impl FnMut(&Counted<'_, 'a>)) -> DiskUsage {
    let inventory = input.inventory;
    let mut usage = DiskUsage {
        total: UsageByColumn::default(),
        namespaces: Vec::new(),
        orphaned_known: input.orphaned.is_some(),
        outside_records: input.outside_records.cloned(),
        warnings: Vec::new(),
    };
    let mut entries = Vec::new();
    let nothing = SnapshotSizes::default();
    for (number, (name, namespace)) in inventory.namespaces.iter().enumerate() {
        let registered = input.registered.get(name).map_or(&[][..], Vec::as_slice);
        let facts = Facts::new(inventory, namespace, registered);
        let unused = select_unused(&facts);
        let dangling = select_dangling(&facts);
        let verdicts = Verdicts {
            all: &unused,
            dangling: Some(&dangling),
        };
        let columns = claims(&facts, verdicts, inventory.observed_at);
        let bytes = input.snapshot_bytes.get(name).unwrap_or(&nothing);
        let weights = weights(&facts.graph, bytes);
        let roles = Roles::new(namespace, registered);
        let blobs = namespace.blobs.iter().map(|blob| &blob.digest);
        let counted = Counted {
            inventory,
            facts: &facts,
            columns: &columns,
            weights: &weights,
            kept_elsewhere: &kept_by_others(inventory, name, &blobs),
        };
        visit(&counted);
        let mut images = images::images(&counted, &unused);
        for image in &mut images {
            image.holders = roles.assign(std::mem::take(&mut image.holders));
        }
        let leases = counted.leases(name, &roles, bytes);
        let mut found = NamespaceUsage::new(name.clone(), images, leases);
        let parts = Slimmable {
            inventory,
            namespace: name,
            facts: &facts,
            registered,
            roles: &roles,
            bytes,
        };
        found.freeable = Some(parts.freeable());
        let nodes = (0..).zip(columns).zip(weights);
        for ((id, column), weight) in nodes.filter(|(_, weight)| weight.is_there()) {
            if let Node::Blob(index) = facts.graph.node(id) {
                entries.push(Entry {
                    digest: &namespace.blobs[index].digest,
                    namespace: number,
                    column,
                    bytes: weight.bytes(),
                });
            } else {
                found.usage.add_snapshot(column, weight.known());
                usage.total.add_snapshot(column, weight.known());
            }
        }
        for ingest in &namespace.ingests {
            found.usage.add_blob(Column::Ingest, ingest.bytes);
            usage.total.add_blob(Column::Ingest, ingest.bytes);
        }
        usage.warnings.extend(warnings(name, namespace, bytes));
        usage.namespaces.push(found);
    }
    enter_blobs(entries, &mut usage);
    enter_unknown_content(inventory, &mut usage);
    for found in &mut usage.namespaces {
        if let Some(freeable) = &mut found.freeable {
            freeable.garbage = found.usage.garbage();
            freeable.images = found.usage.reclaimable();
        }
    }
    for blob in input.orphaned.unwrap_or_default() {
        usage.total.add_blob(Column::Orphaned, blob.bytes);
    }
    usage
}

/// Says what could not be seen of a namespace.
fn warnings(
    name: &Namespace,
    namespace: &NamespaceInventory,
    bytes: &SnapshotSizes,
) -> Vec<String> {
    let gaps = namespace.gaps.iter().map(ToString::to_string);
    let unseen = gaps.chain(bytes.warnings());
    let unseen = unseen.map(|it| format!("namespace `{name}`: {it}"));
    let mounts = image_mounts::warnings(name, namespace);
    mounts.chain(unseen).collect()
}

/// Enters each blob into the columns of every namespace that has it, and once into the total.
fn enter_blobs(mut entries: Vec<Entry<'_>>, usage: &mut DiskUsage) {
    entries.sort_unstable_by_key(|entry| (entry.digest, entry.namespace));
    for same in entries.chunk_by(|a, b| a.digest == b.digest) {
        let n_keepers = same.iter().filter(|entry| entry.column.is_kept()).count();
        for entry in same {
            let found = &mut usage.namespaces[entry.namespace];
            let keeps_itself = usize::from(entry.column.is_kept());
            let column = if entry.column.is_released() && n_keepers > keeps_itself {
                Column::Elsewhere
            } else {
                entry.column
            };
            found.usage.add_blob(column, entry.bytes);
            found.shared_bytes += if same.len() > 1 { entry.bytes } else { 0 };
        }
        if let Some(first) = same.iter().min_by_key(|entry| entry.column) {
            usage.total.add_blob(first.column, first.bytes);
        }
    }
}

/// Enters content of which only length and labels could be read.
fn enter_unknown_content(inventory: &Inventory, usage: &mut DiskUsage) {
    let mut unknown = BTreeMap::new();
    for (namespace, found) in inventory.namespaces.values().zip(&mut usage.namespaces) {
        for gap in &namespace.gaps {
            if let Gap::Content { digest, bytes, .. } = gap {
                found.usage.add_blob(Column::Unknown, *bytes);
                unknown.insert(digest, *bytes);
            }
        }
    }
    for bytes in unknown.into_values() {
        usage.total.add_blob(Column::Unknown, bytes);
    }
}
