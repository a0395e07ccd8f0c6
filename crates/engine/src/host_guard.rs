//! The guard between processes: a lease with a fixed ID, one per namespace.
//!
//! containerd makes a lease of a given ID once, so whoever made it holds the guard. Deleting it
//! is the end of the run, and the one collection that the run needs. The lease expires, so that
//! a crashed run cannot block for good.
//!
//! # Taking over
//!
//! An expired lease is not deleted by its ID, which could be a fresh one by then: a collection
//! removes it if, and only if, it has expired. One whose owner is proven dead is deleted under
//! a second, short-lived lease, so that only one process does so.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{EXPIRE, Lease, Namespace, RunId};
use reclaim_store::{Containerd, StoreError};

use crate::clock;
use crate::owner::{Liveness, Owner};

/// The guard's lease.
pub(crate) const GUARD_LEASE: &str = "reclaim.prune";
const TAKEOVER_LEASE: &str = "reclaim.prune.takeover";
const COLLECT_LEASE: &str = "reclaim.collect";

const RUN: &str = "reclaim/run";
const OWNER: &str = "reclaim/owner";
const STARTED: &str = "reclaim/started";

/// How long a run may take at most before another may think it dead. A run of 100,000 images
/// on a slow disk takes a fraction of it.
const MAX_RUN: SignedDuration = SignedDuration::from_hours(2);

/// How long a takeover may take: three calls.
const MAX_TAKEOVER: SignedDuration = SignedDuration::from_secs(60);

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
}

impl std::fmt::Display for Busy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            namespace,
            run,
            since,
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
    let busy = |lease: Option<Lease>| {
        let label = |key| lease.as_ref().and_then(|lease| lease.labels.get(key));
        Claim::Busy(Busy {
            namespace: namespace.clone(),
            run: label(RUN).map(|run| RunId(run.clone())),
            since: label(STARTED).and_then(|since| since.parse().ok()),
        })
    };
    for _ in 0..TRIES {
        let labels = labels(run, MAX_RUN);
        if store.create_lease(namespace, GUARD_LEASE, labels).await? {
            return Ok(Claim::Taken);
        }
        let Some(lease) = store.lease(namespace, GUARD_LEASE).await? else {
            continue;
        };
        if !lease.is_live(clock::now()) {
            collect(store, namespace, run).await?;
        } else if !is_abandoned(&lease) || !take_over(store, namespace, run).await? {
            return Ok(busy(Some(lease)));
        }
    }
    Ok(busy(store.lease(namespace, GUARD_LEASE).await?))
}

/// Gives the guard back, and with it runs the collection of the run.
pub(crate) async fn release(store: &Containerd, namespace: &Namespace) -> Result<(), StoreError> {
    store.delete_lease(namespace, GUARD_LEASE, true).await?;
    Ok(())
}

/// Gives the guard back after a run that removed nothing.
pub(crate) async fn give_back(store: &Containerd, namespace: &Namespace) -> Result<(), StoreError> {
    store.delete_lease(namespace, GUARD_LEASE, false).await?;
    Ok(())
}

/// Deletes a guard whose owner is dead. Returns whether it was ours to do.
async fn take_over(
    store: &Containerd,
    namespace: &Namespace,
    run: &RunId,
) -> Result<bool, StoreError> {
    let labels = labels(run, MAX_TAKEOVER);
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
    let lease = store.lease(namespace, GUARD_LEASE).await?;
    let is_abandoned = lease.is_some_and(|lease| is_abandoned(&lease));
    if is_abandoned {
        store.delete_lease(namespace, GUARD_LEASE, false).await?;
    }
    store.delete_lease(namespace, TAKEOVER_LEASE, false).await?;
    Ok(is_abandoned)
}

fn is_abandoned(lease: &Lease) -> bool {
    let owner = lease.labels.get(OWNER).and_then(|text| Owner::parse(text));
    owner.is_some_and(|owner| owner.liveness() == Liveness::Gone)
}

/// Runs one collection: deleting a lease synchronously is the way to ask for one.
async fn collect(store: &Containerd, namespace: &Namespace, run: &RunId) -> Result<(), StoreError> {
    store
        .create_lease(namespace, COLLECT_LEASE, labels(run, MAX_TAKEOVER))
        .await?;
    store.delete_lease(namespace, COLLECT_LEASE, true).await?;
    Ok(())
}

fn labels(run: &RunId, lifetime: SignedDuration) -> BTreeMap<String, String> {
    let now = clock::now();
    let expires = now.saturating_add(lifetime).unwrap_or(Timestamp::MAX);
    let mut labels = BTreeMap::from([
        // Whole seconds: the form that every containerd parses.
        (EXPIRE.to_owned(), format!("{expires:.0}")),
        (STARTED.to_owned(), format!("{now:.0}")),
        (RUN.to_owned(), run.to_string()),
    ]);
    if let Some(owner) = Owner::this_process() {
        labels.insert(OWNER.to_owned(), owner.to_string());
    }
    labels
}
