//! What removing images frees, by the collector's rules.

use std::collections::BTreeSet;

use reclaim_model::{Cut, Digest, FreedBlob, Gap, Inventory, Namespace, NamespaceInventory};

use crate::cuts::{freed_by, marked, references};
use crate::graph::{Graph, NodeId, node_id};
use crate::holdings::{Holding, holdings};
use crate::mark::{Going, Marker};
use crate::things::Things;
use crate::uncertainty::{uncertain_elsewhere, uncertain_here};

/// What changes when a set of images goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What leaves the disk with the images.
    pub(crate) freed: Things,
    /// What nothing kept before, and no other namespace either.
    pub(crate) pending: Things,
    /// Blobs that go with the images here, and that another namespace keeps.
    pub(crate) kept_elsewhere: Vec<FreedBlob>,
    /// The part of `freed` that something unseen may keep.
    pub(crate) uncertain: Things,
    /// Nodes that only the spare holders keep; see [`difference`].
    pub(crate) spare: Vec<NodeId>,
}

/// Finds what removing `images` (by index) from `namespace` frees.
///
/// Snapshots belong to one namespace. Content is shared, under containerd's isolating policy as
/// well: a blob is one file, and leaves the disk only when no namespace keeps it. One that
/// another namespace has but keeps no longer goes in the same collection, and counts.
///
/// What `is_spare` holders keep stays like that of all others, and is listed in addition.
pub(crate) fn difference(
    inventory: &Inventory,
    namespace: &Namespace,
    graph: &Graph<'_>,
    images: &[usize],
    is_spare: impl Fn(&Holding) -> bool,
) -> Difference {
    let now = inventory.observed_at;
    let mut marker = Marker::new(graph).without_images(images);
    let holdings = holdings(graph, now).into_iter();
    let (ours, others): (Vec<Holding>, Vec<Holding>) = holdings.partition(|it| it.is_ours);
    let (spare, others): (Vec<Holding>, Vec<Holding>) = others.into_iter().partition(is_spare);
    for holding in &others {
        marker.extend_all(holding);
    }
    marker.extend_from_images(now);
    let needed = marker.n_reached();
    for holding in &spare {
        marker.extend_all(holding);
    }
    let spare = marker.reached_since(needed).to_vec();
    for holding in &ours {
        marker.extend_all(holding);
    }
    let before = marker.n_reached();
    marker.restore_images(now);
    let freed = Things::of(graph, marker.reached_since(before));
    let difference = Difference {
        pending: unreached(graph, &marker),
        uncertain: uncertain_here(graph, images, &freed),
        freed,
        kept_elsewhere: Vec::new(),
        spare,
    };
    compare_with_others(inventory, namespace, difference)
}

/// Finds what cutting references in `namespace` frees, as [`difference`] does for images.
pub(crate) fn difference_by_cuts(
    inventory: &Inventory,
    namespace: &Namespace,
    graph: &Graph<'_>,
    cuts: &[Cut],
) -> Difference {
    let going = Going {
        images: Vec::new(),
        references: references(graph, cuts),
    };
    let freed = Things::of(graph, &freed_by(inventory, graph, &going));
    let difference = Difference {
        pending: unreached(graph, &marked(graph, inventory, &Going::default())),
        uncertain: uncertain_here(graph, &[], &freed),
        freed,
        kept_elsewhere: Vec::new(),
        spare: Vec::new(),
    };
    compare_with_others(inventory, namespace, difference)
}

/// Finds only what cutting references frees, as [`difference_by_cuts`] does.
pub(crate) fn freed_by_cuts(
    inventory: &Inventory,
    namespace: &Namespace,
    graph: &Graph<'_>,
    cuts: &[Cut],
) -> Things {
    let going = Going {
        images: Vec::new(),
        references: references(graph, cuts),
    };
    let difference = Difference {
        freed: Things::of(graph, &freed_by(inventory, graph, &going)),
        ..Difference::default()
    };
    compare_with_others(inventory, namespace, difference).freed
}

/// Returns what is garbage already.
fn unreached(graph: &Graph<'_>, marker: &Marker<'_, '_>) -> Things {
    let nodes = (0..graph.len()).map(node_id);
    let unreached: Vec<NodeId> = nodes.filter(|id| !marker.is_reached(*id)).collect();
    Things::of(graph, &unreached)
}

/// Takes what other namespaces keep out of what is freed.
fn compare_with_others(
    inventory: &Inventory,
    namespace: &Namespace,
    mut difference: Difference,
) -> Difference {
    let others = inventory.namespaces.iter();
    for (_, other) in others.filter(|(name, _)| *name != namespace) {
        compare_with(other, inventory, &mut difference);
    }
    difference.kept_elsewhere.sort_unstable();
    difference.uncertain.blobs.sort_unstable();
    difference.uncertain.blobs.dedup();
    difference
}

/// Drops the blobs that `other` keeps, and notes those that it may keep.
fn compare_with(other: &NamespaceInventory, inventory: &Inventory, difference: &mut Difference) {
    let Difference {
        freed,
        pending,
        kept_elsewhere,
        uncertain,
        spare: _,
    } = difference;
    let is_listed = |gap: &Gap| !matches!(gap, Gap::List { .. });
    let is_whole = other.gaps.iter().all(is_listed);
    let has_any = |blobs: &[FreedBlob]| has_any(other, blobs.iter().map(|blob| &blob.digest));
    if is_whole && !has_any(&freed.blobs) && !has_any(&pending.blobs) {
        return;
    }
    let graph = Graph::new(other, inventory);
    let marker = held(&graph);
    let is_kept = |blob: &FreedBlob| is_reached(&graph, &marker, &blob.digest);
    pending.blobs.retain(|blob| !is_kept(blob));
    kept_elsewhere.extend(freed.blobs.extract_if(.., |blob| is_kept(blob)));
    uncertain.blobs.retain(|blob| !is_kept(blob));
    uncertain
        .blobs
        .extend(uncertain_elsewhere(&graph, &freed.blobs));
}

/// Returns those of `digests`, sorted, that another namespace than this one keeps.
pub(crate) fn kept_by_others<'d>(
    inventory: &Inventory,
    namespace: &Namespace,
    digests: &(impl Iterator<Item = &'d Digest> + Clone),
) -> BTreeSet<&'d Digest> {
    let mut kept = BTreeSet::new();
    for (name, other) in &inventory.namespaces {
        if name == namespace || !has_any(other, digests.clone()) {
            continue;
        }
        let graph = Graph::new(other, inventory);
        let marker = held(&graph);
        let is_kept = |digest: &&Digest| is_reached(&graph, &marker, digest);
        kept.extend(digests.clone().filter(is_kept));
    }
    kept
}

/// Marks everything that a namespace keeps.
fn held<'g, 'a>(graph: &'g Graph<'a>) -> Marker<'g, 'a> {
    let mut marker = Marker::new(graph);
    marker.extend_from_holders(graph.observed_at);
    marker.extend_from_images(graph.observed_at);
    marker
}

fn is_reached(graph: &Graph<'_>, marker: &Marker<'_, '_>, digest: &Digest) -> bool {
    let found = graph.find_blob(digest);
    found.is_some_and(|id| marker.is_reached(id))
}

/// Whether `other` has one of `digests`. Both are sorted.
fn has_any<'d>(other: &NamespaceInventory, mut digests: impl Iterator<Item = &'d Digest>) -> bool {
    let mut theirs = other.blobs.iter().map(|blob| &blob.digest).peekable();
    digests.any(|digest| {
        while theirs.next_if(|their| *their < digest).is_some() {}
        theirs.peek() == Some(&digest)
    })
}
