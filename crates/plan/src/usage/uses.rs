//! What uses images, as far as it can be seen, and what may use them where gaps hide it.
//!
//! The table of what each gap may hide is at [`Gap`].

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    CollectorRules, Gap, GcRef, Holder, HolderKind, List, NamespaceInventory, Snapshotter,
};

use crate::contents::ImageContents;
use crate::graph::{Graph, Node};
use crate::targets::TargetId;

type Holders = BTreeSet<Holder>;

/// What uses which image.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// By index of the image: what names this very record.
    pub(crate) records: BTreeMap<usize, Holders>,
    /// By target: what uses its content, under any name.
    pub(crate) targets: BTreeMap<TargetId, Holders>,
    /// Uses of a chain by a user that names no image with that chain: they may be of an image that
    /// is incomplete.
    pub(crate) unexplained: Holders,
    /// By snapshotter: what uses snapshots there that cannot be listed. It may use any image that
    /// may be unpacked there.
    pub(crate) unseen: BTreeMap<Snapshotter, Unseen>,
    /// Uses about which nothing is known: they may be of any image.
    pub(crate) untraced: Holders,
}

/// Stands for all that a list would have shown.
pub(super) const UNLISTED: &str = "*";

/// What uses a snapshotter whose snapshots cannot be listed.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    /// Users that do not say which image they use.
    pub(super) anonymous: Holders,
    /// Users that name a digest: they use an image whose contents are known only if it has that
    /// digest.
    pub(super) known_by_digest: Holders,
}

impl Usage {
    /// Returns the uses that may be of an image, given all that can be seen.
    pub(crate) fn possible(&self, graph: &Graph<'_>, contents: &ImageContents<'_>) -> Holders {
        let mut holders = self.untraced.clone();
        if contents.is_incomplete {
            holders.extend(self.unexplained.iter().cloned());
        }
        for (snapshotter, unseen) in &self.unseen {
            if contents.is_incomplete {
                holders.extend(unseen.known_by_digest.iter().cloned());
            }
            if contents.is_incomplete || is_unpacked_on(graph, contents, snapshotter) {
                holders.extend(unseen.anonymous.iter().cloned());
            }
        }
        holders
    }
}

/// Whether an image has a label for what was unpacked of it on a snapshotter. Every tool that
/// unpacks an image writes it: without it the collector would remove the snapshots.
fn is_unpacked_on(
    graph: &Graph<'_>,
    contents: &ImageContents<'_>,
    snapshotter: &Snapshotter,
) -> bool {
    let blobs = contents
        .identity
        .iter()
        .filter_map(|it| graph.find_blob(it));
    let mut refs = blobs.flat_map(|id| match graph.node(id) {
        Node::Blob(index) => &*graph.blob(index).gc.refs,
        Node::Snapshot(_) | Node::Image(_) | Node::Container(_) | Node::Absent => &[],
    });
    refs.any(|it| matches!(it, GcRef::Snapshot(id) if id.snapshotter == *snapshotter))
}

/// Returns what may use any image if a list is missing. Nothing is removed in a namespace without
/// its lists of containers, leases and content, but its images are shown.
pub(super) fn unlisted_users(list: List, rules: CollectorRules) -> Option<HolderKind> {
    match list {
        List::Containers => Some(HolderKind::Container),
        List::Leases => Some(HolderKind::Lease),
        List::Content => Some(HolderKind::Content),
        List::Sandboxes => (rules >= CollectorRules::V2_0).then_some(HolderKind::Sandbox),
        List::Images | List::Ingests => None,
    }
}

/// Returns the snapshotters whose snapshots cannot be listed, and whether each is configured.
pub(super) fn blind_snapshotters(namespace: &NamespaceInventory) -> BTreeMap<&str, bool> {
    let names = namespace.gaps.iter().filter_map(|gap| match gap {
        Gap::Snapshotter {
            name,
            is_configured,
            why: _,
        } => Some((&**name, *is_configured)),
        Gap::Content { .. } | Gap::Image { .. } | Gap::List { .. } => None,
    });
    names.collect()
}
