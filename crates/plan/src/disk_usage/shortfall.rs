//! What holds the rest of a namespace when a request cannot free enough.

use reclaim_model::{
    Column, Container, Inventory, NamespaceInventory, ResolvedRequest, SnapshotSizes, UsageByColumn,
};

use super::claims::{Verdicts, claims};
use crate::facts::Facts;
use crate::freed::kept_by_others;
use crate::graph::Node;
use crate::selection::evaluate;
use crate::weights::weights;

/// Returns where the bytes of the request's namespace are, by its filters.
///
/// [`Column::Unused`] is what the request can free at most, dangling images included; content
/// that another namespace keeps is in [`Column::Elsewhere`]. `snapshot_bytes` has all snapshots
/// of the namespace.
pub fn shortfall(
    inventory: &Inventory,
    registered: &[Container],
    request: &ResolvedRequest,
    snapshot_bytes: &SnapshotSizes,
) -> UsageByColumn {
    let empty = NamespaceInventory::default();
    let found = inventory.namespaces.get(&request.namespace);
    let namespace = found.unwrap_or(&empty);
    let facts = Facts::new(inventory, namespace, registered);
    let (verdicts, _) = evaluate(&facts, registered, request);
    let verdicts = Verdicts {
        all: &verdicts,
        dangling: None,
    };
    let columns = claims(&facts, verdicts, inventory.observed_at);
    let blobs = namespace.blobs.iter().map(|blob| &blob.digest);
    let kept_elsewhere = kept_by_others(inventory, &request.namespace, &blobs);
    let mut usage = UsageByColumn::default();
    let weights = weights(&facts.graph, snapshot_bytes);
    let nodes = (0..).zip(columns).zip(weights);
    for ((id, column), weight) in nodes.filter(|(_, weight)| weight.is_there()) {
        if let Node::Blob(index) = facts.graph.node(id) {
            let digest = &facts.graph.blob(index).digest;
            let is_elsewhere = column.is_released() && kept_elsewhere.contains(digest);
            let column = if is_elsewhere {
                Column::Elsewhere
            } else {
                column
            };
            usage.add_blob(column, weight.bytes());
        } else {
            usage.add_snapshot(column, weight.known());
        }
    }
    for ingest in &namespace.ingests {
        usage.add_blob(Column::Ingest, ingest.bytes);
    }
    usage
}
