//! What only build history holds: unpacked layers of images that no longer exist.
//!
//! Builders that keep their results in the namespace of the images use leases without an expiry.
//! Such a lease holds a configuration, and the configuration's label holds what was unpacked of
//! the image. Docker's own pruner removed that label for a while.
//!
//! # Conditions
//!
//! The rules look for a reason to leave a configuration alone. Its label goes only if all of this
//! holds: the blob reads as a configuration; the label refers to the very chain that it implies;
//! no other label of it steers collection; the whole namespace can be seen; and nothing reaches
//! it, not even an image that goes, except other processes' leases that never expire. A lease
//! that expires is a pull or a build in progress.
//!
//! This frees only what nothing else keeps: containers and other leases hold their snapshots, and
//! all snapshots below these, by themselves.
//!
//! Source: moby, `unleaseSnapshotsFromDeletedConfigs`, 24.0 to 28.1.

use std::collections::BTreeSet;

use reclaim_model::{
    Cut, CutTarget, Document, GcRef, Holder, HolderKind, Inventory, NamespaceInventory, Part,
};

use crate::cuts::{freed_by, is_plain, references};
use crate::graph::{Graph, NodeId};
use crate::holdings::{Hold, Holding, holdings};
use crate::mark::{Going, Marker};
use crate::things::Things;

/// The labels that can be removed, and what that frees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// Sorted.
    pub(crate) cuts: Vec<Cut>,
    pub(crate) freed: Things,
}

/// Finds what only build history holds, and what removing its labels frees when the images of
/// `going` go as well.
pub(crate) fn history(inventory: &Inventory, graph: &Graph<'_>, going: &[usize]) -> History {
    let cuts = cuts(inventory, graph);
    if cuts.is_empty() {
        return History::default();
    }
    let going = Going {
        images: going.to_vec(),
        references: references(graph, &cuts),
    };
    let mut freed = Things::of(graph, &freed_by(inventory, graph, &going));
    // Another namespace may have the same content and keep it on disk.
    freed.blobs.clear();
    if freed.snapshots.is_empty() {
        return History::default();
    }
    History { cuts, freed }
}

/// Finds what only build history holds, sorted.
pub(crate) fn cuts(inventory: &Inventory, graph: &Graph<'_>) -> Vec<Cut> {
    let namespace = graph.namespace;
    // Unseen objects may hold anything.
    if !namespace.gaps.is_empty() {
        return Vec::new();
    }
    let leases = namespace
        .leases
        .iter()
        .filter(|lease| lease.may_be_history());
    let leases: BTreeSet<&str> = leases.map(|lease| lease.id.as_str()).collect();
    if leases.is_empty() {
        return Vec::new();
    }
    let candidates = candidates(inventory, namespace);
    let holdings = holdings(graph, inventory.observed_at).into_iter();
    let (history, others): (Vec<Holding>, Vec<Holding>) = holdings.partition(|it| {
        let Holder { kind, id, role: _ } = &it.holder;
        *kind == HolderKind::Lease && leases.contains(id.as_str())
    });
    let mut of_others = Marker::new(graph);
    for holding in &others {
        of_others.extend_all(holding);
    }
    for index in 0..namespace.images.len() {
        of_others.extend(graph.image(index), Hold::Deep);
    }
    let mut of_history = Marker::new(graph);
    for holding in &history {
        of_history.extend_all(holding);
    }
    let is_pinned = |id: &NodeId| of_history.is_reached(*id) && !of_others.is_reached(*id);
    let pinned = candidates.into_iter().filter(|cut| {
        let id = graph.find_blob(&cut.blob);
        id.as_ref().is_some_and(is_pinned)
    });
    pinned.collect()
}

/// Returns configurations with a label for what was unpacked of them, whatever holds them; sorted.
fn candidates(inventory: &Inventory, namespace: &NamespaceInventory) -> Vec<Cut> {
    let blobs = namespace.blobs.iter().filter(|blob| is_plain(&blob.gc));
    let cuts = blobs.flat_map(|blob| {
        let chain = match inventory.documents.get(&blob.digest) {
            Some(Document::Config(config)) => config.chain_id.as_ref(),
            Some(
                Document::Index(_)
                | Document::Manifest(_)
                | Document::Torn(_)
                | Document::NotRead(_),
            )
            | None => None,
        };
        let chain = chain.map(ToString::to_string);
        blob.gc.refs.iter().filter_map(move |reference| {
            let GcRef::Snapshot(id) = reference else {
                return None;
            };
            (chain.as_deref() == Some(&*id.key)).then(|| Cut {
                part: Part::BuildHistory,
                blob: blob.digest.clone(),
                target: CutTarget::Snapshot(id.clone()),
            })
        })
    });
    cuts.collect()
}
