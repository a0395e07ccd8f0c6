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
    Document, GcLabels, GcRef, Holder, HolderKind, Inventory, NamespaceInventory, RootMark, Unpin,
};

use crate::graph::{Graph, NodeId, node_id};
use crate::holdings::{Hold, Holding, holdings};
use crate::mark::Marker;
use crate::things::Things;

/// The labels that can be removed, and what that frees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// Sorted.
    pub(crate) unpins: Vec<Unpin>,
    pub(crate) freed: Things,
}

/// Finds what only build history holds, and what removing its labels frees when the images of
/// `going` go as well.
pub(crate) fn history(inventory: &Inventory, graph: &Graph<'_>, going: &[usize]) -> History {
    let unpins = unpins(inventory, graph);
    if unpins.is_empty() {
        return History::default();
    }
    let severed = severed(graph.namespace, &unpins);
    let severed = Graph::new(&severed, inventory);
    let after = marked(&severed, inventory, going);
    let before = marked(graph, inventory, going);
    // Both graphs have the same nodes.
    let nodes = (0..graph.len()).map(node_id);
    let freed = nodes.filter(|id| before.is_reached(*id) && !after.is_reached(*id));
    let mut freed = Things::of(graph, &freed.collect::<Vec<_>>());
    // Another namespace may have the same content and keep it on disk.
    freed.blobs.clear();
    if freed.snapshots.is_empty() {
        return History::default();
    }
    History { unpins, freed }
}

/// Marks everything that is held when the images of `going` are gone.
fn marked<'g, 'a>(graph: &'g Graph<'a>, inventory: &Inventory, going: &[usize]) -> Marker<'g, 'a> {
    let mut marker = Marker::new(graph).without_images(going);
    marker.extend_from_holders(inventory.observed_at);
    marker.extend_from_images(inventory.observed_at);
    marker
}

/// Finds what only build history holds, sorted.
pub(crate) fn unpins(inventory: &Inventory, graph: &Graph<'_>) -> Vec<Unpin> {
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
    let pinned = candidates.into_iter().filter(|unpin| {
        let id = graph.find_blob(&unpin.config);
        id.as_ref().is_some_and(is_pinned)
    });
    pinned.collect()
}

/// Returns configurations with a label for what was unpacked of them, whatever holds them; sorted.
fn candidates(inventory: &Inventory, namespace: &NamespaceInventory) -> Vec<Unpin> {
    let blobs = namespace.blobs.iter().filter(|blob| is_plain(&blob.gc));
    let unpins = blobs.flat_map(|blob| {
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
            (chain.as_deref() == Some(&*id.key)).then(|| Unpin {
                config: blob.digest.clone(),
                snapshot: id.clone(),
            })
        })
    });
    unpins.collect()
}

/// Whether no label but plain references steers the collection of an object.
fn is_plain(labels: &GcLabels) -> bool {
    let GcLabels {
        root,
        refs: _,
        back_refs,
        conditional,
    } = labels;
    *root == RootMark::None && back_refs.is_empty() && conditional.is_none()
}

/// Returns the namespace without those labels.
fn severed(namespace: &NamespaceInventory, unpins: &[Unpin]) -> NamespaceInventory {
    let mut severed = namespace.clone();
    for unpin in unpins {
        if let Some(labels) = labels_of(&mut severed, unpin) {
            let goes = |it: &GcRef| matches!(it, GcRef::Snapshot(id) if *id == unpin.snapshot);
            let refs = labels.refs.iter().filter(|it| !goes(it));
            labels.refs = refs.cloned().collect();
        }
    }
    severed
}

/// Adds the label to a configuration, as if it were still there.
pub(crate) fn pin(namespace: &mut NamespaceInventory, unpin: &Unpin) {
    if let Some(labels) = labels_of(namespace, unpin) {
        let label = GcRef::Snapshot(unpin.snapshot.clone());
        let mut refs = labels.refs.to_vec();
        if let Err(at) = refs.binary_search(&label) {
            refs.insert(at, label);
            labels.refs = refs.into();
        }
    }
}

fn labels_of<'n>(namespace: &'n mut NamespaceInventory, unpin: &Unpin) -> Option<&'n mut GcLabels> {
    let blobs = &mut namespace.blobs;
    let at = blobs.binary_search_by(|blob| blob.digest.cmp(&unpin.config));
    Some(&mut blobs[at.ok()?].gc)
}
