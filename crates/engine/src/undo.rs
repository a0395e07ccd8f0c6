//! Holds of earlier runs: list, restore, free.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    AuditOutcome, AuditRecord, AuditRequest, GcRef, ImageChange, ImageRecord, InhibitScope,
    Namespace, RunId, chain,
};
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::audit::{changed, enter_error};
use crate::dependents::{Dependents, in_restore_order};
use crate::engine::Engine;
use crate::error::RunError;
use crate::hold::Hold;
use crate::host_guard;
use crate::lease::{self, MAX_RUN};
use crate::preview::new_run;
use crate::restore::{Restored, Restoring};
use crate::retry::{Patience, retry};

/// The result of an undo.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    /// The restored records.
    pub restored: Vec<String>,
    /// Names that now point to another image, and were not changed.
    pub taken: Vec<String>,
    /// Private images that were not restored: the kubelet's pull record is gone or cannot be read, so
    /// every pod could use them.
    #[serde(default)]
    pub refused: Vec<String>,
    /// Images that were not restored because containerd would collect them again: each exists only as
    /// long as the image named here, which was not restored.
    #[serde(default)]
    pub dependent: BTreeMap<String, String>,
    /// How many blobs have their labels back, by which they keep parts of images.
    #[serde(default)]
    pub labels: usize,
}

impl Engine {
    /// Lists the holds of earlier runs, oldest first, including unfinished runs.
    ///
    /// # Errors
    ///
    /// If containerd cannot be read.
    pub async fn history(&self, namespace: &Namespace) -> Result<Vec<Hold>, RunError> {
        let leases = retry(|| self.store.leases(namespace)).await?;
        let running = host_guard::run_under_way(&self.store, &leases, &self.identity).await;
        let mut holds = Hold::from_leases(&self.store, namespace, &leases).await?;
        holds.retain(|hold| !hold.is_abandoned || running.as_ref() != Some(&hold.run));
        Ok(holds)
    }

    /// Restores the records that a run removed: all of them, or those with the given names. It needs
    /// no network. When all are restored, the hold ends.
    ///
    /// `run` is a run ID or its prefix; `None` is the latest run. With `without_credentials` it also
    /// restores private images whose pull record is gone, so that every pod may use them.
    ///
    /// # Errors
    ///
    /// If the run has no hold, a name is not among its records, another run is under way, or a change
    /// fails. Records restored before that stay.
    pub async fn undo(
        &self,
        namespace: &Namespace,
        run: Option<&str>,
        names: &[String],
        without_credentials: bool,
    ) -> Result<Undone, RunError> {
        let id = new_run();
        let request = AuditRequest::Undo {
            run: run.map(ToOwned::to_owned),
            images: names.to_vec(),
            without_credentials,
        };
        let audited = self.audited(&id, namespace, request.bounded());
        let presence = self.presence(id, namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        let undoing = async {
            let hold = self.hold_with(namespace, run, names).await?;
            audited.begin().await;
            let undoing = self.undo_guarded(namespace, hold, names, without_credentials);
            undoing.await
        };
        let undone = undoing.await;
        self.audit_end(audited, |record| match &undone {
            Ok(undone) => {
                let is_partial = !undone.taken.is_empty()
                    || !undone.refused.is_empty()
                    || !undone.dependent.is_empty();
                if is_partial {
                    record.outcome = AuditOutcome::Partial;
                }
                let restored = undone.restored.iter();
                record.set_images(restored.map(|name| changed(name, None, ImageChange::Restored)));
            }
            Err(error) => enter_error(record, error),
        })
        .await;
        host_guard::release(&self.store, namespace, &presence).await?;
        undone
    }

    /// Finds the hold of a run, which must have the records of these names.
    async fn hold_with(
        &self,
        namespace: &Namespace,
        run: Option<&str>,
        names: &[String],
    ) -> Result<Hold, RunError> {
        let hold = self.find_hold(namespace, run).await?;
        let removed: BTreeSet<&str> = hold.records.iter().map(|it| it.name.as_str()).collect();
        match names.iter().find(|name| !removed.contains(name.as_str())) {
            Some(name) => Err(RunError::NotInRun {
                run: hold.run.clone(),
                name: name.clone(),
            }),
            None => Ok(hold),
        }
    }

    async fn undo_guarded(
        &self,
        namespace: &Namespace,
        hold: Hold,
        names: &[String],
        without_credentials: bool,
    ) -> Result<Undone, RunError> {
        let restoring = Restoring {
            store: &self.store,
            namespace,
            lease: hold.leases.first().map_or("", String::as_str),
            patience: &Patience::default(),
        };
        let refused = if without_credentials {
            BTreeSet::new()
        } else {
            self.lost_pull_records(&hold.restricted).await
        };
        let mut undone = Undone::default();
        // Labels have no names, so only an undo of everything restores them.
        let restores_labels = names.is_empty();
        let mut is_whole = hold.is_whole && (restores_labels || hold.labels.is_empty());
        let wanted = with_what_they_depend_on(&hold.records, names);
        let depends_on = depends_on(&hold.records);
        for image in in_restore_order(hold.records.iter().collect(), |image| image) {
            if !wanted.contains(image.name.as_str()) {
                is_whole = false;
                continue;
            }
            if refused.contains(&image.target.digest) {
                undone.refused.push(image.name.clone());
                continue;
            }
            let depends_on = depends_on.get(&*image.name).map_or(&[][..], Vec::as_slice);
            if let Some(missing) = self.missing(namespace, image, depends_on, &undone).await? {
                undone.dependent.insert(image.name.clone(), missing);
                continue;
            }
            // Otherwise the statistics would count the restored image as pulled again.
            if let Err(error) = self.store.announce_restore(namespace, &image.name).await {
                debug!(error = chain(&error), "cannot announce the restored image");
            }
            match restoring.write(image).await? {
                Restored::PointsAt(there) if there == image.target.digest => {
                    undone.restored.push(image.name.clone());
                }
                Restored::PointsAt(_) => undone.taken.push(image.name.clone()),
                Restored::ContentGone => {
                    return Err(RunError::ContentGone {
                        run: hold.run,
                        name: image.name.clone(),
                    });
                }
            }
        }
        if restores_labels {
            self.restore_labels(namespace, &hold.labels).await?;
            undone.labels = hold.labels.len();
        }
        // In the order of the records, not that of the restore.
        undone.restored.sort_unstable();
        undone.taken.sort_unstable();
        undone.refused.sort_unstable();
        let is_complete = undone.taken.is_empty() && undone.refused.is_empty();
        if is_whole && is_complete && undone.dependent.is_empty() {
            hold.delete(&self.store, namespace, false).await?;
        }
        Ok(undone)
    }

    /// Returns the image without which containerd would collect a restored image again: one of
    /// `depends_on`, if this undo restored none of these, and no image of those that it refers to exists.
    async fn missing(
        &self,
        namespace: &Namespace,
        image: &ImageRecord,
        depends_on: &[&str],
        undone: &Undone,
    ) -> Result<Option<String>, RunError> {
        let is_left_out = |name: &&&str| {
            undone.refused.iter().any(|it| it == **name) || undone.dependent.contains_key(**name)
        };
        let mut left_out = depends_on.iter().filter(is_left_out);
        let Some(first) = left_out.next() else {
            return Ok(None);
        };
        if left_out.count() + 1 < depends_on.len() {
            return Ok(None);
        }
        for reference in &image.gc.back_refs {
            let GcRef::Image(name) = reference else {
                return Ok(None);
            };
            if retry(|| self.store.image_target(namespace, name))
                .await?
                .is_some()
            {
                return Ok(None);
            }
        }
        Ok(Some((*first).to_owned()))
    }

    /// Frees the hold of a run with one collection. Returns the run's ID.
    ///
    /// # Errors
    ///
    /// If the run has no hold, another run is under way, an inhibitor forbids removals, or a change
    /// fails.
    pub async fn release(
        &self,
        namespace: &Namespace,
        run: Option<&str>,
    ) -> Result<RunId, RunError> {
        self.check_inhibitors(InhibitScope::All).await?;
        let id = new_run();
        let run_text = run.map(ToOwned::to_owned);
        let request = AuditRequest::Release { run: run_text }.bounded();
        let audited = self.audited(&id, namespace, request);
        let presence = self.presence(id, namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        let released = async {
            let hold = self.find_hold(namespace, run).await?;
            audited.begin().await;
            hold.delete(&self.store, namespace, true).await?;
            Ok(hold)
        };
        let released = released.await;
        self.audit_end(audited, |record| match &released {
            Ok(hold) => enter_released(record, hold),
            Err(error) => enter_error(record, error),
        })
        .await;
        host_guard::release(&self.store, namespace, &presence).await?;
        Ok(released?.run)
    }

    /// Frees holds, the oldest run first and each with one collection, until `is_enough` returns true
    /// or there are no more. Returns the IDs of the runs.
    ///
    /// Skips crashed runs, because the next prune restores their images.
    ///
    /// # Errors
    ///
    /// If another run is under way, or a change fails. Holds freed before that stay freed.
    pub async fn release_holds(
        &self,
        namespace: &Namespace,
        is_enough: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<Vec<RunId>, RunError> {
        let presence = self.presence(new_run(), namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        let releasing = async {
            let mut released = Vec::new();
            for hold in Hold::list(&self.store, namespace).await? {
                if is_enough() {
                    break;
                }
                if !hold.is_abandoned {
                    let run = Some(hold.run.to_string());
                    let request = AuditRequest::Release { run };
                    let audited = self.audited(&new_run(), namespace, request);
                    audited.begin().await;
                    hold.delete(&self.store, namespace, true).await?;
                    self.audit_end(audited, |record| enter_released(record, &hold))
                        .await;
                    released.push(hold.run);
                }
            }
            Ok(released)
        };
        let released = releasing.await;
        host_guard::release(&self.store, namespace, &presence).await?;
        released
    }

    /// Runs one collection, which frees existing garbage.
    ///
    /// # Errors
    ///
    /// If another run is under way, or a change fails.
    pub async fn collect_garbage(&self, namespace: &Namespace) -> Result<(), RunError> {
        let presence = self.presence(new_run(), namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        // containerd collects when the guard's lease is deleted synchronously.
        let expires = lease::expiry(self.store.now(), MAX_RUN);
        host_guard::release_and_collect(&self.store, namespace, &presence, expires).await?;
        Ok(())
    }

    async fn find_hold(&self, namespace: &Namespace, run: Option<&str>) -> Result<Hold, RunError> {
        let mut holds = Hold::list(&self.store, namespace).await?;
        let held: Vec<RunId> = holds.iter().map(|hold| hold.run.clone()).collect();
        let found = match run {
            None => holds.pop(),
            Some(run) => {
                holds.retain(|hold| hold.run.0.starts_with(run));
                // An ambiguous prefix matches no run.
                holds.pop().filter(|_| holds.is_empty())
            }
        };
        found.ok_or_else(|| RunError::UnknownRun {
            namespace: namespace.clone(),
            run: run.unwrap_or("latest").to_owned(),
            held,
        })
    }
}

/// Returns for each record the names of those on which it depends.
fn depends_on(records: &[ImageRecord]) -> BTreeMap<&str, Vec<&str>> {
    let depends_on = Dependents::among(records.iter()).depends_on();
    let name = |image: usize| &*records[image].name;
    let images = depends_on.into_iter().enumerate();
    images
        .map(|(image, on)| (name(image), on.into_iter().map(name).collect()))
        .collect()
}

/// Enters the images of a hold that ended.
fn enter_released(record: &mut AuditRecord, hold: &Hold) {
    let images = hold.records.iter();
    record.set_images(images.map(|image| {
        let digest = Some(&image.target.digest);
        changed(&image.name, digest, ImageChange::Released)
    }));
}

/// Returns the names of the records to restore: all of them if `names` is empty, else those with the names
/// and those that they depend on, without which containerd would collect them again.
fn with_what_they_depend_on<'r>(records: &'r [ImageRecord], names: &[String]) -> BTreeSet<&'r str> {
    let dependents = Dependents::among(records.iter());
    let is_named = |image: &ImageRecord| names.is_empty() || names.contains(&image.name);
    let mut wanted: Vec<bool> = records.iter().map(is_named).collect();
    // Those that others depend on come last in the order of removal.
    for group in dependents.removal_order() {
        loop {
            let missing = group.iter().copied().find(|image| {
                !wanted[*image] && dependents.of(*image).iter().any(|it| wanted[*it])
            });
            let Some(missing) = missing else {
                break;
            };
            wanted[missing] = true;
        }
    }
    let wanted = records.iter().zip(wanted).filter(|(_, wanted)| *wanted);
    wanted.map(|(image, _)| image.name.as_str()).collect()
}
