//! Finishes unfinished runs.
//!
//! A run that cannot reach containerd for too long leaves its guard and its hold. The next run of any
//! process finishes it. A daemon finishes such runs as soon as containerd answers.

use std::time::Duration;

use reclaim_model::{AuditRequest, ImageChange, Lease, Namespace, chain};
use reclaim_store::StoreError;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::audit::{changed, enter_error};
use crate::cancel::unless_cancelled;
use crate::dependents::in_restore_order;
use crate::engine::Engine;
use crate::error::RunError;
use crate::hold::Hold;
use crate::host_guard;
use crate::lease;
use crate::presence::Presence;
use crate::preview::new_run;
use crate::restore::{Restored, Restoring};
use crate::retry::{Patience, retry};

/// The time between two attempts.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Returns the leases of an unfinished run: also that which it may have made for its undo window, whose
/// images and labels are restored with those of the other.
fn leases_of(hold: &Hold, leases: &[Lease]) -> Vec<String> {
    let kept = lease::kept(&hold.run);
    let is_kept = hold.leases.contains(&lease::unfinished(&hold.run))
        && leases.iter().any(|lease| lease.id == kept);
    let kept = is_kept.then_some(kept);
    kept.into_iter().chain(hold.leases.clone()).collect()
}

impl Engine {
    /// Restores the removed images of unfinished runs, so that the next plan evaluates them. If it is
    /// cancelled, the rest stays held.
    pub(crate) async fn recover(
        &self,
        presence: &Presence,
        namespace: &Namespace,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let leases = unless_cancelled(cancel, retry(|| self.store.leases(namespace))).await?;
        host_guard::delete_leftovers(&self.store, namespace, presence, &leases).await?;
        for hold in Hold::from_leases(&self.store, namespace, &leases).await? {
            if hold.is_abandoned && !hold.is_whole {
                warn!(run = %hold.run, "cannot read the journal of a crashed run; keeping its hold");
            } else if hold.is_abandoned {
                warn!(run = %hold.run, records = hold.records.len(), "restoring an unfinished run");
                self.warn_of_lost_pull_records(&hold).await;
                let run = hold.run.clone();
                let request = AuditRequest::Recover { run };
                let audited = self.audited(&hold.run, namespace, request);
                audited.begin().await;
                let restored = async {
                    self.restore_hold(namespace, &hold, cancel).await?;
                    self.restore_labels(namespace, &hold.labels).await?;
                    let restored = leases_of(&hold, &leases);
                    Ok(lease::delete_hold(&self.store, namespace, &restored, false).await?)
                };
                let restored = restored.await;
                self.audit_end(audited, |record| match &restored {
                    Ok(()) => record.set_images(hold.records.iter().map(|image| {
                        let digest = Some(&image.target.digest);
                        changed(&image.name, digest, ImageChange::Restored)
                    })),
                    Err(error) => enter_error(record, error),
                })
                .await;
                restored?;
            }
        }
        Ok(())
    }

    /// Warns of the private images of a crashed run that every pod may use when they are restored.
    ///
    /// They are restored, because the run ended before its second look, so containers may use them.
    /// The next plan removes those that are unused. The kubelet rarely has the time to delete a
    /// record: it does so only when it collects images itself, and a daemon recovers at once.
    async fn warn_of_lost_pull_records(&self, hold: &Hold) {
        let lost = self.lost_pull_records(&hold.restricted).await;
        for image in &hold.records {
            if lost.contains(&image.target.digest) {
                warn!(
                    run = %hold.run, image = %image.name,
                    "restoring a private image without the kubelet's pull record: every pod may use it"
                );
            }
        }
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
        let records = in_restore_order(hold.records.iter().collect(), |image| image);
        for image in records {
            if cancel.is_cancelled() {
                return Err(RunError::Cancelled);
            }
            if restoring.write(image).await? == Restored::ContentGone {
                warn!(run = %hold.run, image = %image.name, "cannot restore image: its content is gone");
            }
        }
        Ok(())
    }

    /// Finishes unfinished runs until it is cancelled: first those of crashed processes, then those
    /// of this process that lose their connection to containerd.
    ///
    /// For daemons. Every prune does the same first.
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
                    debug!(%namespace, %error, "cannot finish a run yet");
                    self.unfinished.note(&namespace);
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = finishing => {}
        }
    }

    /// Records the namespaces with crashed runs.
    async fn note_crashed(&self) {
        while let Err(error) = self.look_for_crashed().await {
            debug!(error = %chain(&error), "cannot look for crashed runs");
            tokio::time::sleep(RETRY_DELAY).await;
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
            let holds = Hold::from_leases(&self.store, &namespace, &leases).await?;
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

    /// Finishes the runs of a namespace.
    async fn finish_in(
        &self,
        namespace: &Namespace,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let presence = self.presence(new_run(), namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        // Removed before the work, so that a run that fails during it is recorded again.
        self.unfinished.namespaces().remove(namespace);
        warn!(%namespace, "finishing an interrupted run");
        let recovered = self.recover(&presence, namespace, cancel).await;
        host_guard::release(&self.store, namespace, &presence).await?;
        recovered?;
        info!(%namespace, "finished an interrupted run");
        Ok(())
    }
}
