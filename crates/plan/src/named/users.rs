//! What needs an image that is removed by name.
//!
//! Containers do, of any engine, running or not; and so does anything with a writable snapshot on
//! the image. A lease that only keeps content keeps it with or without the record: pulls and
//! build caches do not need the record.

use std::collections::BTreeSet;

use reclaim_model::{
    ConflictCause, Container, ContainerState, Holder, HolderKind, Lease, LeaseResource, SnapshotId,
    SnapshotKind,
};

use crate::contents::Defect;
use crate::facts::Facts;
use crate::roles::Roles;
use crate::targets::Target;

/// How many hexadecimal characters Docker's container IDs have.
const CONTAINER_ID_LENGTH: usize = 64;

/// Something that uses an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct User {
    pub(super) kind: UserKind,
    pub(super) holder: Holder,
}

/// What a [`User`] is, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UserKind {
    /// A container that runs, or whose state is unknown.
    Running,
    /// A container that does not run.
    Stopped,
    /// Something else, or something that may use it.
    Other,
}

impl User {
    pub(super) fn cause(&self) -> ConflictCause {
        let id = self.holder.id.clone();
        match self.kind {
            UserKind::Running => ConflictCause::RunningContainer(id),
            UserKind::Stopped => ConflictCause::StoppedContainer(id),
            UserKind::Other => ConflictCause::Holder(self.holder.clone()),
        }
    }
}

/// Returns what uses the target of an image, the strongest first. A use by name counts even if
/// that name is about to go.
///
/// With `is_forced`, possible uses of an image with a damaged part do not count: no container can
/// be created from such an image, and no retry will ever read it.
pub(super) fn users(
    facts: &Facts<'_>,
    registered: &[Container],
    image: usize,
    is_forced: bool,
) -> Vec<User> {
    let usage = &facts.usage;
    let same = facts.targets.of_digest(image);
    let of_targets = same.clone().filter_map(|it| usage.targets.get(&it));
    let mut holders: BTreeSet<&Holder> = of_targets.flatten().collect();
    // A container that was created from another target only remembers a name that has moved
    // since.
    let is_of_another = |holder: &Holder| {
        let mut targets = usage.targets.iter();
        targets.any(|(other, holders)| !same.contains(other) && holders.contains(holder))
    };
    let targets = || same.clone().map(|it| facts.targets.get(it));
    for index in targets().flat_map(|target| &target.images) {
        let named = usage.records.get(index).into_iter().flatten();
        holders.extend(named.filter(|holder| !is_of_another(holder)));
    }
    let is_torn = |it: &Defect<'_>| it.is_torn();
    let counts =
        |it: &&Target<'_>| !(is_forced && it.contents.defect.is_some_and(|it| is_torn(&it)));
    let possible = targets().filter(counts);
    let possible = possible.flat_map(|it| usage.possible(&facts.graph, &it.contents));
    let possible: BTreeSet<Holder> = possible.collect();
    holders.extend(&possible);
    let users = holders.iter().filter_map(|holder| {
        let kind = match holder.kind {
            HolderKind::Container => kind_of_container(facts, registered, &holder.id),
            HolderKind::Lease => {
                let is_known = holders
                    .iter()
                    .any(|it| it.kind == HolderKind::Container && it.id == holder.id);
                let lease = find_lease(facts, &holder.id).filter(|_| !is_known)?;
                kind_of_lease(facts, lease)?
            }
            HolderKind::Sandbox
            | HolderKind::Snapshot
            | HolderKind::Image
            | HolderKind::Snapshotter => UserKind::Other,
            HolderKind::Content | HolderKind::Rule | HolderKind::Label => return None,
        };
        Some(User {
            kind,
            holder: (*holder).clone(),
        })
    });
    let users: BTreeSet<User> = users.collect();
    let roles = Roles::new(facts.graph.namespace, registered);
    let users = users.into_iter().map(|user| User {
        holder: roles.assigned(user.holder),
        ..user
    });
    users.collect()
}

fn kind_of_container(facts: &Facts<'_>, registered: &[Container], id: &str) -> UserKind {
    let containers = facts.graph.namespace.containers.iter().chain(registered);
    let mut states = containers.filter(|it| it.id == id).map(|it| it.state);
    if states.all(|state| state == ContainerState::Stopped) {
        UserKind::Stopped
    } else {
        UserKind::Running
    }
}

fn find_lease<'a>(facts: &Facts<'a>, id: &str) -> Option<&'a Lease> {
    let leases = &facts.graph.namespace.leases;
    let found = leases.binary_search_by(|lease| lease.id.as_str().cmp(id));
    found.ok().map(|at| &leases[at])
}

/// Returns what a lease belongs to; `None` if that does not need the record.
///
/// Docker gives every container a lease of its ID that lists a snapshot of its ID; the container
/// has a record of its own only while it runs.
fn kind_of_lease(facts: &Facts<'_>, lease: &Lease) -> Option<UserKind> {
    if lease.is_build_cache() {
        return None;
    }
    let snapshots = lease.resources.iter().filter_map(|it| match it {
        LeaseResource::Snapshot(id) => Some(id),
        LeaseResource::Content(_)
        | LeaseResource::Image(_)
        | LeaseResource::Ingest(_)
        | LeaseResource::Other { kind: _, id: _ } => None,
    });
    let is_container = lease.id.len() == CONTAINER_ID_LENGTH
        && lease.id.bytes().all(|it| it.is_ascii_hexdigit())
        && snapshots.clone().any(|it| *it.key == *lease.id);
    let names_image = || {
        let mut resources = lease.resources.iter();
        resources.any(|it| matches!(it, LeaseResource::Image(_)))
    };
    if is_container {
        Some(UserKind::Stopped)
    } else if names_image() || snapshots.clone().any(|it| may_be_used(facts, it)) {
        Some(UserKind::Other)
    } else {
        None
    }
}

/// Whether a snapshot may be a root filesystem: it is not committed, or cannot be seen.
fn may_be_used(facts: &Facts<'_>, id: &SnapshotId) -> bool {
    let list = facts.graph.namespace.snapshots.get(&id.snapshotter);
    let found = list.and_then(|list| {
        let at = list.binary_search_by(|it| (*it.key).cmp(&*id.key)).ok()?;
        Some(list[at].kind)
    });
    found != Some(SnapshotKind::Committed)
}
