//! Holds without an expiry, which a daemon ends.
//!
//! containerd compares an expiry with its wall clock, so a clock that jumps forward would end undo
//! windows. A daemon counts time that passed, so it holds without an expiry and ends each hold itself.
//! The lease names the process. If that is gone, [`Engine::disk_usage`] says so, and the next daemon
//! takes the hold over.

use std::collections::BTreeMap;
use std::time::Duration;

use reclaim_model::{Inventory, Lease, Namespace, RunId};
use reclaim_store::StoreError;
use tracing::debug;

use crate::engine::Engine;
use crate::error::RunError;
use crate::host_guard;
use crate::identity::Identity;
use crate::lease::{self, HOLD_PREFIX};
use crate::owner::Liveness;
use crate::preview::new_run;
use crate::retry::retry;

/// A hold that a daemon ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHold {
    /// The run that removed the images.
    pub run: RunId,
    /// How long it is held.
    pub window: Duration,
    /// Whether its daemon is gone, so that [`Engine::adopt_holds`] takes it over.
    pub is_orphan: bool,
}

impl Engine {
    /// Returns the labels of this process for the holds that it keeps, if it keeps any.
    pub(crate) fn keeper(&self) -> Option<BTreeMap<String, String>> {
        self.keeps_holds.then(|| self.identity.labels(None))
    }

    /// Lists the holds of a namespace that do not expire by themselves.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd does not answer.
    pub async fn kept_holds(&self, namespace: &Namespace) -> Result<Vec<KeptHold>, RunError> {
        let leases = retry(|| self.store.leases(namespace)).await?;
        let mut holds: BTreeMap<RunId, KeptHold> = BTreeMap::new();
        for lease in &leases {
            let Some(hold) = self.kept(lease) else {
                continue;
            };
            // A run on a full disk has several.
            let of_run = holds.entry(hold.run.clone()).or_insert(hold.clone());
            of_run.window = of_run.window.max(hold.window);
            of_run.is_orphan |= hold.is_orphan;
        }
        Ok(holds.into_values().collect())
    }

    /// Adds up what the end of all holds of a namespace frees, in bytes, by the estimates of their runs.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd does not answer.
    pub async fn held_bytes(&self, namespace: &Namespace) -> Result<u64, RunError> {
        let leases = retry(|| self.store.leases(namespace)).await?;
        Ok(leases.iter().filter_map(lease::held_bytes).sum())
    }

    fn kept(&self, lease: &Lease) -> Option<KeptHold> {
        Some(KeptHold {
            run: lease::run(lease)?,
            window: lease::window(lease)?,
            is_orphan: self.identity.process_liveness(lease) == Liveness::Gone,
        })
    }

    /// Takes over the holds of a namespace whose daemon is gone.
    ///
    /// # Errors
    ///
    /// If another run is under way, or a change fails. Each hold then still has a lease.
    pub async fn adopt_holds(&self, namespace: &Namespace) -> Result<(), RunError> {
        let presence = self.presence(new_run(), namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        let adopted = self.adopt_each(namespace).await;
        host_guard::release(&self.store, namespace, &presence).await?;
        Ok(adopted?)
    }

    async fn adopt_each(&self, namespace: &Namespace) -> Result<(), StoreError> {
        for lease in retry(|| self.store.leases(namespace)).await? {
            let Some(hold) = self.kept(&lease).filter(|hold| hold.is_orphan) else {
                continue;
            };
            // A lease cannot be changed, so another one follows it.
            let id = format!("{HOLD_PREFIX}{}.{}", hold.run, new_run());
            let mut labels = Identity::without_labels(&lease.labels);
            labels.extend(self.identity.labels(None));
            retry(|| self.store.create_lease(namespace, &id, labels.clone())).await?;
            for resource in &lease.resources {
                retry(|| self.store.add_resource(namespace, &id, resource)).await?;
            }
            retry(|| self.store.delete_lease(namespace, &lease.id, false)).await?;
            debug!(run = %hold.run, %namespace, "took over a hold");
        }
        Ok(())
    }

    /// Returns a warning for each hold that no daemon ends.
    pub(crate) fn orphaned_holds(&self, inventory: &Inventory) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, namespace) in &inventory.namespaces {
            let holds = namespace.leases.iter().filter_map(|lease| self.kept(lease));
            for hold in holds.filter(|hold| hold.is_orphan) {
                warnings.push(format!(
                    "the images that run {run} removed from namespace `{name}` stay on disk, because \
                     the daemon that would end their undo window is gone: start it again, or free \
                     them with `reclaim release --namespace {name} {run}`",
                    run = hold.run
                ));
            }
        }
        warnings.sort();
        warnings.dedup();
        warnings
    }
}
