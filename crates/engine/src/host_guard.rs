//! The guard between processes: a lease with a fixed ID, one per namespace.
//!
//! containerd creates a lease with a given ID only once, so its creator holds the guard. The lease
//! expires, so a crashed run cannot block forever. It keeps no content: a second lease with a longer
//! lifetime holds what a run removes ([`Hold::write`]), so an expired guard loses nothing. Only
//! older versions held content with the guard.
//!
//! # Takeover
//!
//! An expired lease is not deleted by its ID, because another process could have replaced it. A
//! collection removes it, and only if it has expired. If the run is proven to be over, its lease is
//! deleted under a second, short-lived lease named after that run, so only one process does it.
//! Content that either lease holds moves to another lease first. If a process dies during a takeover,
//! another takes over from it in the same way, so the last process of the chain may act.
//!
//! # Release
//!
//! If the answer to a deletion is lost, another run may hold the guard at the next attempt. So each
//! attempt reads the lease again before it deletes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{Lease, Namespace, RunId};
use reclaim_store::{Containerd, LeaseDeletion, StoreError};
use tracing::info;

use crate::error::Busy;
use crate::hold::{self, Hold};
use crate::identity::Identity;
use crate::lease;
use crate::presence::Presence;
use crate::retry::{Patience, retry};

/// The ID of the guard's lease.
pub(crate) const GUARD_LEASE: &str = "reclaim.prune";
const TAKEOVER_PREFIX: &str = "reclaim.takeover.";
const COLLECT_LEASE: &str = "reclaim.collect";

/// The lifetime of a takeover, which makes a handful of calls.
const MAX_TAKEOVER: Duration = Duration::from_secs(60);

/// How many attempts to make while the guard is being replaced.
const TRIES: usize = 3;

/// The result of [`claim`].
#[derive(Debug)]
pub(crate) enum Claim {
    /// This run holds the guard until the lease is deleted or expires.
    Taken,
    /// Another run holds it, with this lease if it still exists.
    Busy(Option<Lease>),
}

/// Takes the guard of a namespace for a run that takes at most `lifetime`. A lease cannot be
/// extended.
pub(crate) async fn claim(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
    lifetime: Duration,
) -> Result<Claim, StoreError> {
    // Set before the first attempt, because its answer may be lost.
    presence.set_owes_guard(true);
    let claimed = try_claim(store, namespace, presence, lifetime).await?;
    if let Claim::Busy(_) = &claimed {
        presence.set_owes_guard(false);
    }
    Ok(claimed)
}

async fn try_claim(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
    lifetime: Duration,
) -> Result<Claim, StoreError> {
    let run = presence.run();
    for _ in 0..TRIES {
        let labels = || presence.lease_labels(store.now(), lifetime);
        let is_made = retry(|| store.create_lease(namespace, GUARD_LEASE, labels()));
        if is_made.await? {
            return Ok(Claim::Taken);
        }
        let Some(lease) = guard(store, namespace).await? else {
            continue;
        };
        if lease::run(&lease).as_ref() == Some(run) {
            // An earlier attempt succeeded, and only its answer was lost.
            return Ok(Claim::Taken);
        }
        if !lease.is_live(store.now()) {
            // An older version may hold content with its guard.
            Hold::abandon(store, namespace, &lease).await?;
            collect(store, namespace, presence).await?;
        } else if !presence.is_abandoned(store, &lease).await
            || !take_over(store, namespace, &lease, presence).await?
        {
            return Ok(Claim::Busy(Some(lease)));
        }
    }
    Ok(Claim::Busy(guard(store, namespace).await?))
}

/// Returns the guard's lease from all leases of a namespace.
pub(crate) fn find(leases: &[Lease]) -> Option<&Lease> {
    leases.iter().find(|lease| lease.id == GUARD_LEASE)
}

/// Returns the run that holds the guard, unless it is proven to be over.
pub(crate) async fn run_under_way(
    store: &Containerd,
    leases: &[Lease],
    identity: &Arc<Identity>,
) -> Option<RunId> {
    let guard = find(leases).filter(|guard| guard.is_live(store.now()))?;
    if identity.is_abandoned(store, guard).await {
        return None;
    }
    lease::run(guard)
}

/// Reads the guard's lease.
async fn guard(store: &Containerd, namespace: &Namespace) -> Result<Option<Lease>, StoreError> {
    retry(|| store.lease(namespace, GUARD_LEASE)).await
}

/// Returns whether the run holds the guard.
async fn is_held_by(
    store: &Containerd,
    namespace: &Namespace,
    run: &RunId,
) -> Result<bool, StoreError> {
    let lease = guard(store, namespace).await?;
    Ok(lease.is_some_and(|lease| lease::run(&lease).as_ref() == Some(run)))
}

/// Returns the run that holds the guard, with its progress.
pub(crate) async fn busy(
    store: &Containerd,
    namespace: &Namespace,
    lease: Option<Lease>,
) -> Result<Busy, StoreError> {
    let progress = match &lease {
        Some(lease) => retry(|| hold::progress(store, namespace, lease)).await?,
        None => None,
    };
    Ok(Busy {
        progress,
        ..Busy::of_lease(namespace, lease.as_ref())
    })
}

/// The result of a requested collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collection {
    /// It has ended.
    Done,
    /// It took longer than the deadline, and continues in containerd.
    StillRunning,
}

/// Releases the guard with the collection of the run.
pub(crate) async fn release_and_collect(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
    expires: Timestamp,
) -> Result<Collection, StoreError> {
    let run = presence.run();
    // Another run may have taken an expired guard.
    let is_doubtful = &AtomicBool::new(store.now() >= expires);
    let releasing = retry(|| async move {
        let must_check = is_doubtful.swap(true, Ordering::Relaxed);
        if must_check && !is_held_by(store, namespace, run).await? {
            return Ok(LeaseDeletion::Gone);
        }
        store.delete_lease(namespace, GUARD_LEASE, true).await
    });
    let released = releasing.await?;
    presence.set_owes_guard(false);
    match released {
        LeaseDeletion::Deleted => Ok(Collection::Done),
        LeaseDeletion::Collecting => Ok(Collection::StillRunning),
        // The lease is gone, but it is unknown whether a collection followed.
        LeaseDeletion::Gone => collect(store, namespace, presence).await,
    }
}

/// Releases the guard without a collection.
pub(crate) async fn release(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
) -> Result<(), StoreError> {
    release_with(store, namespace, presence, &Patience::default()).await
}

/// As [`release`], with the patience of the run.
pub(crate) async fn release_with(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
    patience: &Patience,
) -> Result<(), StoreError> {
    let deleting = patience.retry(|| delete_guard_of(store, namespace, presence.run()));
    deleting.await?;
    presence.set_owes_guard(false);
    Ok(())
}

/// Deletes the guard if the run holds it.
async fn delete_guard_of(
    store: &Containerd,
    namespace: &Namespace,
    run: &RunId,
) -> Result<(), StoreError> {
    let lease = store.lease(namespace, GUARD_LEASE).await?;
    if lease.is_some_and(|lease| lease::run(&lease).as_ref() == Some(run)) {
        store.delete_lease(namespace, GUARD_LEASE, false).await?;
    }
    Ok(())
}

/// Deletes the guard of a dead run. Returns false if another process does so.
async fn take_over(
    store: &Containerd,
    namespace: &Namespace,
    dead: &Lease,
    presence: &Presence,
) -> Result<bool, StoreError> {
    let chain = takeover_chain(store, namespace, dead, presence).await?;
    if chain.is_empty() {
        return Ok(false);
    }
    let replaced = replace(store, namespace, dead).await;
    // They have no effect once the guard is gone.
    for id in &chain {
        retry(|| store.delete_lease(namespace, id, false)).await?;
    }
    replaced
}

/// Creates the lease that allows this run to replace the guard of a dead run. If an earlier takeover
/// died too, continues from that one. Returns the takeover leases, this run's last; none if a live
/// process has the right.
async fn takeover_chain(
    store: &Containerd,
    namespace: &Namespace,
    dead: &Lease,
    presence: &Presence,
) -> Result<Vec<String>, StoreError> {
    let mut chain = Vec::new();
    let mut dead = lease::run(dead);
    while let Some(predecessor) = dead.take() {
        let id = format!("{TAKEOVER_PREFIX}{predecessor}");
        let labels = || presence.lease_labels(store.now(), MAX_TAKEOVER);
        let is_made = retry(|| store.create_lease(namespace, &id, labels())).await?;
        chain.push(id.clone());
        if is_made {
            return Ok(chain);
        }
        let Some(taker) = retry(|| store.lease(namespace, &id)).await? else {
            break;
        };
        let its_run = lease::run(&taker);
        if its_run.as_ref() == Some(presence.run()) {
            // An earlier attempt succeeded, and only its answer was lost.
            return Ok(chain);
        }
        if !taker.is_live(store.now()) {
            collect(store, namespace, presence).await?;
        } else if presence.is_abandoned(store, &taker).await {
            dead = its_run;
        }
    }
    Ok(Vec::new())
}

/// Moves the content of a dead run's guard to a hold, and deletes the guard. Returns whether it
/// still existed.
async fn replace(
    store: &Containerd,
    namespace: &Namespace,
    dead: &Lease,
) -> Result<bool, StoreError> {
    let run = lease::run(dead);
    // Read again: only now is it certain that no other process is replacing it.
    let lease = guard(store, namespace).await?;
    let Some(lease) = lease.filter(|lease| lease::run(lease) == run) else {
        return Ok(false);
    };
    info!(?run, "taking over the guard of a dead run");
    Hold::abandon(store, namespace, &lease).await?;
    if let Some(run) = &run {
        retry(|| delete_guard_of(store, namespace, run)).await?;
    }
    Ok(true)
}

/// Deletes the takeover and collection leases of dead processes. They keep no content.
///
/// Precondition: this run holds the guard, so no takeover depends on them.
pub(crate) async fn delete_leftovers(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
    leases: &[Lease],
) -> Result<(), StoreError> {
    let leftovers = leases
        .iter()
        .filter(|lease| lease.id.starts_with(TAKEOVER_PREFIX) || lease.id == COLLECT_LEASE);
    for lease in leftovers {
        if presence.is_abandoned(store, lease).await {
            retry(|| store.delete_lease(namespace, &lease.id, false)).await?;
        }
    }
    Ok(())
}

/// Runs one collection. containerd collects on request only for a synchronous lease deletion.
pub(crate) async fn collect(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
) -> Result<Collection, StoreError> {
    let collecting = retry(|| async move {
        let labels = presence.lease_labels(store.now(), MAX_TAKEOVER);
        store.create_lease(namespace, COLLECT_LEASE, labels).await?;
        store.delete_lease(namespace, COLLECT_LEASE, true).await
    });
    Ok(match collecting.await? {
        LeaseDeletion::Deleted | LeaseDeletion::Gone => Collection::Done,
        LeaseDeletion::Collecting => Collection::StillRunning,
    })
}
