//! Removes the labels of image configs that keep unpacked layers for build history only.
//!
//! It does so under the hold of the run: the journal contains the labels and refers to the layers. So
//! nothing is collected before the run is over, and a config that comes into use until then gets its
//! label back.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::stream::{self, StreamExt};
use reclaim_model::{Inventory, Namespace, Plan, Report, Unpin, chain};
use reclaim_plan::no_longer_history;
use reclaim_store::{Class, NO_LABELS, StoreError, Unpinned};
use tracing::{info, warn};

use crate::engine::Engine;
use crate::lease;
use crate::off_thread::{blocking, for_each_yielding};
use crate::retry::{Patience, retry};
use crate::run::Run;

/// The maximum number of concurrent label changes.
const CHANGES_AT_ONCE: usize = 8;

impl Engine {
    async fn unpin_one<'u>(
        &self,
        run: Run<'_>,
        namespace: &Namespace,
        unpin: &'u Unpin,
        patience: &Patience,
    ) -> (&'u Unpin, Result<Unpinned, StoreError>) {
        if run.stop(self.store.now()).is_some() {
            return (unpin, Ok(Unpinned::Changed));
        }
        let is_answer_lost = AtomicBool::new(false);
        let is_answer_lost = &is_answer_lost;
        let changing = patience.retry(|| async move {
            match self.store.unpin(namespace, unpin).await {
                // An earlier attempt succeeded, and only its answer was lost.
                Ok(Unpinned::Changed) if is_answer_lost.load(Ordering::Relaxed) => {
                    Ok(Unpinned::Done)
                }
                Err(error) => {
                    is_answer_lost.fetch_or(error.class() == Class::Retry, Ordering::Relaxed);
                    Err(error)
                }
                changed => changed,
            }
        });
        (unpin, changing.await)
    }

    /// Removes the labels of a plan. Returns those that this run has removed, or may have removed.
    pub(crate) async fn unpin_all(
        &self,
        run: Run<'_>,
        plan: &Plan,
        report: &mut Report,
    ) -> Vec<Unpin> {
        let namespace = &plan.namespace;
        let patience = &Patience::default();
        let calls = plan
            .unpins
            .iter()
            .map(|unpin| self.unpin_one(run, namespace, unpin, patience).boxed());
        let calls = stream::iter(calls).boxed();
        let mut changes: Vec<_> = calls.buffer_unordered(CHANGES_AT_ONCE).collect().await;
        changes.sort_by_key(|(unpin, _)| *unpin);
        let mut unpinned = Vec::new();
        for (unpin, changed) in changes {
            match changed {
                Ok(Unpinned::Done) => unpinned.push(unpin.clone()),
                Ok(Unpinned::Changed | Unpinned::Gone) => {}
                Err(error) => {
                    let error = chain(&error);
                    report.warnings.push(error);
                    unpinned.push(unpin.clone());
                }
            }
        }
        unpinned
    }

    /// Restores the labels of configs that came into use. Returns the others.
    ///
    /// If containerd cannot be read, it restores all: unknown means in use.
    ///
    /// # Errors
    ///
    /// If a needed label cannot be restored. Then the hold must not be released.
    pub(crate) async fn restore_used_labels(
        &self,
        run: Run<'_>,
        first: &Inventory,
        unpinned: Vec<Unpin>,
        report: &mut Report,
    ) -> Result<Vec<Unpin>, StoreError> {
        if unpinned.is_empty() {
            return Ok(unpinned);
        }
        let needed = match self.no_longer_history(run, first, &unpinned).await {
            Ok(needed) => needed,
            Err(error) => {
                let error = chain(&error);
                warn!(%error, "the second look failed; restoring all labels");
                report.warnings.push(error);
                unpinned.clone()
            }
        };
        for unpin in &needed {
            info!(config = %unpin.config, "restoring the label of a config");
            report.warnings.push(format!(
                "the unpacked layers of `{}` stay: something besides build history holds them now",
                unpin.config
            ));
        }
        for unpin in &needed {
            let namespace = &run.request.namespace;
            let restoring = run.patience.retry(|| self.store.repin(namespace, unpin));
            restoring.await?;
        }
        let mut unpinned = unpinned;
        unpinned.retain(|it| !needed.contains(it));
        Ok(unpinned)
    }

    /// Restores labels.
    pub(crate) async fn restore_labels(
        &self,
        namespace: &Namespace,
        unpins: &[Unpin],
    ) -> Result<(), StoreError> {
        for unpin in unpins {
            retry(|| self.store.repin(namespace, unpin)).await?;
        }
        Ok(())
    }

    /// Returns the labels that something besides build history now needs.
    async fn no_longer_history(
        &self,
        run: Run<'_>,
        first: &Inventory,
        unpinned: &[Unpin],
    ) -> Result<Vec<Unpin>, StoreError> {
        let namespace = &run.request.namespace;
        let evaluated = std::slice::from_ref(namespace);
        let observing = run
            .patience
            .retry(|| self.store.observe(evaluated, &NO_LABELS, self.store.now()));
        let mut inventory = observing.await?;
        for_each_yielding(unpinned, |unpin| {
            if let Some(document) = first.documents.get(&unpin.config) {
                let documents = &mut inventory.documents;
                documents.insert(unpin.config.clone(), document.clone());
            }
        })
        .await;
        if let Some(seen) = inventory.namespaces.get_mut(namespace) {
            let is_ours = |lease: &_| lease::run(lease).as_ref() == Some(run.id);
            seen.leases.retain(|lease| !is_ours(lease));
        }
        let (namespace, unpinned) = (namespace.clone(), unpinned.to_vec());
        let evaluating = move || no_longer_history(inventory, &namespace, &unpinned);
        Ok(blocking(evaluating).await)
    }
}
