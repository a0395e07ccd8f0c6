//! Runs that ended before their work was done, and finishing them.
//!
//! A run that cannot reach containerd for longer than its patience leaves the guard and what it
//! holds. The next run of any process takes over from it. A daemon does not wait for that: it
//! finishes such runs as soon as containerd answers.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reclaim_model::{Namespace, chain};
use reclaim_store::StoreError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::engine::{Engine, RunError};
use crate::hold::Hold;
use crate::host_guard;
use crate::preview::new_run;

/// The time between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// The namespaces in which a run of this process is unfinished.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    namespaces: Mutex<BTreeSet<Namespace>>,
    noted: Notify,
}

impl Unfinished {
    pub(crate) fn note(&self, namespace: &Namespace) {
        self.namespaces().insert(namespace.clone());
        self.noted.notify_one();
    }

    fn namespaces(&self) -> MutexGuard<'_, BTreeSet<Namespace>> {
        // Whole after every change.
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Namespace> {
        self.namespaces().pop_first()
    }
}

impl Engine {
    /// Finishes runs that ended before their work was done, until it is cancelled: at first those
    /// of processes that crashed, then those of this process that lose containerd.
    ///
    /// For daemons. It is what every prune begins with.
    pub async fn finish_runs(&self, cancel: &CancellationToken) {
        let finishing = async {
            self.note_crashed().await;
            loop {
                let Some(namespace) = self.unfinished.take() else {
                    self.unfinished.noted.notified().await;
                    continue;
                };
                if let Err(error) = self.finish_in(&namespace, cancel).await {
                    let error = chain(&error);
                    debug!(%namespace, %error, "a run stays unfinished for now");
                    self.unfinished.note(&namespace);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = finishing => {}
        }
    }

    /// Notes in which namespaces a run has crashed.
    async fn note_crashed(&self) {
        while let Err(error) = self.look_for_crashed().await {
            debug!(error = %chain(&error), "cannot look for crashed runs");
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn look_for_crashed(&self) -> Result<(), StoreError> {
        for namespace in self.store.namespaces().await? {
            let leases = self.store.leases(&namespace).await?;
            let guard = host_guard::among(&leases);
            let is_left = match guard {
                Some(guard) => self.identity.is_abandoned(&self.store, guard).await,
                None => false,
            };
            let holds = Hold::among(&self.store, &namespace, &leases).await?;
            let running = host_guard::run_under_way(&self.store, &leases, &self.identity).await;
            let mut crashed = holds
                .iter()
                .filter(|hold| hold.is_abandoned && hold.is_whole);
            if is_left || crashed.any(|hold| running.as_ref() != Some(&hold.run)) {
                self.unfinished.note(&namespace);
            }
        }
        Ok(())
    }

    /// Does what a prune begins with, and no more.
    async fn finish_in(
        &self,
        namespace: &Namespace,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let presence = self.presence(new_run(), namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        // What was noted up to now is finished by this.
        self.unfinished.namespaces().remove(namespace);
        warn!(%namespace, "finishing a run that was cut off");
        let recovered = self.recover(&presence, namespace, cancel).await;
        host_guard::give_back(&self.store, namespace, &presence).await?;
        recovered?;
        info!(%namespace, "the run that was cut off is finished");
        Ok(())
    }
}
