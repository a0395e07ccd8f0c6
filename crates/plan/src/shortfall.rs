//! Why no more can be freed: what holds the rest of a namespace.

use reclaim_model::{Container, Inventory, NamespaceInventory, PruneRequest, SnapshotSizes};

use crate::case::Case;
use crate::graph::Node;
use crate::ledger::{Account, Column, Judged, claims};
use crate::weights::weights;

/// Where the bytes of the request's namespace are, as its filters see it.
///
/// [`Column::Unused`] is what the request can free at most, dangling images included; content
/// that another namespace keeps is in [`Column::Elsewhere`]. `snapshot_bytes` has all snapshots
/// of the namespace.
pub fn shortfall(
    inventory: &Inventory,
    registered: &[Container],
    request: &PruneRequest,
    snapshot_bytes: &SnapshotSizes,
) -> Account {
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
    let kept_elsewhere = crate::ledger::kept_elsewhere(&case, inventory, &request.namespace);
    let mut account = Account::default();
    let weights = weights(&case.graph, snapshot_bytes);
    let nodes = (0..).zip(columns).zip(weights);
    for ((id, column), weight) in nodes.filter(|(_, weight)| weight.is_there()) {
        if let Node::Blob(index) = case.graph.node(id) {
            let is_let_go = column >= Column::Unused;
            let digest = &case.graph.blob(index).digest;
            let is_elsewhere = is_let_go && kept_elsewhere.contains(digest);
            let column = if is_elsewhere {
                Column::Elsewhere
            } else {
                column
            };
            account.add_blob(column, weight.bytes());
        } else {
            account.add_snapshot(column, weight.known());
        }
    }
    for ingest in &namespace.ingests {
        account.add_blob(Column::Ingest, ingest.bytes);
    }
    account
}
