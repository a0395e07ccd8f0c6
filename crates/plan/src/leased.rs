//! What only leases hold: the bytes that stay when every image goes that may.
//!
//! A pull that died holds its content until its lease expires, and a build cache holds its own,
//! though no image and no container needs them. Reclaim never deletes these leases; a prune that
//! frees less than expected names them. A container's lease is not among them: the container
//! needs what it holds.

use std::collections::BTreeSet;

use reclaim_model::{
    Column, Freed, Holder, HolderKind, HolderRole, Inventory, Lease, LeaseHolding, Leased,
    Namespace, SnapshotId,
};

use crate::freed::kept_by_others;
use crate::graph::{Graph, NodeId, node_id};
use crate::holdings::{Holding, of_lease};
use crate::mark::Marker;
use crate::roles::Roles;
use crate::things::Things;

/// Whether a holding is another process's lease that belongs to no container.
pub(crate) fn is_spare(holding: &Holding, roles: &Roles<'_>) -> bool {
    let is_container = || {
        let role = roles.assigned(holding.holder.clone()).role;
        matches!(
            role,
            Some(HolderRole::Container | HolderRole::StoppedContainer)
        )
    };
    !holding.is_ours && holding.holder.kind == HolderKind::Lease && !is_container()
}

/// One namespace in which leases hold something.
pub(crate) struct HeldByLeases<'c, 'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) namespace: &'c Namespace,
    pub(crate) graph: &'c Graph<'a>,
    pub(crate) roles: &'c Roles<'a>,
}

impl HeldByLeases<'_, '_> {
    /// Divides what the columns of disk usage have for leases, those of containers too.
    pub(crate) fn in_columns(&self, columns: &[Column]) -> Leased {
        let is_leased = |id: &NodeId| {
            let column = columns[*id as usize];
            matches!(column, Column::Leased | Column::BuildCache)
        };
        let nodes = (0..self.graph.len()).map(node_id);
        let nodes: Vec<NodeId> = nodes.filter(is_leased).collect();
        self.divide(&nodes, &[], |it| !it.is_ours)
    }

    /// Divides `nodes`, which only leases hold, among those that are to be listed.
    ///
    /// Content that another namespace keeps, and the snapshots of `except`, do not count.
    /// Snapshots are not measured.
    pub(crate) fn divide(
        &self,
        nodes: &[NodeId],
        except: &[SnapshotId],
        is_listed: impl Fn(&Holding) -> bool,
    ) -> Leased {
        if nodes.is_empty() {
            return Leased::default();
        }
        let graph = self.graph;
        let mut things = Things::of(graph, nodes);
        let blobs = things.blobs.clone();
        let digests = blobs.iter().map(|blob| &blob.digest);
        let elsewhere = kept_by_others(self.inventory, self.namespace, &digests);
        let except: BTreeSet<&SnapshotId> = except.iter().collect();
        let strip = |things: &mut Things| {
            things
                .blobs
                .retain(|blob| !elsewhere.contains(&blob.digest));
            things.snapshots.retain(|id| !except.contains(id));
        };
        strip(&mut things);
        let nodes: BTreeSet<NodeId> = nodes.iter().copied().collect();
        let mut marker = Marker::new(graph);
        let mut holding = |lease: &Lease| {
            let holding = of_lease(graph, lease);
            if !is_listed(&holding) {
                return None;
            }
            let mut held = marker.reached_from(&holding.roots, holding.hold);
            held.retain(|id| nodes.contains(id));
            let mut things = Things::of(graph, &held);
            strip(&mut things);
            let things = things.into_unmeasured();
            let Holder { id, role, .. } = self.roles.assigned(holding.holder);
            (things != Freed::default()).then_some(LeaseHolding {
                id,
                role,
                since: lease.created,
                until: lease.expires,
                things,
            })
        };
        let leases = graph.namespace.leases.iter();
        let live = leases.filter(|lease| lease.is_live(self.inventory.observed_at));
        let mut leases: Vec<LeaseHolding> = live.filter_map(&mut holding).collect();
        leases.sort_by(|a, b| a.id.cmp(&b.id));
        Leased {
            things: things.into_unmeasured(),
            leases,
        }
    }
}
