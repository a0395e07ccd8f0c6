//! What may be kept by something that cannot be seen.
//!
//! Snapshots that do not answer may carry labels that hold anything in their namespace. Content
//! of an unknown algorithm shows its labels, so what it may hold is known.

use reclaim_model::{FreedBlob, Gap, GcRef};

use crate::freed::Things;
use crate::graph::{Graph, Node};
use crate::holdings::Hold;
use crate::mark::Marker;

/// Returns the part of `freed` that unseen things of the same namespace may keep when `images`
/// go.
pub(crate) fn here(graph: &Graph<'_>, images: &[usize], freed: &Things) -> Things {
    if hides_snapshots(graph) {
        return freed.clone();
    }
    let Some(marker) = from_unknown_content(graph, Marker::new(graph).without_images(images))
    else {
        return Things::default();
    };
    let is_snapshot_reached = |id: &_| {
        let there = graph.find_snapshot(id);
        there.is_some_and(|id| marker.is_reached(id))
    };
    let snapshots = freed.snapshots.iter().filter(|id| is_snapshot_reached(id));
    Things {
        blobs: reached(graph, &marker, &freed.blobs),
        snapshots: snapshots.cloned().collect(),
    }
}

/// Returns those of `blobs` that unseen things of another namespace may keep.
pub(crate) fn there(graph: &Graph<'_>, blobs: &[FreedBlob]) -> Vec<FreedBlob> {
    if hides_snapshots(graph) {
        let shared = blobs.iter();
        let shared = shared.filter(|blob| graph.find_blob(&blob.digest).is_some());
        return shared.cloned().collect();
    }
    let marker = from_unknown_content(graph, Marker::new(graph));
    marker.map_or_else(Vec::new, |marker| reached(graph, &marker, blobs))
}

fn hides_snapshots(graph: &Graph<'_>) -> bool {
    let mut gaps = graph.namespace.gaps.iter();
    gaps.any(|gap| matches!(gap, Gap::Snapshotter { .. }))
}

/// Marks what content of an unknown algorithm refers to; `None` if there is no such.
fn from_unknown_content<'g, 'a>(
    graph: &'g Graph<'a>,
    mut marker: Marker<'g, 'a>,
) -> Option<Marker<'g, 'a>> {
    let gaps = graph.namespace.gaps.iter();
    let unknown = gaps.flat_map(|gap| match gap {
        Gap::Content { refs, .. } => refs.iter(),
        Gap::Snapshotter { .. } => [].iter(),
    });
    let unknown: Vec<&GcRef> = unknown.collect();
    if unknown.is_empty() {
        return None;
    }
    for reference in unknown {
        if let Some(id) = graph.find_reference(reference) {
            marker.extend(id, Hold::Deep);
        }
    }
    Some(marker)
}

fn reached(graph: &Graph<'_>, marker: &Marker<'_, '_>, blobs: &[FreedBlob]) -> Vec<FreedBlob> {
    let is_reached = |blob: &&FreedBlob| {
        let there = graph.find_blob(&blob.digest);
        there.is_some_and(|id| {
            debug_assert!(matches!(graph.node(id), Node::Blob(_)));
            marker.is_reached(id)
        })
    };
    blobs.iter().filter(is_reached).cloned().collect()
}
