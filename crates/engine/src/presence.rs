//! A run as other processes see it, and the runs of this process that are unfinished.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{Lease, Namespace, RunId};
use reclaim_store::Containerd;
use tokio::sync::Notify;

use crate::identity::{Identity, runs_here};
use crate::lease;
use crate::run_lock::RunLock;

/// A run under way. Dropping it shows other processes that the run is over, even if it could not
/// release the guard, was cancelled or panicked.
#[derive(Debug)]
pub(crate) struct Presence {
    run: RunId,
    namespace: Namespace,
    identity: Arc<Identity>,
    labels: BTreeMap<String, String>,
    /// `None` without a lock directory, and while dropping.
    lock: Option<RunLock>,
    /// Whether this run may hold the guard.
    owes_guard: AtomicBool,
    unfinished: Arc<Unfinished>,
}

impl Presence {
    /// Registers a run, and creates its lock file off the async threads.
    pub(crate) async fn begin(
        run: RunId,
        namespace: Namespace,
        identity: Arc<Identity>,
        unfinished: Arc<Unfinished>,
    ) -> Self {
        let (locking, id) = (Arc::clone(&identity), run.clone());
        let lock = tokio::task::spawn_blocking(move || locking.lock(&id)).await;
        // A panic leaves no lock; then only the proof by lock file is missing.
        let lock = lock.ok().flatten();
        runs_here().insert(run.0.clone());
        Self {
            labels: identity.labels(lock.as_ref()),
            run,
            namespace,
            identity,
            lock,
            owes_guard: AtomicBool::new(false),
            unfinished,
        }
    }

    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// Returns the labels of a lease of this run.
    pub(crate) fn lease_labels(
        &self,
        now: Timestamp,
        lifetime: Duration,
    ) -> BTreeMap<String, String> {
        let mut labels = lease::new(&self.run, now, lifetime);
        labels.extend(self.labels.clone());
        labels
    }

    /// Returns whether the run of a lease is proven to be over.
    pub(crate) async fn is_abandoned(&self, store: &Containerd, lease: &Lease) -> bool {
        self.identity.is_abandoned(store, lease).await
    }

    /// Sets whether this run may hold the guard.
    pub(crate) fn set_owes_guard(&self, owes: bool) {
        self.owes_guard.store(owes, Ordering::Relaxed);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        runs_here().remove(&self.run.0);
        let lock = self.lock.take();
        if self.owes_guard.load(Ordering::Relaxed) {
            // The file stays, because its free lock proves that the run is over.
            drop(lock);
            self.unfinished.note(&self.namespace);
        } else if let Some(lock) = lock {
            lock.delete();
        }
    }
}

/// The namespaces with unfinished runs.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    namespaces: Mutex<BTreeSet<Namespace>>,
    pub(crate) noted: Notify,
}

impl Unfinished {
    pub(crate) fn note(&self, namespace: &Namespace) {
        self.namespaces().insert(namespace.clone());
        self.noted.notify_one();
    }

    pub(crate) fn namespaces(&self) -> MutexGuard<'_, BTreeSet<Namespace>> {
        // Consistent after every change.
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Option<Namespace> {
        self.namespaces().pop_first()
    }
}
