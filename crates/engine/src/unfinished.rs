//! Runs that ended before their work was done, and finishing them.
//!
//! A run that cannot reach containerd for longer than its patience leaves the guard and what it
//! holds. The next run of any process takes over from it. A daemon does not wait for that: it
//! finishes such runs as soon as containerd answers.

use std::time::Duration;

use reclaim_model::{Namespace, chain};
use reclaim_store::StoreError;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::cancel::unless_cancelled;
use crate::engine::Engine;
use crate::error::RunError;
use crate::hold::Hold;
use crate::host_guard;
use crate::presence::Presence;
use crate::preview::new_run;
use crate::restore::{Restored, Restoring};
use crate::retry::{Patience, retry};

/// The time between two tries.
const AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Restores what runs had removed that ended before their work was done, so that it is judged
    /// afresh. What it has not come to when it is cancelled stays held.
    pub(crate) async fn recover(
        &self,
        presence: &Presence,
        namespace: &Namespace,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let leases = unless_cancelled(cancel, retry(|| self.store.leases(namespace))).await?;
        host_guard::delete_leftovers(&self.store, namespace, presence, &leases).await?;
        for hold in Hold::among(&self.store, namespace, &leases).await? {
            if hold.is_abandoned && !hold.is_whole {
                warn!(run = %hold.run, "what a crashed run removed cannot be read; its hold stays");
            } else if hold.is_abandoned {
                warn!(run = %hold.run, records = hold.records.len(), "restoring an unfinished run");
                self.restore_hold(namespace, &hold, cancel).await?;
                self.restore_labels(namespace, &hold.unpins).await?;
                hold.end(&self.store, namespace, false).await?;
            }
        }
        Ok(())
    }

    /// Restores the records of a hold.
    async fn restore_hold(
        &self,
        namespace: &Namespace,
        hold: &Hold,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let restoring = Restoring {
            store: &self.store,
            namespace,
            lease: hold.leases.first().map_or("", String::as_str),
            patience: &Patience::default(),
        };
        for image in &hold.records {
            if cancel.is_cancelled() {
                return Err(RunError::Cancelled);
            }
            if restoring.write(image).await? == Restored::ContentGone {
                warn!(run = %hold.run, image = %image.name, "its content is gone; it is not restored");
            }
        }
        Ok(())
    }

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
            let guard = host_guard::find(&leases);
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
        host_guard::release(&self.store, namespace, &presence).await?;
        recovered?;
        info!(%namespace, "the run that was cut off is finished");
        Ok(())
    }
}
