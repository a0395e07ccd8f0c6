//! The roles of holders: which lease belongs to a container, a pull or a build cache.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Container, ContainerState, Holder, HolderKind, HolderRole, Lease, LeaseResource,
    NamespaceInventory,
};

use crate::image_mounts::is_leaked;

/// The suffix that Docker adds to a container's ID for the snapshot below the container's own.
const INIT_SUFFIX: &str = "-init";

/// The evidence of one namespace for the roles of its holders.
pub(crate) struct Roles<'a> {
    namespace: &'a NamespaceInventory,
    leases: BTreeMap<&'a str, &'a Lease>,
    /// Whether all records of a container say that it does not run.
    containers: BTreeMap<&'a str, bool>,
    ingests: BTreeSet<&'a str>,
}

impl<'a> Roles<'a> {
    /// Collects the evidence. `registered` are containers that only engines know of.
    pub(crate) fn new(namespace: &'a NamespaceInventory, registered: &'a [Container]) -> Self {
        let leases = namespace.leases.iter();
        let ingests = namespace.ingests.iter();
        let mut containers = BTreeMap::new();
        for container in namespace.containers.iter().chain(registered) {
            let is_stopped = containers.entry(container.id.as_str()).or_insert(true);
            *is_stopped &= container.state == ContainerState::Stopped;
        }
        Self {
            namespace,
            leases: leases.map(|lease| (lease.id.as_str(), lease)).collect(),
            containers,
            ingests: ingests.map(|ingest| ingest.reference.as_str()).collect(),
        }
    }

    /// Returns the holders with their roles, in their order.
    pub(crate) fn assign(&self, holders: impl IntoIterator<Item = Holder>) -> Vec<Holder> {
        let holders = holders.into_iter();
        holders.map(|holder| self.assigned(holder)).collect()
    }

    /// Returns a holder with its role.
    pub(crate) fn assigned(&self, mut holder: Holder) -> Holder {
        holder.role = match holder.kind {
            HolderKind::Lease => {
                let lease = self.leases.get(holder.id.as_str());
                lease.and_then(|lease| self.of_lease(lease))
            }
            HolderKind::Container => self.of_container(&holder.id).filter(|it| {
                // The kind already says that it is a container.
                *it != HolderRole::Container
            }),
            HolderKind::Snapshot => self.of_snapshot(&holder.id),
            HolderKind::Content
            | HolderKind::Sandbox
            | HolderKind::Image
            | HolderKind::Rule
            | HolderKind::Label
            | HolderKind::Snapshotter => None,
        };
        holder
    }

    fn of_container(&self, id: &str) -> Option<HolderRole> {
        let is_stopped = self.containers.get(id)?;
        Some(if *is_stopped {
            HolderRole::StoppedContainer
        } else {
            HolderRole::Container
        })
    }

    /// Returns the role of a snapshot that is a root by its own label.
    fn of_snapshot(&self, id: &str) -> Option<HolderRole> {
        let (snapshotter, key) = id.split_once('/')?;
        let (snapshotter, list) = self.namespace.snapshots.get_key_value(snapshotter)?;
        let at = list.binary_search_by(|it| (*it.key).cmp(key)).ok()?;
        is_leaked(self.namespace, snapshotter, &list[at]).then_some(HolderRole::LeakedImageMount)
    }

    /// Returns the purpose of a lease.
    ///
    /// Docker gives every container a lease with its ID, which never expires and lists the
    /// container's snapshots; a container that does not run has no other record. The leases of
    /// pulls and imports expire, and list content.
    pub(crate) fn of_lease(&self, lease: &Lease) -> Option<HolderRole> {
        if lease.is_ours() {
            return None;
        }
        if let Some(role) = self.of_container(&lease.id) {
            return Some(role);
        }
        if lease.is_build_cache() {
            return Some(HolderRole::BuildCache);
        }
        let init = format!("{}{INIT_SUFFIX}", lease.id);
        let mut resources = lease.resources.iter();
        if lease.expires.is_none() {
            let is_init =
                |it: &LeaseResource| matches!(it, LeaseResource::Snapshot(id) if *id.key == *init);
            return resources
                .any(is_init)
                .then_some(HolderRole::StoppedContainer);
        }
        let is_written = |it: &LeaseResource| match it {
            LeaseResource::Ingest(reference) => self.ingests.contains(reference.as_str()),
            LeaseResource::Content(_)
            | LeaseResource::Snapshot(_)
            | LeaseResource::Image(_)
            | LeaseResource::Other { kind: _, id: _ } => false,
        };
        let is_content =
            |it: &LeaseResource| matches!(it, LeaseResource::Content(_) | LeaseResource::Ingest(_));
        if resources.clone().any(is_written) {
            Some(HolderRole::Pull)
        } else {
            let is_pull = resources.any(is_content);
            is_pull.then_some(HolderRole::UnfinishedPull)
        }
    }
}
