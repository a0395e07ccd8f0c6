//! What can still be done about runs that ended: list, restore, free.

use std::collections::BTreeSet;

use reclaim_model::{Namespace, RunId, chain};
use serde::{Deserialize, Serialize};
use tracing::debug;

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
    /// Records that are there again as they were.
    pub restored: Vec<String>,
    /// Names that now point at something else, and were left alone.
    pub taken: Vec<String>,
}

impl Engine {
    /// Lists what is held of earlier runs, oldest first; also of those that ended before their
    /// work was done, until they are finished.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn history(&self, namespace: &Namespace) -> Result<Vec<Hold>, RunError> {
        let leases = retry(|| self.store.leases(namespace)).await?;
        let running = host_guard::run_under_way(&self.store, &leases, &self.identity).await;
        let mut holds = Hold::among(&self.store, namespace, &leases).await?;
        holds.retain(|hold| !hold.is_abandoned || running.as_ref() != Some(&hold.run));
        Ok(holds)
    }

    /// Restores the records that a run removed: all of them, or those of the given names. No
    /// network is needed. When all are there again, the hold ends.
    ///
    /// `run` is an ID or the beginning of one; `None` is the latest.
    ///
    /// # Errors
    ///
    /// If nothing is held of that run, a name is not among its records, another run is under
    /// way, or the store cannot be changed. What was restored until then stays.
    pub async fn undo(
        &self,
        namespace: &Namespace,
        run: Option<&str>,
        names: &[String],
    ) -> Result<Undone, RunError> {
        let presence = self.presence(new_run(), namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        let undone = self.undo_guarded(namespace, run, names).await;
        host_guard::release(&self.store, namespace, &presence).await?;
        undone
    }

    async fn undo_guarded(
        &self,
        namespace: &Namespace,
        run: Option<&str>,
        names: &[String],
    ) -> Result<Undone, RunError> {
        let hold = self.find_hold(namespace, run).await?;
        let there: BTreeSet<&str> = hold.records.iter().map(|it| it.name.as_str()).collect();
        if let Some(name) = names.iter().find(|name| !there.contains(name.as_str())) {
            return Err(RunError::NotInRun {
                run: hold.run,
                name: name.clone(),
            });
        }
        let restoring = Restoring {
            store: &self.store,
            namespace,
            lease: hold.leases.first().map_or("", String::as_str),
            patience: &Patience::default(),
        };
        let mut undone = Undone::default();
        let mut is_whole = hold.is_whole;
        for image in &hold.records {
            if !names.is_empty() && !names.contains(&image.name) {
                is_whole = false;
                continue;
            }
            // Or whoever counts what is pulled again would take it for that.
            if let Err(error) = self.store.announce_restore(namespace, &image.name).await {
                debug!(error = chain(&error), "nobody is told of the restoring");
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
        if names.is_empty() {
            self.restore_labels(namespace, &hold.unpins).await?;
        }
        if is_whole && undone.taken.is_empty() {
            hold.end(&self.store, namespace, false).await?;
        }
        Ok(undone)
    }

    /// Frees what is held of a run now, with one collection. Returns which run it was.
    ///
    /// # Errors
    ///
    /// If nothing is held of that run, another run is under way, or the store cannot be
    /// changed.
    pub async fn release(
        &self,
        namespace: &Namespace,
        run: Option<&str>,
    ) -> Result<RunId, RunError> {
        let presence = self.presence(new_run(), namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        let released = async {
            let hold = self.find_hold(namespace, run).await?;
            hold.end(&self.store, namespace, true).await?;
            Ok(hold.run)
        };
        let released = released.await;
        host_guard::release(&self.store, namespace, &presence).await?;
        released
    }

    /// Frees what is held, the oldest run first and each with one collection, until there is
    /// enough room or nothing is held any more. Returns the runs.
    ///
    /// For whoever needs the space more than the second thoughts. What a crashed run holds is
    /// not among it: the next prune restores that.
    ///
    /// # Errors
    ///
    /// If another run is under way, or the store cannot be changed. What was freed until then is.
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
                    hold.end(&self.store, namespace, true).await?;
                    released.push(hold.run);
                }
            }
            Ok(released)
        };
        let released = releasing.await;
        host_guard::release(&self.store, namespace, &presence).await?;
        released
    }

    /// Runs one collection, so that what is garbage already goes.
    ///
    /// # Errors
    ///
    /// If another run is under way, or the store cannot be changed.
    pub async fn collect_garbage(&self, namespace: &Namespace) -> Result<(), RunError> {
        let presence = self.presence(new_run(), namespace).await;
        let _running = self.try_begin(&presence, namespace).await?;
        // Deleting the guard's lease synchronously is the collection.
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
                // The beginning of several names none of them.
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
