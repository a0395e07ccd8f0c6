//! The bytes that something unseen may keep.
//!
//! Snapshots and other objects that could not be listed may carry labels that hold anything in
//! their namespace. Content and image records of an unknown algorithm show their labels, so what
//! they may hold is known.

use reclaim_model::{CollectorRules, FreedBlob, Gap, GcRef, List};

use crate::graph::{Graph, Node};
use crate::holdings::Hold;
use crate::mark::Marker;
use crate::things::Things;

/// How much content the unlisted objects of a namespace may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hidden {
    /// Nothing but what known labels refer to.
    Nothing,
    /// Anything that the namespace has.
    Anything,
    /// Any content: what the namespace has is unknown.
    Everything,
}

/// Returns the part of `freed` that unseen objects of the same namespace may keep when `images`
/// go.
pub(crate) fn uncertain_here(graph: &Graph<'_>, images: &[usize], freed: &Things) -> Things {
    if hidden(graph) > Hidden::Nothing {
        return freed.clone();
    }
    let Some(marker) = from_unknown(graph, Marker::new(graph).without_images(images)) else {
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

/// Returns those of `blobs` that unseen objects of another namespace may keep.
pub(crate) fn uncertain_elsewhere(graph: &Graph<'_>, blobs: &[FreedBlob]) -> Vec<FreedBlob> {
    match hidden(graph) {
        Hidden::Everything => blobs.to_vec(),
        Hidden::Anything => {
            let shared = blobs.iter();
            let shared = shared.filter(|blob| graph.find_blob(&blob.digest).is_some());
            shared.cloned().collect()
        }
        Hidden::Nothing => {
            let marker = from_unknown(graph, Marker::new(graph));
            marker.map_or_else(Vec::new, |marker| reached(graph, &marker, blobs))
        }
    }
}

fn hidden(graph: &Graph<'_>) -> Hidden {
    let gaps = graph.namespace.gaps.iter().map(|gap| match gap {
        Gap::Snapshotter { .. } => Hidden::Anything,
        Gap::List { list, .. } => match list {
            List::Content => Hidden::Everything,
            List::Images | List::Leases | List::Containers => Hidden::Anything,
            List::Sandboxes if graph.rules >= CollectorRules::V2_0 => Hidden::Anything,
            List::Sandboxes | List::Ingests => Hidden::Nothing,
        },
        Gap::Content { .. } | Gap::Image { .. } => Hidden::Nothing,
    });
    gaps.max().unwrap_or(Hidden::Nothing)
}

/// Marks what content and images of an unknown algorithm refer to; `None` without any.
fn from_unknown<'g, 'a>(
    graph: &'g Graph<'a>,
    mut marker: Marker<'g, 'a>,
) -> Option<Marker<'g, 'a>> {
    let gaps = graph.namespace.gaps.iter();
    let unknown = gaps.flat_map(|gap| match gap {
        Gap::Content { refs, .. } | Gap::Image { refs, .. } => refs.iter(),
        Gap::Snapshotter { .. } | Gap::List { .. } => [].iter(),
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
