//! A run as others see it: its ID, what proves that it goes on, and whether it still owes the guard.

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

/// A run that goes on. When it is dropped, all can see that it has ended, also if it could not give
/// back the guard, was cancelled or has panicked.
#[derive(Debug)]
pub(crate) struct Presence {
    run: RunId,
    namespace: Namespace,
    identity: Arc<Identity>,
    labels: BTreeMap<String, String>,
    /// `None` where there is no place for it, and while dropping.
    lock: Option<RunLock>,
    /// Whether the guard may be ours.
    owes: AtomicBool,
    unfinished: Arc<Unfinished>,
}

impl Presence {
    /// Begins a run. Makes its lock file, off the threads that serve calls.
    pub(crate) async fn begin(
        run: RunId,
        namespace: Namespace,
        identity: Arc<Identity>,
        unfinished: Arc<Unfinished>,
    ) -> Self {
        let (locking, id) = (Arc::clone(&identity), run.clone());
        let lock = tokio::task::spawn_blocking(move || locking.lock(&id)).await;
        // A panic in there leaves no lock, which only costs a proof.
        let lock = lock.ok().flatten();
        runs_here().insert(run.0.clone());
        Self {
            labels: identity.labels(lock.as_ref()),
            run,
            namespace,
            identity,
            lock,
            owes: AtomicBool::new(false),
            unfinished,
        }
    }

    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// The labels of a lease by which this run acts.
    pub(crate) fn lease_labels(
        &self,
        now: Timestamp,
        lifetime: Duration,
    ) -> BTreeMap<String, String> {
        let mut labels = lease::new(&self.run, now, lifetime);
        labels.extend(self.labels.clone());
        labels
    }

    /// Whether the run that made the lease is proven to be over.
    pub(crate) async fn is_abandoned(&self, store: &Containerd, lease: &Lease) -> bool {
        self.identity.is_abandoned(store, lease).await
    }

    /// Notes whether the guard may be ours.
    pub(crate) fn owes_guard(&self, owes: bool) {
        self.owes.store(owes, Ordering::Relaxed);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        runs_here().remove(&self.run.0);
        let lock = self.lock.take();
        if self.owes.load(Ordering::Relaxed) {
            // The file stays: that its lock is free now is the proof.
            drop(lock);
            self.unfinished.note(&self.namespace);
        } else if let Some(lock) = lock {
            lock.delete();
        }
    }
}

/// The namespaces in which a run of this process is unfinished.
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
        // Whole after every change.
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Option<Namespace> {
        self.namespaces().pop_first()
    }
}
