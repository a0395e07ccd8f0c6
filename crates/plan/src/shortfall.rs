//! Why no more can be freed: what holds the rest of a namespace.

use reclaim_model::{
    Column, Container, Inventory, NamespaceInventory, ResolvedRequest, SnapshotSizes, UsageByColumn,
};

use crate::case::Case;
use crate::disk_usage::{Judged, claims};
use crate::graph::Node;
use crate::weights::weights;

/// Where the bytes of the request's namespace are, as its filters see it.
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
    let case = Case::new(inventory, namespace, registered);
    let (verdicts, _) = case.requested(registered, request);
    let judged = Judged {
        verdicts: &verdicts,
        plain: None,
    };
    let columns = claims(&case, judged, inventory.observed_at);
    let kept_elsewhere = crate::disk_usage::kept_elsewhere(&case, inventory, &request.namespace);
    let mut usage = UsageByColumn::default();
    let weights = weights(&case.graph, snapshot_bytes);
    let nodes = (0..).zip(columns).zip(weights);
    for ((id, column), weight) in nodes.filter(|(_, weight)| weight.is_there()) {
        if let Node::Blob(index) = case.graph.node(id) {
            let digest = &case.graph.blob(index).digest;
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
