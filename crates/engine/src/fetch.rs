//! Fetches the layers again that images lack.
//!
//! The layers are fetched by digest from the registry of the image and written to containerd's content
//! store under a lease. Then the labels are written by which the manifests keep them, and the lease is
//! deleted. Nothing is unpacked, and nothing is removed, so this needs no guard: a prune or slim of
//! another process sees the lease, and labels that changed meanwhile are read again before each write.
//! If it is killed, what it fetched is garbage once the lease expires.

mod content;
mod labels;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use reclaim_model::{
    AuditOutcome, AuditRecord, AuditRequest, CredentialsByRegistry, Digest, FetchedContent,
    FetchedPart, ImageChange, LocalMirrors, Mode, Namespace, NotRestored, RegistryContent,
    RegistryCredentials, RestoreOutcome, RestoreRequest, chain,
};
use reclaim_plan::{Lacking, lacking};
use reclaim_store::{NO_LABELS, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::audit::changed;
use crate::cancel::unless_cancelled;
use crate::engine::Engine;
use crate::error::RunError;
use crate::lease;
use crate::off_thread::Shared;
use crate::preview::new_run;
use crate::retry::retry;
use content::Fetching;
use parts::{FromChild, Part, Parts};

/// The prefix of the IDs of the leases that hold what is fetched.
const LEASE_PREFIX: &str = "reclaim.restore.";

/// How long one image may take.
const MAX_TIME: Duration = Duration::from_secs(12 * 60 * 60);

/// How much longer its lease lives, for the labels to be written.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// How many layers are fetched at once.
const AT_ONCE: usize = 3;

/// Why a registry did not give content. The text names the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceError {
    /// It cannot be reached, does not have it, or gave something else.
    Failed(String),
    /// It demands credentials, or refuses those that it got.
    Unauthorized(String),
}

/// Where the content of images is fetched from.
#[async_trait]
pub trait LayerSource: fmt::Debug + Send + Sync {
    /// Fetches content and sends it in parts. Each attempt begins with [`FetchedPart::Begin`]. The
    /// content is verified when this returns `Ok`, not before.
    ///
    /// Must take a bounded time, and stop if the receiver of the parts is dropped.
    ///
    /// # Errors
    ///
    /// Why the content could not be fetched.
    async fn fetch(
        &self,
        content: &RegistryContent,
        user: Option<&RegistryCredentials>,
        parts: &mpsc::Sender<FetchedPart>,
    ) -> Result<(), SourceError>;

    /// Returns which of these registries have a mirror on this machine that may serve images to other
    /// machines, out of containerd's content, and why.
    async fn local_mirrors(&self, _registries: BTreeSet<String>) -> LocalMirrors {
        LocalMirrors::new()
    }
}

/// How many bytes were fetched so far, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress {
    /// The bytes that were written to containerd.
    pub done: u64,
    /// The bytes of all that is to be fetched for the image.
    pub total: u64,
}

/// What a [`RestoreRequest`] needs in addition.
#[derive(Clone, Copy)]
pub struct FetchControls<'c> {
    /// Whose credentials are sent to which registry.
    pub credentials: &'c CredentialsByRegistry,
    /// Receives the progress of each image.
    pub progress: &'c (dyn Fn(FetchProgress) + Sync),
    /// Stops it. What was fetched by then stays with the images.
    pub cancel: &'c CancellationToken,
}

impl fmt::Debug for FetchControls<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FetchControls")
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Sets where the content of images is fetched from. Without it, nothing can be fetched.
    #[must_use]
    pub fn with_layer_source(self, source: Arc<dyn LayerSource>) -> Self {
        Self {
            layer_source: Some(source),
            ..self
        }
    }

    /// Fetches the layers that images lack, one image after the other. If one fails, the others are
    /// restored nevertheless. Nothing is unpacked, and no container is affected.
    ///
    /// A dry run reports what would be fetched. Of a platform that is absent it fetches the manifest to
    /// see what that lists, and does not store it.
    ///
    /// Cancellation safe: what was fetched is garbage once its lease expires. With the token, it is
    /// given to the images.
    ///
    /// # Errors
    ///
    /// Only if nothing was fetched: the namespace does not exist, or containerd cannot be read.
    pub async fn restore_layers(
        &self,
        request: &RestoreRequest,
        controls: FetchControls<'_>,
    ) -> Result<Vec<RestoreOutcome>, RunError> {
        let namespace = &request.namespace;
        let existing = unless_cancelled(controls.cancel, retry(|| self.store.namespaces())).await?;
        if !existing.contains(namespace) && !request.may_lack_namespace {
            return Err(RunError::UnknownNamespace {
                namespace: namespace.clone(),
                existing,
            });
        }
        let evaluated = std::slice::from_ref(namespace);
        let observing = retry(|| self.store.observe(evaluated, &NO_LABELS, self.store.now()));
        let inventory = Shared::new(unless_cancelled(controls.cancel, observing).await?);
        let (name, names) = (namespace.clone(), request.names.clone());
        let images = inventory.read(move |inventory| lacking(inventory, &name, &names));
        let images = images.await;
        drop(inventory);
        let run = new_run();
        let audited = AuditRequest::Restore(request.clone()).bounded();
        let audited = self.audited(&run, namespace, audited);
        let mut outcomes = Vec::new();
        for (index, image) in images.into_iter().enumerate() {
            let outcome = match image {
                Err((name, error)) => RestoreOutcome::failed(name, NotRestored::NotFound(error)),
                Ok(image) => {
                    let restoring = Restoring {
                        engine: self,
                        request,
                        controls,
                        lease: format!("{LEASE_PREFIX}{run}.{index}"),
                        audited: &audited,
                        run: &run,
                    };
                    // Boxed, because it is large.
                    Box::pin(restoring.image(image)).await
                }
            };
            outcomes.push(outcome);
        }
        self.audit_end(audited, |record| enter(record, &outcomes))
            .await;
        Ok(outcomes)
    }
}

/// Enters the images that have layers again.
fn enter(record: &mut AuditRecord, outcomes: &[RestoreOutcome]) {
    if outcomes.iter().any(|outcome| outcome.error.is_some()) {
        record.outcome = AuditOutcome::Partial;
    }
    let images = outcomes.iter().filter(|outcome| outcome.is_change());
    record.set_images(images.map(|outcome| {
        let mut image = changed(
            &outcome.name,
            outcome.target.as_ref(),
            ImageChange::Completed,
        );
        image.bytes = Some(outcome.fetched_bytes);
        image
    }));
}

/// One image on its way.
struct Restoring<'r> {
    engine: &'r Engine,
    request: &'r RestoreRequest,
    controls: FetchControls<'r>,
    /// The ID of its lease.
    lease: String,
    audited: &'r crate::audit::Audited,
    run: &'r reclaim_model::RunId,
}

impl Restoring<'_> {
    fn namespace(&self) -> &Namespace {
        &self.request.namespace
    }

    /// Restores an image, or in a dry run reports what it lacks.
    async fn image(&self, image: Lacking) -> RestoreOutcome {
        let mut outcome = RestoreOutcome::new(image.name.clone(), Some(image.target.clone()));
        if self.controls.cancel.is_cancelled() {
            outcome.error = Some(NotRestored::Cancelled);
            return outcome;
        }
        let first = image.repositories.first();
        outcome.registry = first.map(|reference| reference.domain().to_owned());
        if let Err(error) = self.restore(&image, &mut outcome).await {
            outcome.error = Some(error);
        } else if outcome.error.is_none() {
            outcome.error = image.unreadable.map(NotRestored::Unreadable);
        }
        outcome
    }

    async fn restore(
        &self,
        image: &Lacking,
        outcome: &mut RestoreOutcome,
    ) -> Result<(), NotRestored> {
        let parts = self.parts(image).await?;
        let missing = parts.missing();
        if missing.is_empty() && parts.labels() == 0 {
            return Ok(());
        }
        if image.repositories.is_empty() && !missing.is_empty() {
            return Err(NotRestored::NoRegistry(image.name.clone()));
        }
        if self.request.mode() == Mode::DryRun {
            outcome.set_fetched(
                missing
                    .into_values()
                    .map(FetchedContent::from_child)
                    .collect(),
            );
            outcome.labels = parts.labels();
            return Ok(());
        }
        let total = missing.values().map(|child| child.size);
        let total = total.fold(0, u64::saturating_add);
        self.check_room(total).await?;
        self.audited.begin().await;
        let fetched = self.under_lease(image, parts, total, outcome).await;
        // Without a collection: what was fetched has its labels, or is garbage.
        let deleting = retry(|| {
            self.engine
                .store
                .delete_lease(self.namespace(), &self.lease, false)
        });
        if let Err(error) = deleting.await {
            warn!(lease = %self.lease, error = %chain(&error), "cannot delete a lease; it expires");
        }
        fetched
    }

    async fn under_lease(
        &self,
        image: &Lacking,
        parts: Parts,
        total: u64,
        outcome: &mut RestoreOutcome,
    ) -> Result<(), NotRestored> {
        let store = &self.engine.store;
        let labels = lease::new(self.run, store.now(), MAX_TIME + MARGIN);
        let creating = retry(|| store.create_lease(self.namespace(), &self.lease, labels.clone()));
        creating.await.map_err(|error| failed(&error))?;
        let done = AtomicU64::new(0);
        let fetching = Fetching {
            restoring: self,
            repositories: &image.repositories,
            done: &done,
            total,
        };
        let deadline = Instant::now() + MAX_TIME;
        let bodies: BTreeMap<Digest, Arc<[u8]>> = parts.bodies();
        let all = parts.blobs().into_values().map(|child| {
            let (fetching, body) = (&fetching, bodies.get(&child.digest).cloned());
            async move {
                let storing = fetching.store(&child, body);
                let stored = timeout_at(deadline, self.unless_cancelled(storing)).await;
                let late = || NotRestored::Fetch(format!("it takes longer than {MAX_TIME:?}"));
                (child, stored.unwrap_or_else(|_| Err(late())))
            }
        });
        let results: Vec<_> = stream::iter(all).buffer_unordered(AT_ONCE).collect().await;
        let mut here = BTreeSet::new();
        let mut fetched = Vec::new();
        let mut first_error = None;
        for (child, result) in results {
            match result {
                Ok(was_fetched) => {
                    here.insert(child.digest.clone());
                    if was_fetched {
                        fetched.push(FetchedContent::from_child(child));
                    }
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        outcome.set_fetched(fetched);
        info!(image = %image.name, bytes = outcome.fetched_bytes, "fetched layers");
        for part in parts.all.iter().filter(|part| part.is_ready(&here)) {
            match self.label(part, &here).await {
                Ok(labels) => outcome.labels += labels,
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Waits for content, unless it is cancelled. Dropping it leaves an ingest, which goes with the
    /// lease.
    async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, NotRestored>>,
    ) -> Result<T, NotRestored> {
        tokio::select! {
            biased;
            () = self.controls.cancel.cancelled() => Err(NotRestored::Cancelled),
            done = work => done,
        }
    }

    /// Refuses what the filesystem of the content store has no room for. If that cannot be measured,
    /// containerd decides.
    async fn check_room(&self, needed: u64) -> Result<(), NotRestored> {
        let measured = self.engine.store.filesystems().await;
        let filesystems = match measured {
            Ok(filesystems) => filesystems.seen,
            Err(error) => return Err(failed(&error)),
        };
        let content = filesystems.into_iter().find(|it| it.has_content);
        match content {
            Some(content) if content.bytes.left < needed => Err(NotRestored::NoRoom {
                needed,
                left: content.bytes.left,
            }),
            _ => Ok(()),
        }
    }

    /// Writes the labels by which a manifest keeps what it lists and what is here. Returns how many.
    async fn label(&self, part: &Part, here: &BTreeSet<Digest>) -> Result<usize, NotRestored> {
        let mut written = 0;
        // The manifest first: nothing keeps what its index does not keep.
        for (blob, children) in part.labelled() {
            written += self.label_blob(blob, &children, here).await?;
        }
        Ok(written)
    }

    async fn label_blob(
        &self,
        blob: &Digest,
        children: &labels::Children<'_>,
        here: &BTreeSet<Digest>,
    ) -> Result<usize, NotRestored> {
        let store = &self.engine.store;
        let reading = retry(|| store.content_labels(self.namespace(), blob));
        let present = reading.await.map_err(|error| failed(&error))?;
        let Some(present) = present else {
            return Err(NotRestored::Changed(blob.to_string()));
        };
        let added = labels::missing(&present, children, here);
        if added.labels.is_empty() {
            return Ok(0);
        }
        let added = reclaim_model::BlobLabels {
            blob: blob.clone(),
            labels: added.labels,
        };
        let adding = retry(|| store.add_labels(self.namespace(), &added));
        match adding.await.map_err(|error| failed(&error))? {
            reclaim_store::LabelAddition::Done => Ok(added.labels.len()),
            reclaim_store::LabelAddition::Changed | reclaim_store::LabelAddition::Gone => {
                Err(NotRestored::Changed(blob.to_string()))
            }
        }
    }

    /// Counts bytes that were written to containerd.
    fn advance(&self, done: &AtomicU64, bytes: u64, total: u64) {
        let done = done
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        self.engine.heartbeat.beat();
        (self.controls.progress)(FetchProgress {
            done: done.min(total),
            total,
        });
    }
}

fn failed(error: &StoreError) -> NotRestored {
    NotRestored::Failed(chain(error))
}
