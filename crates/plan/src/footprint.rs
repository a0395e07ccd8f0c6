//! What each image consists of, for a record of it that outlives the image.

use std::collections::BTreeMap;

use reclaim_model::{
    Blob, Config, Digest, Document, ImageRecord, Inventory, Namespace, SnapshotId, Sources,
};

use crate::graph::{Graph, Node};
use crate::select::is_unreadable;
use crate::sizes::ObjectsByTarget;
use crate::targets::Targets;

/// What one image consists of.
#[derive(Debug)]
pub struct Footprint<'a> {
    /// What its records point at.
    pub target: &'a Digest,
    /// Its records, sorted by name.
    pub records: Vec<&'a ImageRecord>,
    /// Its blobs that are present, each once.
    pub blobs: Vec<&'a Blob>,
    /// The snapshots to which it is unpacked, each once.
    pub snapshots: Vec<SnapshotId>,
    /// The configurations of its platforms that are present, by digest.
    pub configs: Vec<(&'a Digest, &'a Config)>,
    /// Where its target came from; `None` if the target is not present.
    pub sources: Option<&'a Sources>,
    /// Whether it cannot be read, so that a prune keeps it.
    pub is_unreadable: bool,
}

/// Returns what each image of a namespace consists of, sorted by target. A namespace that the inventory
/// does not have is one without images.
pub fn footprints<'a>(inventory: &'a Inventory, namespace: &Namespace) -> Vec<Footprint<'a>> {
    let Some(namespace) = inventory.namespaces.get(namespace) else {
        return Vec::new();
    };
    let graph = Graph::new(namespace, inventory);
    let targets = Targets::new(namespace, graph.blobs(), inventory);
    let objects = ObjectsByTarget::of(&graph, &targets, inventory);
    let mut found: BTreeMap<&Digest, Footprint<'a>> = BTreeMap::new();
    // Both lists have the targets in the same order.
    for ((_, target), (_, nodes)) in targets.iter().zip(objects.iter()) {
        let footprint = found.entry(target.digest).or_insert_with(|| Footprint {
            target: target.digest,
            records: Vec::new(),
            blobs: Vec::new(),
            snapshots: Vec::new(),
            configs: Vec::new(),
            sources: None,
            is_unreadable: false,
        });
        let records = target.images.iter().map(|index| &namespace.images[*index]);
        footprint.records.extend(records);
        footprint.is_unreadable |= is_unreadable(&target.contents, namespace);
        for id in nodes {
            match graph.node(*id) {
                Node::Blob(index) => {
                    let blob = &namespace.blobs[index];
                    if blob.digest == *target.digest {
                        footprint.sources = Some(&blob.sources);
                    }
                    footprint.blobs.push(blob);
                }
                Node::Snapshot(index) => {
                    let (snapshotter, snapshot) = graph.snapshot(index);
                    let id = SnapshotId::new(snapshotter.clone(), snapshot.key.clone());
                    footprint.snapshots.push(id);
                }
                Node::Image(_) | Node::Container(_) | Node::Absent => {}
            }
        }
        for digest in &target.contents.identity {
            if let Some((digest, Document::Config(config))) =
                inventory.documents.get_key_value(*digest)
                && target
                    .contents
                    .configs
                    .iter()
                    .any(|it| std::ptr::eq(*it, config))
            {
                footprint.configs.push((digest, config));
            }
        }
    }
    let mut found: Vec<Footprint<'a>> = found.into_values().collect();
    for footprint in &mut found {
        footprint.records.sort_by(|a, b| a.name.cmp(&b.name));
        footprint.blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        footprint.blobs.dedup_by(|a, b| a.digest == b.digest);
        footprint.snapshots.sort_unstable();
        footprint.snapshots.dedup();
        footprint.configs.sort_by_key(|(digest, _)| *digest);
        footprint.configs.dedup_by_key(|(digest, _)| *digest);
    }
    found
}
