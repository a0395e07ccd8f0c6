//! Letting go of what only build history holds: under the hold of the run, like its removals.
//!
//! The labels that are taken away are in the journal, and the journal refers to what they
//! referred to. So nothing goes before the run is over, and whoever comes to use one of the
//! configurations until then gets its label back.

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

/// How many labels are changed at a time.
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
                // An earlier try did it, and only its answer was lost.
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

    /// Takes the labels of a plan away. Returns those that are gone by our doing, or may be.
    pub(crate) async fn unpin_all(
        &self,
        run: Run<'_>,
        plan: &Plan,
        report: &mut Report,
    ) -> Vec<Unpin> {
        let namespace = &plan.namespace;
        let patience = &Patience::default();
        let changes = plan.unpins.iter();
        let changes = changes.map(|unpin| self.unpin_one(run, namespace, unpin, patience).boxed());
        let changes = stream::iter(changes).boxed();
        let changes = changes.buffer_unordered(CHANGES_AT_ONCE);
        let mut changes: Vec<_> = changes.collect().await;
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

    /// Puts those labels back whose configurations have come to be used. Returns the others.
    ///
    /// If the store cannot be read, all are put back: unknown means in use.
    ///
    /// # Errors
    ///
    /// If a label that has to come back cannot be written. Then nothing may be released.
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
        let wanted = match self.no_longer_history(run, first, &unpinned).await {
            Ok(wanted) => wanted,
            Err(error) => {
                let error = chain(&error);
                warn!(%error, "the store cannot be looked at again; putting all labels back");
                report.warnings.push(error);
                unpinned.clone()
            }
        };
        for unpin in &wanted {
            info!(config = %unpin.config, "putting its label back");
            report.warnings.push(format!(
                "the unpacked layers of `{}` stay: something besides build history holds them now",
                unpin.config
            ));
        }
        for unpin in &wanted {
            let namespace = &run.request.namespace;
            let repinning = run.patience.retry(|| self.store.repin(namespace, unpin));
            repinning.await?;
        }
        let mut unpinned = unpinned;
        unpinned.retain(|it| !wanted.contains(it));
        Ok(unpinned)
    }

    /// Puts labels back.
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

    /// Judges the labels again, against the store as it is now.
    async fn no_longer_history(
        &self,
        run: Run<'_>,
        first: &Inventory,
        unpinned: &[Unpin],
    ) -> Result<Vec<Unpin>, StoreError> {
        let namespace = &run.request.namespace;
        let judged = std::slice::from_ref(namespace);
        let observing = run
            .patience
            .retry(|| self.store.observe(judged, &NO_LABELS, self.store.now()));
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
