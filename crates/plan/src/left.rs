//! What holds the things that were to be freed and are still there.

use std::collections::BTreeMap;

use reclaim_model::{Freed, Holder, HolderKind, Inventory, Left, LeftHolder, LeftThing, Namespace};

use crate::graph::{Graph, NodeId};
use crate::holdings::{Hold, holdings};
use crate::mark::{Marker, is_root_image};
use crate::roles::Roles;

/// Names the holders of `things`, which were to leave `namespace`, by the collector's rules.
///
/// Content counts as there as long as any namespace has it, and its holders are looked for in
/// each. What the inventory no longer has is gone, and is left out.
pub fn left(inventory: &Inventory, namespace: &Namespace, things: &Freed) -> Vec<Left> {
    let mut found: BTreeMap<LeftThing, Left> = BTreeMap::new();
    for (name, seen) in &inventory.namespaces {
        let graph = Graph::new(seen, inventory);
        let mut wanted: BTreeMap<NodeId, LeftThing> = BTreeMap::new();
        let blobs = things.blobs.iter().map(|it| {
            let thing = LeftThing::Blob {
                digest: it.digest.clone(),
            };
            (graph.find_blob(&it.digest), thing, it.bytes)
        });
        let snapshots = things.snapshots.iter().filter(|_| name == namespace);
        let snapshots = snapshots.map(|it| {
            let thing = LeftThing::Snapshot(it.id.clone());
            (graph.find_snapshot(&it.id), thing, it.bytes.unwrap_or(0))
        });
        for (id, thing, bytes) in blobs.chain(snapshots) {
            if let Some(id) = id {
                wanted.insert(id, thing.clone());
                found.entry(thing.clone()).or_insert(Left {
                    thing,
                    bytes,
                    holders: Vec::new(),
                });
            }
        }
        if !wanted.is_empty() {
            let roles = Roles::new(seen, &[]);
            report_holders(&graph, inventory, &wanted, |thing, holder| {
                if let Some(left) = found.get_mut(thing) {
                    let holder = roles.assigned(holder.clone());
                    let namespace = name.clone();
                    left.holders.push(LeftHolder { namespace, holder });
                }
            });
        }
    }
    let mut left: Vec<Left> = found.into_values().collect();
    for left in &mut left {
        left.holders.sort();
        left.holders.dedup();
    }
    left
}

/// Reports, for every holder, each of the wanted things that it reaches.
fn report_holders(
    graph: &Graph<'_>,
    inventory: &Inventory,
    wanted: &BTreeMap<NodeId, LeftThing>,
    mut report: impl FnMut(&LeftThing, &Holder),
) {
    let now = inventory.observed_at;
    let mut marker = Marker::new(graph);
    let mut reaches = |roots: &[NodeId], hold, holder: &Holder| {
        for id in marker.reached_from(roots, hold) {
            if let Some(thing) = wanted.get(&id) {
                report(thing, holder);
            }
        }
    };
    for holding in holdings(graph, now) {
        reaches(&holding.roots, holding.hold, &holding.holder);
    }
    for (index, image) in graph.namespace.images.iter().enumerate() {
        if is_root_image(image, graph.rules, now) {
            let holder = Holder::new(HolderKind::Image, image.name.clone());
            reaches(&[graph.image(index)], Hold::Deep, &holder);
        }
    }
}
