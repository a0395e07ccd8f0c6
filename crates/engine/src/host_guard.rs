//! The guard between processes: a lease with a fixed ID, one per namespace.
//!
//! containerd makes a lease of a given ID once, so whoever made it holds the guard. It is also
//! the lease of the run: what the run is about to remove is held by it, and deleting it is the
//! end of the run and the one collection that the run needs. It expires, so that a crashed run
//! cannot block for good.
//!
//! # Taking over
//!
//! An expired lease is not deleted by its ID, which could be a fresh one by then: a collection
//! removes it if, and only if, it has expired. One whose owner is proven dead is deleted under
//! a second, short-lived lease, so that only one process does so, and what it held is handed
//! to a lease of its own first.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{Lease, Namespace, RUN_LABEL, RunId};
use reclaim_store::{Containerd, StoreError};
use tracing::info;

use crate::clock;
use crate::hold::{self, Hold};
use crate::lease_labels::{self, MAX_RUN, STARTED};
use crate::owner::{Liveness, Owner};
use crate::retry::retry;

/// The guard's lease.
pub(crate) const GUARD_LEASE: &str = "reclaim.prune";
const TAKEOVER_LEASE: &str = "reclaim.prune.takeover";
const COLLECT_LEASE: &str = "reclaim.collect";

/// How long a takeover may take: a handful of calls.
const MAX_TAKEOVER: Duration = Duration::from_secs(60);

/// How often a guard that is changing hands is looked at before it counts as held.
const TRIES: usize = 3;

/// Who holds the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// Where.
    pub namespace: Namespace,
    /// Which run, if its lease says so.
    pub run: Option<RunId>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// How far it is: so many of so many records are removed.
    pub progress: Option<(usize, usize)>,
}

impl fmt::Display for Busy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            run,
            since,
            progress,
        } = self;
        write!(
            formatter,
            "a prune operation is already running in namespace `{namespace}`"
        )?;
        if let Some(run) = run {
            write!(formatter, ", run {run}")?;
        }
        if let Some(since) = since {
            write!(formatter, ", since {since:.0}")?;
        }
        if let Some((done, of)) = progress {
            write!(formatter, ", {done} of {of} images removed")?;
        }
        Ok(())
    }
}

/// What came of asking for the guard.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is ours until the lease is deleted or expires.
    Taken,
    /// Another run has it.
    Busy(Busy),
}

/// Takes the guard of a namespace for a run.
pub(crate) async fn claim(
    store: &Containerd,
    namespace: &Namespace,
    run: &RunId,
) -> Result<Claim, StoreError> {
    for _ in 0..TRIES {
        let labels = || lease_labels::new(run, clock::now(), MAX_RUN);
        let is_made = retry(async || store.create_lease(namespace, GUARD_LEASE, labels()).await);
        if is_made.await? {
            return Ok(Claim::Taken);
        }
        let Some(lease) = store.lease(namespace, GUARD_LEASE).await? else {
            continue;
        };
        if lease_labels::run(&lease).as_ref() == Some(run) {
            // It is ours: the answer to an earlier try was lost.
            return Ok(Claim::Taken);
        }
        if !lease.is_live(clock::now()) {
            collect(store, namespace, run).await?;
        } else if !is_abandoned(&lease) || !take_over(store, namespace, run).await? {
            return Ok(Claim::Busy(busy(store, namespace, Some(lease)).await?));
        }
    }
    let lease = store.lease(namespace, GUARD_LEASE).await?;
    Ok(Claim::Busy(busy(store, namespace, lease).await?))
}

/// Describes the run that holds the guard.
async fn busy(
    store: &Containerd,
    namespace: &Namespace,
    lease: Option<Lease>,
) -> Result<Busy, StoreError> {
    let progress = match &lease {
        Some(lease) => hold::progress(store, namespace, lease).await?,
        None => None,
    };
    let label = |key| lease.as_ref().and_then(|lease| lease.labels.get(key));
    Ok(Busy {
        namespace: namespace.clone(),
        run: label(RUN_LABEL).map(|run| RunId(run.clone())),
        since: label(STARTED).and_then(|since| since.parse().ok()),
        progress,
    })
}

/// Gives the guard back, and with it runs the collection of the run.
pub(crate) async fn release(
    store: &Containerd,
    namespace: &Namespace,
    run: &RunId,
) -> Result<(), StoreError> {
    let was_there = retry(async || store.delete_lease(namespace, GUARD_LEASE, true).await).await?;
    if !was_there {
        // The answer to an earlier try was lost, and nobody waited for its collection.
        collect(store, namespace, run).await?;
    }
    Ok(())
}

/// Gives the guard back without a collection of ours: nothing waits to be freed.
pub(crate) async fn give_back(store: &Containerd, namespace: &Namespace) -> Result<(), StoreError> {
    retry(async || store.delete_lease(namespace, GUARD_LEASE, false).await).await?;
    Ok(())
}

/// Deletes a guard whose owner is dead. Returns whether it was ours to do.
async fn take_over(
    store: &Containerd,
    namespace: &Namespace,
    run: &RunId,
) -> Result<bool, StoreError> {
    let labels = lease_labels::new(run, clock::now(), MAX_TAKEOVER);
    if !store
        .create_lease(namespace, TAKEOVER_LEASE, labels)
        .await?
    {
        let other = store.lease(namespace, TAKEOVER_LEASE).await?;
        if other.is_some_and(|lease| !lease.is_live(clock::now())) {
            collect(store, namespace, run).await?;
        }
        return Ok(false);
    }
    // Read again: only now is it certain that nobody else is replacing it.
    let abandoned = store
        .lease(namespace, GUARD_LEASE)
        .await?
        .filter(is_abandoned);
    if let Some(lease) = &abandoned {
        info!(run = ?lease_labels::run(lease), "taking over from a run whose process is gone");
        Hold::abandon(store, namespace, lease).await?;
        store.delete_lease(namespace, GUARD_LEASE, false).await?;
    }
    store.delete_lease(namespace, TAKEOVER_LEASE, false).await?;
    Ok(abandoned.is_some())
}

/// Whether the process that made the lease is proven to be gone.
pub(crate) fn is_abandoned(lease: &Lease) -> bool {
    let owner = lease_labels::owner(lease);
    owner.is_some_and(|owner: Owner| owner.liveness() == Liveness::Gone)
}

/// Runs one collection: deleting a lease synchronously is the way to ask for one.
pub(crate) async fn collect(
    store: &Containerd,
    namespace: &Namespace,
    run: &RunId,
) -> Result<(), StoreError> {
    retry(async || {
        let labels = lease_labels::new(run, clock::now(), MAX_TAKEOVER);
        store.create_lease(namespace, COLLECT_LEASE, labels).await?;
        store.delete_lease(namespace, COLLECT_LEASE, true).await
    })
    .await?;
    Ok(())
}
