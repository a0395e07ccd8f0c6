//! Makes the cuts of a plan: removes labels by which blobs keep parts of images.
//!
//! It does so under the hold of the run: the journal contains the labels and refers to what they kept.
//! So nothing is collected before the run is over, and what comes into use until then gets its labels
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use reclaim_model::{
    BlobLabels, Cut, Digest, Inventory, Namespace, NamespaceInventory, Part, Plan, Report, chain,
};
use reclaim_plan::no_longer_cut;
use reclaim_store::{Class, LabelRemoval, StoreError};
use tracing::{info, warn};

use crate::engine::Engine;
use crate::error::RunError;
use crate::lease;
use crate::off_thread::{blocking, for_each_yielding};
use crate::remove::{keep_pace, pace};
use crate::retry::{Patience, retry};
use crate::run::Run;
use crate::second_look::mark_new_snapshots;

/// The maximum number of concurrent calls for labels.
const CALLS_AT_ONCE: usize = 8;

/// The labels of the cuts of a run, by the blob that has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct CutLabels {
    cuts: BTreeMap<Digest, Vec<Cut>>,
    labels: Vec<BlobLabels>,
    /// The errors of removals that may have been made nevertheless.
    failed: BTreeMap<Digest, String>,
}

impl CutLabels {
    /// Returns the labels, in the order of the blobs. Each blob has at least one.
    pub(crate) fn labels(&self) -> &[BlobLabels] {
        &self.labels
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns the errors of removals, by the blob. What it returns once, it does not return again.
    pub(crate) fn take_failed(&mut self) -> BTreeMap<Digest, String> {
        std::mem::take(&mut self.failed)
    }

    /// Returns the labels of some of the blobs, by their places in [`Self::labels`].
    pub(crate) fn some(&self, places: impl Iterator<Item = usize>) -> Self {
        let blobs: BTreeSet<&Digest> = places.map(|place| &self.labels[place].blob).collect();
        let mut some = self.clone();
        some.retain(|blob| blobs.contains(blob));
        some
    }

    fn cuts(&self) -> Vec<Cut> {
        let mut cuts: Vec<Cut> = self.cuts.values().flatten().cloned().collect();
        cuts.sort_unstable();
        cuts
    }

    /// Keeps the labels of these blobs.
    fn retain(&mut self, is_kept: impl Fn(&Digest) -> bool) {
        self.labels.retain(|it| is_kept(&it.blob));
        self.cuts.retain(|blob, _| is_kept(blob));
    }

    /// Divides the labels of some cuts from the rest.
    fn take(&mut self, needed: &[Cut]) -> Vec<BlobLabels> {
        let mut taken = Vec::new();
        for of_blob in &mut self.labels {
            let Some(cuts) = self.cuts.get_mut(&of_blob.blob) else {
                continue;
            };
            let (needed, rest): (Vec<Cut>, Vec<Cut>) =
                cuts.drain(..).partition(|cut| needed.contains(cut));
            *cuts = rest;
            let is_needed =
                |key: &str, value: &str| needed.iter().any(|cut| cut.includes(key, value));
            let (labels, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
                std::mem::take(&mut of_blob.labels)
                    .into_iter()
                    .partition(|(key, value)| is_needed(key, value));
            of_blob.labels = rest;
            if !labels.is_empty() {
                let blob = of_blob.blob.clone();
                taken.push(BlobLabels { blob, labels });
            }
        }
        self.labels.retain(|it| !it.labels.is_empty());
        self.cuts.retain(|_, cuts| !cuts.is_empty());
        taken
    }
}

impl Engine {
    /// Reads the labels of the cuts of a plan. A cut whose blob or labels are gone is left out.
    pub(crate) async fn labels_of_cuts(&self, plan: &Plan) -> Result<CutLabels, StoreError> {
        let mut cuts: BTreeMap<Digest, Vec<Cut>> = BTreeMap::new();
        for_each_yielding(&plan.cuts, |cut| {
            cuts.entry(cut.blob.clone()).or_default().push(cut.clone());
        })
        .await;
        let reading = cuts.iter().map(|(blob, cuts)| async move {
            let labels = retry(|| self.store.content_labels(&plan.namespace, blob)).await?;
            let mut labels = labels.unwrap_or_default();
            labels.retain(|key, value| cuts.iter().any(|cut| cut.includes(key, value)));
            let blob = blob.clone();
            Ok(BlobLabels { blob, labels })
        });
        let reading = stream::iter(reading.map(FutureExt::boxed)).boxed();
        let mut labels: Vec<BlobLabels> = reading.buffered(CALLS_AT_ONCE).try_collect().await?;
        labels.retain(|it| !it.labels.is_empty());
        for of_blob in &labels {
            if let Some(cuts) = cuts.get_mut(&of_blob.blob) {
                let has = |cut: &Cut| {
                    let mut labels = of_blob.labels.iter();
                    labels.any(|(key, value)| cut.includes(key, value))
                };
                cuts.retain(has);
            }
        }
        let has_labels = |blob: &Digest| labels.binary_search_by(|it| it.blob.cmp(blob)).is_ok();
        cuts.retain(|blob, _| has_labels(blob));
        let failed = BTreeMap::new();
        Ok(CutLabels {
            cuts,
            labels,
            failed,
        })
    }

    async fn remove_labels<'l>(
        &self,
        run: Run<'_>,
        labels: &'l BlobLabels,
        patience: &Patience,
    ) -> (&'l BlobLabels, Result<LabelRemoval, StoreError>) {
        if run.stop(self.store.now()).is_some() {
            return (labels, Ok(LabelRemoval::Changed));
        }
        let namespace = &run.request.namespace;
        let is_answer_lost = AtomicBool::new(false);
        let is_answer_lost = &is_answer_lost;
        let removing = patience.retry(|| async move {
            match self.store.remove_labels(namespace, labels).await {
                // An earlier attempt succeeded, and only its answer was lost.
                Ok(LabelRemoval::Changed) if is_answer_lost.load(Ordering::Relaxed) => {
                    Ok(LabelRemoval::Done)
                }
                Err(error) => {
                    is_answer_lost.fetch_or(error.class() == Class::Retry, Ordering::Relaxed);
                    Err(error)
                }
                removal => removal,
            }
        });
        (labels, removing.await)
    }

    /// Removes the labels of cuts. Returns those that this run has removed, or may have removed.
    pub(crate) async fn cut_all(
        &self,
        run: Run<'_>,
        mut labels: CutLabels,
        report: &mut Report,
    ) -> CutLabels {
        let patience = &Patience::default();
        let pace = &run.options.max_deletes_per_second.map(pace);
        let calls = labels.labels.iter().map(|labels| {
            let removing = async move {
                keep_pace(run, pace.as_ref()).await;
                let removed = self.remove_labels(run, labels, patience).await;
                self.heartbeat.beat();
                removed
            };
            removing.boxed()
        });
        let calls = stream::iter(calls).boxed();
        let removals: Vec<_> = calls.buffered(CALLS_AT_ONCE).collect().await;
        let mut cut = Vec::new();
        let mut failed = BTreeMap::new();
        for (of_blob, removal) in removals {
            match removal {
                Ok(LabelRemoval::Done) => cut.push(of_blob.blob.clone()),
                Ok(LabelRemoval::Changed | LabelRemoval::Gone) => {}
                Err(error) => {
                    let error = chain(&error);
                    report.warnings.push(error.clone());
                    failed.insert(of_blob.blob.clone(), error);
                    cut.push(of_blob.blob.clone());
                }
            }
        }
        labels.failed = failed;
        labels.retain(|blob| cut.binary_search(blob).is_ok());
        labels
    }

    /// Restores the labels of cuts that would not be made now. Returns the cuts that remain, without
    /// those whose labels are there: the removal failed, or a pull has written them back.
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
        mut labels: CutLabels,
        report: &mut Report,
    ) -> Result<Vec<Cut>, StoreError> {
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        let needed = match self.look_at_cuts(run, first, labels.cuts()).await {
            Ok(CutsNow { undone, needed }) => {
                labels.take(&undone);
                needed
            }
            Err(error) => {
                let error = chain(&error);
                warn!(%error, "the second look failed; restoring all labels");
                report.warnings.push(error);
                labels.cuts()
            }
        };
        for cut in &needed {
            info!(blob = %cut.blob, part = cut.part.key(), "restoring the labels of a blob");
            report.warnings.push(why_restored(cut));
        }
        let restored = labels.take(&needed);
        let namespace = &run.request.namespace;
        for labels in &restored {
            let restoring = run
                .patience
                .retry(|| self.store.restore_labels(namespace, labels));
            restoring.await?;
        }
        Ok(labels.cuts())
    }

    /// Restores labels.
    pub(crate) async fn restore_labels(
        &self,
        namespace: &Namespace,
        labels: &[BlobLabels],
    ) -> Result<(), StoreError> {
        for labels in labels {
            retry(|| self.store.restore_labels(namespace, labels)).await?;
        }
        Ok(())
    }

    /// Compares cuts with the labels that are there now, and with what a plan would cut now.
    async fn look_at_cuts(
        &self,
        run: Run<'_>,
        first: &Inventory,
        cuts: Vec<Cut>,
    ) -> Result<CutsNow, RunError> {
        let request = run.request;
        let namespace = &request.namespace;
        let evaluated = std::slice::from_ref(namespace);
        let mut keys = request.label_keys();
        keys.append(&mut self.protecting_labels());
        let observing = run
            .patience
            .retry(|| self.store.observe(evaluated, &keys, self.store.now()));
        let mut inventory = observing.await?;
        // No image leads to the configurations of build history, so they were not read.
        for_each_yielding(&cuts, |cut| {
            if let Some(document) = first.documents.get(&cut.blob) {
                let documents = &mut inventory.documents;
                let read = documents.entry(cut.blob.clone());
                read.or_insert_with(|| document.clone());
            }
        })
        .await;
        let mut registered = self.registered_for_run(namespace).await?;
        self.note_unlisted(&mut inventory);
        self.note_protection(&mut inventory, request.lift_protection)
            .await;
        if let Some(seen) = inventory.namespaces.get_mut(namespace) {
            let is_ours = |lease: &_| lease::run(lease).as_ref() == Some(run.id);
            seen.leases.retain(|lease| !is_ours(lease));
            if let Some(before) = first.namespaces.get(namespace) {
                mark_new_snapshots(seen, &mut registered, before);
            }
        }
        let request = self.by_current_use(request).await;
        let evaluating = move || {
            let seen = inventory.namespaces.get(&request.namespace);
            let is_undone = |cut: &Cut| seen.is_some_and(|seen| has_labels(seen, cut));
            let (undone, made): (Vec<Cut>, Vec<Cut>) = cuts.into_iter().partition(is_undone);
            let needed = no_longer_cut(inventory, &registered, &request, &made);
            CutsNow { undone, needed }
        };
        Ok(blocking(evaluating).await)
    }
}

/// What the second look finds of the cuts of a run.
struct CutsNow {
    /// Those whose labels are there.
    undone: Vec<Cut>,
    /// Those of the others that a plan would not make now.
    needed: Vec<Cut>,
}

/// Whether a blob has labels of a cut.
fn has_labels(seen: &NamespaceInventory, cut: &Cut) -> bool {
    let found = seen.blobs.binary_search_by(|it| it.digest.cmp(&cut.blob));
    found.is_ok_and(|at| {
        let mut references = seen.blobs[at].gc.refs.iter();
        references.any(|reference| cut.target.is_of(reference))
    })
}

/// Returns why a cut is undone, as people read it.
fn why_restored(cut: &Cut) -> String {
    let blob = &cut.blob;
    match cut.part {
        Part::BuildHistory => format!(
            "the unpacked layers of `{blob}` stay: something besides build history holds them now"
        ),
        Part::Snapshots | Part::Layers | Part::Platforms => format!(
            "the {} of `{blob}` stay: their image came into use or changed",
            cut.part.key()
        ),
    }
}
