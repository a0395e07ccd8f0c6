//! The guard between processes: a lease with a fixed ID, one per namespace.
//!
//! containerd makes a lease of a given ID once, so whoever made it holds the guard. It expires, so
//! that a crashed run cannot block for good. It holds nothing: what a run removes is held by a
//! lease of its own that lasts longer ([`Hold::write`]), so the expiry of the guard loses nothing.
//! Only runs of older versions held it by the guard.
//!
//! # Taking over
//!
//! An expired lease is not deleted by its ID, which could be a fresh one by then: a collection
//! removes it if, and only if, it has expired. One whose run is proven to be over is deleted under
//! a second, short-lived lease named after that run, so that only one process does so. What either
//! holds is handed to a lease of its own first. Whoever dies over a takeover is taken over from in
//! the same way: the right to act is with the last of the line.
//!
//! # Giving back
//!
//! When the answer to a deletion is lost, the guard may be another's by the time of the next
//! try, so it is never deleted without having been looked at again.

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

/// The guard's lease.
pub(crate) const GUARD_LEASE: &str = "reclaim.prune";
const TAKEOVER_PREFIX: &str = "reclaim.takeover.";
const COLLECT_LEASE: &str = "reclaim.collect";

/// How long a takeover may take: a handful of calls.
const MAX_TAKEOVER: Duration = Duration::from_secs(60);

/// How often a guard that is changing hands is looked at before it counts as held.
const TRIES: usize = 3;

/// What came of asking for the guard.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is ours until the lease is deleted or expires.
    Taken,
    /// Another run has it, by this lease if it is still there.
    Busy(Option<Lease>),
}

/// Takes the guard of a namespace for a run that takes no longer than `lifetime`: what expires
/// cannot be prolonged.
pub(crate) async fn claim(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
    lifetime: Duration,
) -> Result<Claim, StoreError> {
    // From the first try on: its answer may be lost.
    presence.owes_guard(true);
    let claimed = try_claim(store, namespace, presence, lifetime).await?;
    if let Claim::Busy(_) = &claimed {
        presence.owes_guard(false);
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
            // It is ours: the answer to an earlier try was lost.
            return Ok(Claim::Taken);
        }
        if !lease.is_live(store.now()) {
            // A run of an older version held what it had removed by its guard.
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

/// Finds the guard among all leases of a namespace.
pub(crate) fn among(leases: &[Lease]) -> Option<&Lease> {
    leases.iter().find(|lease| lease.id == GUARD_LEASE)
}

/// Returns the run that has the guard and is not proven to be over.
pub(crate) async fn run_under_way(
    store: &Containerd,
    leases: &[Lease],
    identity: &Arc<Identity>,
) -> Option<RunId> {
    let guard = among(leases).filter(|guard| guard.is_live(store.now()))?;
    if identity.is_abandoned(store, guard).await {
        return None;
    }
    lease::run(guard)
}

/// Reads the guard's lease.
async fn guard(store: &Containerd, namespace: &Namespace) -> Result<Option<Lease>, StoreError> {
    retry(|| store.lease(namespace, GUARD_LEASE)).await
}

/// Whether the guard is that run's.
async fn is_held_by(
    store: &Containerd,
    namespace: &Namespace,
    run: &RunId,
) -> Result<bool, StoreError> {
    let lease = guard(store, namespace).await?;
    Ok(lease.is_some_and(|lease| lease::run(&lease).as_ref() == Some(run)))
}

/// Describes the run that holds the guard, with how far it is.
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

/// How a collection ended that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collection {
    /// It is over.
    Done,
    /// It goes on: it took longer than one is waited for.
    GoesOn,
}

/// Gives the guard back, and with it runs the collection of the run.
pub(crate) async fn release(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
    expires: Timestamp,
) -> Result<Collection, StoreError> {
    let run = presence.run();
    // Another may have taken what has expired.
    let may_be_anothers = AtomicBool::new(store.now() >= expires);
    let may_be_anothers = &may_be_anothers;
    let releasing = retry(|| async move {
        let is_doubtful = may_be_anothers.swap(true, Ordering::Relaxed);
        if is_doubtful && !is_held_by(store, namespace, run).await? {
            return Ok(LeaseDeletion::Gone);
        }
        store.delete_lease(namespace, GUARD_LEASE, true).await
    });
    let released = releasing.await?;
    presence.owes_guard(false);
    match released {
        LeaseDeletion::Deleted => Ok(Collection::Done),
        LeaseDeletion::Collecting => Ok(Collection::GoesOn),
        // It is gone without a collection that anybody waited for.
        LeaseDeletion::Gone => collect(store, namespace, presence).await,
    }
}

/// Gives the guard back without a collection of ours: nothing waits to be freed.
pub(crate) async fn give_back(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
) -> Result<(), StoreError> {
    give_back_patiently(store, namespace, presence, &Patience::default()).await
}

/// As [`give_back`], with the patience of the run.
pub(crate) async fn give_back_patiently(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
    patience: &Patience,
) -> Result<(), StoreError> {
    let deleting = patience.retry(|| delete_guard_of(store, namespace, presence.run()));
    deleting.await?;
    presence.owes_guard(false);
    Ok(())
}

/// Deletes the guard if it is that run's.
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

/// Deletes a guard whose owner is dead. Returns whether it was ours to do.
async fn take_over(
    store: &Containerd,
    namespace: &Namespace,
    dead: &Lease,
    presence: &Presence,
) -> Result<bool, StoreError> {
    let line = line_of_succession(store, namespace, dead, presence).await?;
    if line.is_empty() {
        return Ok(false);
    }
    let replaced = replace(store, namespace, dead).await;
    // With the guard gone they give nobody a right to anything.
    for id in &line {
        retry(|| store.delete_lease(namespace, id, false)).await?;
    }
    replaced
}

/// Makes the lease that gives the right to replace the guard of a dead run, or of whoever died
/// over replacing it. Returns those leases, ours as the last; none if somebody alive has it.
async fn line_of_succession(
    store: &Containerd,
    namespace: &Namespace,
    dead: &Lease,
    presence: &Presence,
) -> Result<Vec<String>, StoreError> {
    let mut line = Vec::new();
    let mut dead = lease::run(dead);
    while let Some(predecessor) = dead.take() {
        let id = format!("{TAKEOVER_PREFIX}{predecessor}");
        let labels = || presence.lease_labels(store.now(), MAX_TAKEOVER);
        let is_made = retry(|| store.create_lease(namespace, &id, labels())).await?;
        line.push(id.clone());
        if is_made {
            return Ok(line);
        }
        let Some(taker) = retry(|| store.lease(namespace, &id)).await? else {
            break;
        };
        let its_run = lease::run(&taker);
        if its_run.as_ref() == Some(presence.run()) {
            // It is ours: the answer to an earlier try was lost.
            return Ok(line);
        }
        if !taker.is_live(store.now()) {
            collect(store, namespace, presence).await?;
        } else if presence.is_abandoned(store, &taker).await {
            dead = its_run;
        }
    }
    Ok(Vec::new())
}

/// Hands on what a dead run's guard holds, and deletes it. Returns whether it was still there.
async fn replace(
    store: &Containerd,
    namespace: &Namespace,
    dead: &Lease,
) -> Result<bool, StoreError> {
    let run = lease::run(dead);
    // Read again: only now is it certain that nobody else is replacing it.
    let lease = guard(store, namespace).await?;
    let Some(lease) = lease.filter(|lease| lease::run(lease) == run) else {
        return Ok(false);
    };
    info!(?run, "taking over from a run that is over");
    Hold::abandon(store, namespace, &lease).await?;
    if let Some(run) = &run {
        retry(|| delete_guard_of(store, namespace, run)).await?;
    }
    Ok(true)
}

/// Deletes those of `leases` by which a dead process had meant to take over or to collect. They
/// hold nothing.
///
/// Precondition: the guard is ours, so that nobody's right can depend on them.
pub(crate) async fn delete_leftovers(
    store: &Containerd,
    namespace: &Namespace,
    presence: &Presence,
    leases: &[Lease],
) -> Result<(), StoreError> {
    let passing = leases
        .iter()
        .filter(|lease| lease.id.starts_with(TAKEOVER_PREFIX) || lease.id == COLLECT_LEASE);
    for lease in passing {
        if presence.is_abandoned(store, lease).await {
            retry(|| store.delete_lease(namespace, &lease.id, false)).await?;
        }
    }
    Ok(())
}

/// Runs one collection: deleting a lease synchronously is the way to ask for one.
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
        LeaseDeletion::Collecting => Collection::GoesOn,
    })
}
