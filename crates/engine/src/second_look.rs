//! The second look: after the removals and before the collection, restores images that came into
//! use.
//!
//! Between the plan and the removal a client may have begun to use an image: resolved its name,
//! prepared a snapshot, created a container. The run's lease still keeps all of its content. So the
//! run lists the users again, adds the removed records to the list, and plans again with the same
//! code. It restores each record that the new plan keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use reclaim_model::{
    Container, DANGLING_PREFIX, Holder, ImageRecord, Inventory, KeepReason, Kept,
    NamespaceInventory, Reference, ResolvedRequest, RootMark, SnapshotId, SnapshotKind, chain,
};
use reclaim_plan::decide_again;
use reclaim_store::{EventWatcher, StoreError};
use tracing::{info, warn};

use crate::dependents::in_restore_order;
use crate::engine::Engine;
use crate::error::RunError;
use crate::lease;
use crate::lease::unfinished;
use crate::off_thread::lend;
use crate::restore::{Restored, Restoring};
use crate::run::Run;

/// The maximum number of looks while events keep arriving. Each look restores all that it finds, and
/// on a busy node the looks must end.
const MAX_LOOKS: usize = 3;

/// A removed record that must be restored.
#[derive(Debug, Clone)]
pub(crate) struct NeededRecord {
    /// The name under which it was removed.
    pub(crate) name: String,
    /// The record to write. It has another name if the old one is taken.
    pub(crate) image: ImageRecord,
    /// Why it is needed.
    pub(crate) reason: KeepReason,
    /// Its holders.
    pub(crate) holders: Vec<Holder>,
}

/// The result of the second look.
#[derive(Debug, Default)]
pub(crate) struct SecondLook {
    /// The restored records.
    pub(crate) restored: Vec<NeededRecord>,
    /// The names of the records that are gone and stay gone.
    pub(crate) gone: BTreeSet<String>,
    /// Why the store could not be read, if so. Then all records are restored.
    pub(crate) failure: Option<String>,
    /// The needed record that could not be written, if any. Then the hold must not be released.
    pub(crate) not_written: Option<(NeededRecord, StoreError)>,
    /// Needed records whose content is gone: the run slept longer than its hold lasts, or another
    /// process has finished it.
    pub(crate) lost: Vec<NeededRecord>,
}

impl Engine {
    /// Restores those of `removed` that came into use.
    ///
    /// `first` is the inventory of the plan. If the store cannot be read, all are restored, because
    /// unknown means in use. Records that still exist are skipped.
    pub(crate) async fn restore_used(
        &self,
        run: Run<'_>,
        first: &mut Inventory,
        mut removed: Vec<ImageRecord>,
        watcher: Option<&EventWatcher>,
    ) -> SecondLook {
        let lease = unfinished(run.id);
        let restoring = self.restoring(run, &lease);
        let mut look = SecondLook::default();
        for _ in 0..MAX_LOOKS {
            let events_before = watcher.map(EventWatcher::count);
            let needed = match self.needed(run, first, &mut removed).await {
                Ok((needed, gone)) => {
                    look.gone = gone;
                    needed
                }
                Err(error) => {
                    let error = chain(&error);
                    warn!(%error, "the second look failed; restoring everything");
                    look.gone.clear();
                    look.failure = Some(error);
                    removed.iter().map(usage_unknown).collect()
                }
            };
            let mut restored_names = BTreeSet::new();
            for record in in_restore_order(needed, |record| &record.image) {
                info!(image = %record.name, holders = ?record.holders, "restoring");
                let restored = match restore(restoring, &record.image).await {
                    Ok(restored) => restored,
                    Err(error) => {
                        look.not_written = Some((record, error));
                        return look;
                    }
                };
                restored_names.insert(record.name.clone());
                match restored {
                    Restored::PointsAt(_) => look.restored.push(record),
                    Restored::ContentGone => look.lost.push(record),
                }
            }
            lend(&mut removed, move |removed| {
                removed.retain(|image| !restored_names.contains(&image.name));
            })
            .await;
            if removed.is_empty() || watcher.map(EventWatcher::count) == events_before {
                break;
            }
        }
        look
    }

    /// Restores all of `removed`, because the second look was skipped: unknown means in use.
    pub(crate) async fn restore_all(
        &self,
        run: Run<'_>,
        removed: Vec<ImageRecord>,
        why: String,
    ) -> SecondLook {
        let lease = unfinished(run.id);
        let restoring = self.restoring(run, &lease);
        let mut look = SecondLook {
            failure: Some(why),
            ..SecondLook::default()
        };
        let removed = in_restore_order(removed, |image| image);
        for record in removed.iter().map(usage_unknown) {
            match restore(restoring, &record.image).await {
                Ok(Restored::PointsAt(_)) => look.restored.push(record),
                Ok(Restored::ContentGone) => look.lost.push(record),
                Err(error) => {
                    look.not_written = Some((record, error));
                    break;
                }
            }
        }
        look
    }

    fn restoring<'r>(&'r self, run: Run<'r>, lease: &'r str) -> Restoring<'r> {
        Restoring {
            store: &self.store,
            namespace: &run.request.namespace,
            lease,
            patience: run.patience,
        }
    }

    /// Evaluates the removed records against the current users. Returns the needed ones, and the
    /// names of those that stay gone.
    async fn needed(
        &self,
        run: Run<'_>,
        first: &mut Inventory,
        removed: &mut Vec<ImageRecord>,
    ) -> Result<(Vec<NeededRecord>, BTreeSet<String>), RunError> {
        let request = run.request;
        let namespace = &request.namespace;
        let looking = run.patience.retry(|| self.store.observe_users(namespace));
        let mut seen = looking.await?;
        let registered = self.registered_for_run(namespace).await?;
        let is_ours = |lease: &_| lease::run(lease).as_ref() == Some(run.id);
        seen.leases.retain(|lease| !is_ours(lease));
        seen.protection = self.protection_of(namespace, request.lift_protection);
        let evaluation = Evaluation {
            observed_at: self.store.now(),
            has_unlisted_containers: self.has_unlisted_containers(namespace),
            request: self.by_use_since(request).await,
            registered,
            seen,
        };
        let removed_before = std::mem::take(removed);
        let evaluated;
        (*removed, evaluated) = lend(first, move |first| {
            let evaluated = evaluation.evaluate(first, &removed_before);
            (removed_before, evaluated)
        })
        .await;
        Ok(evaluated)
    }
}

/// The input of the second evaluation.
struct Evaluation {
    observed_at: Timestamp,
    has_unlisted_containers: bool,
    request: ResolvedRequest,
    /// Containers that containerd has no record of.
    registered: Vec<Container>,
    /// The namespace without its blobs.
    seen: NamespaceInventory,
}

impl Evaluation {
    /// Returns the needed records, and the names of those that stay gone.
    fn evaluate(
        self,
        first: &mut Inventory,
        removed: &[ImageRecord],
    ) -> (Vec<NeededRecord>, BTreeSet<String>) {
        let Self {
            observed_at,
            has_unlisted_containers,
            request,
            mut registered,
            mut seen,
        } = self;
        let namespace = &request.namespace;
        if let Some(before) = first.namespaces.get_mut(namespace) {
            mark_new_snapshots(&mut seen, &mut registered, before);
            seen.blobs = std::mem::take(&mut before.blobs);
            seen.pod_images = before.pod_images.clone();
        }
        seen.has_unlisted_containers = has_unlisted_containers;
        let injected = inject(&mut seen, removed);
        let mut inventory = Inventory {
            rules: first.rules,
            observed_at,
            namespaces: [(namespace.clone(), seen)].into(),
            documents: std::mem::take(&mut first.documents),
            label_keys: first.label_keys.clone(),
            sandbox_image: first.sandbox_image.clone(),
        };
        let gone = injected.iter().map(|(_, image)| image.name.as_str());
        let decision = decide_again(&inventory, &registered, &request, &gone.collect());
        let kept = decision.kept().iter().map(|kept| (&*kept.name, kept));
        let kept: BTreeMap<&str, &Kept> = kept.collect();
        let mut needed = Vec::new();
        let mut gone = BTreeSet::new();
        for (name, image) in injected {
            match kept.get(&*image.name) {
                Some(kept) => needed.push(NeededRecord {
                    name,
                    image,
                    reason: kept.reason,
                    holders: kept.holders.clone(),
                }),
                None => {
                    gone.insert(name);
                }
            }
        }
        // Moved back, because they are too large to copy and still needed.
        first.documents = std::mem::take(&mut inventory.documents);
        if let Some(before) = first.namespaces.get_mut(namespace)
            && let Some(seen) = inventory.namespaces.get_mut(namespace)
        {
            before.blobs = std::mem::take(&mut seen.blobs);
        }
        (needed, gone)
    }
}

/// Restores a record; under another name if the old one now points elsewhere.
async fn restore(restoring: Restoring<'_>, image: &ImageRecord) -> Result<Restored, StoreError> {
    let restored = restoring.write(image).await?;
    match &restored {
        Restored::PointsAt(there) if *there != image.target.digest => {
            restoring.write(&under_its_digest(image)).await
        }
        Restored::PointsAt(_) | Restored::ContentGone => Ok(restored),
    }
}

/// Marks every new active snapshot or view as used: by its container, or else with any holder.
///
/// Its lease may have been listed just before it was prepared, and its container may not exist yet.
/// An old snapshot without a holder is garbage; a new one belongs to a container being created. If
/// an engine already lists that container, its digest says which image the snapshot is of; Docker's
/// snapshots have the ID of their container.
pub(crate) fn mark_new_snapshots(
    seen: &mut NamespaceInventory,
    registered: &mut [Container],
    before: &NamespaceInventory,
) {
    let mut containers: BTreeMap<String, Vec<&mut Container>> = BTreeMap::new();
    for container in seen.containers.iter_mut().chain(registered) {
        let of_id = containers.entry(container.id.clone()).or_default();
        of_id.push(container);
    }
    for (snapshotter, snapshots) in &mut seen.snapshots {
        let known = before.snapshots.get(snapshotter).map_or(&[][..], |it| it);
        for snapshot in snapshots {
            let is_new = known
                .binary_search_by(|it| it.key.cmp(&snapshot.key))
                .is_err();
            if !is_new || snapshot.kind == SnapshotKind::Committed {
                continue;
            }
            let id = SnapshotId::new(snapshotter.clone(), Arc::clone(&snapshot.key));
            let owners = containers.get_mut(&*snapshot.key).into_iter().flatten();
            let mut is_owned = false;
            for owner in owners {
                is_owned |= *owner.snapshot.get_or_insert_with(|| id.clone()) == id;
            }
            if !is_owned {
                snapshot.gc.root = RootMark::Exact;
            }
        }
    }
}

/// Adds removed records to an inventory. Returns each with the name under which it was removed.
fn inject(seen: &mut NamespaceInventory, removed: &[ImageRecord]) -> Vec<(String, ImageRecord)> {
    let mut injected = Vec::new();
    for image in removed {
        let there = seen.images.binary_search_by(|it| it.name.cmp(&image.name));
        match there.map(|at| &seen.images[at].target.digest) {
            Err(_) => injected.push((image.name.clone(), image.clone())),
            // Another client has created the same record again.
            Ok(digest) if *digest == image.target.digest => {}
            Ok(_) => injected.push((image.name.clone(), under_its_digest(image))),
        }
    }
    seen.images
        .extend(injected.iter().map(|(_, image)| image.clone()));
    seen.images.sort_by(|a, b| a.name.cmp(&b.name));
    // Two names of one repository may have had the same target before.
    seen.images
        .dedup_by(|later, earlier| later.name == earlier.name);
    injected
}

/// Returns the record with the name `repository@digest`, or, if its name is not a reference, with
/// Docker's name for an image without a name.
fn under_its_digest(image: &ImageRecord) -> ImageRecord {
    let digest = &image.target.digest;
    let name = match Reference::parse_normalized(&image.name) {
        Ok(reference) => format!("{}@{digest}", reference.repository()),
        Err(_) => format!("{DANGLING_PREFIX}{digest}"),
    };
    ImageRecord {
        name,
        ..image.clone()
    }
}

fn usage_unknown(image: &ImageRecord) -> NeededRecord {
    NeededRecord {
        name: image.name.clone(),
        image: image.clone(),
        reason: KeepReason::UsageUnknown,
        holders: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
