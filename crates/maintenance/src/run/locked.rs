//! Runs with the cluster lock, or without it if the disk cannot wait.

use std::error::Error;
use std::time::Duration;

use reclaim_engine::RunError;
use reclaim_model::{Mode, chain};
use tokio::time::Instant;
use tracing::warn;

use super::UnderWay;
use crate::cluster_lock::{Acquired, SharedLock};
use crate::policy_run::PolicyOutcome;

/// How long a run waits for the cluster lock while a filesystem is above the critical mark.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time between two measurements while it waits.
const MEASURE_AGAIN: Duration = Duration::from_secs(10);

/// Whether a run may begin.
enum Turn {
    /// It has the lock.
    Locked(Acquired),
    /// It goes without the lock, for this reason.
    Critical(String),
}

impl UnderWay<'_> {
    /// Does the work, and takes the cluster lock first if there is any to do.
    pub(super) async fn work_under_lock(&mut self) -> Result<(), RunError> {
        self.begin().await?;
        let is_idle = self.progress().is_over() || self.policy.mode == Mode::DryRun;
        let lock = self.maintenance.cluster_lock.as_ref();
        let Some(lock) = lock.filter(|_| !is_idle) else {
            return self.work().await;
        };
        let heartbeat = self.maintenance.engine.heartbeat();
        let acquired = match heartbeat.while_waiting(self.turn(lock)).await {
            Ok(Turn::Locked(acquired)) => Some(acquired),
            Ok(Turn::Critical(reason)) => {
                warn!(%reason, "not waiting for the cluster lock");
                let warning = format!("ran without the cluster lock: {reason}");
                self.run.warnings.push(warning);
                None
            }
            Err(error) => {
                self.run.outcome = PolicyOutcome::Failed;
                self.run.error = Some(format!("acquire the cluster lock: {}", chain(&*error)));
                return Ok(());
            }
        };
        if let Some(acquired) = &acquired {
            self.cancel = acquired.cancel.clone();
        }
        // The wait may have been long, so measure again.
        let done = match self.begin().await {
            Ok(()) => self.work().await,
            Err(error) => Err(error),
        };
        if let Some(acquired) = acquired {
            acquired.release().await;
        }
        done
    }

    /// Waits for the cluster lock, but not for long while a filesystem is above the critical mark.
    async fn turn(&self, lock: &SharedLock) -> Result<Turn, Box<dyn Error + Send + Sync>> {
        let waiting = self.cancel.child_token();
        let mut acquiring = Box::pin(Acquired::new(&lock.lock, &waiting));
        let critical = tokio::select! {
            acquired = &mut acquiring => {
                let error = match acquired {
                    Ok(acquired) => return Ok(Turn::Locked(acquired)),
                    Err(error) => error,
                };
                return match self.critical(lock).await {
                    Some(critical) if !self.cancel.is_cancelled() => {
                        Ok(Turn::Critical(format!("{critical}: {}", chain(&*error))))
                    }
                    Some(_) | None => Err(error),
                };
            }
            critical = self.out_of_patience(lock) => critical,
        };
        // Not dropped, because it may be about to take the lock.
        waiting.cancel();
        if let Ok(acquired) = acquiring.await {
            acquired.release().await;
        }
        let seconds = PATIENCE.as_secs();
        Ok(Turn::Critical(format!(
            "{critical}, and other nodes held the lock for {seconds} s"
        )))
    }

    /// Waits until a filesystem has been above the critical mark for [`PATIENCE`], and returns which.
    async fn out_of_patience(&self, lock: &SharedLock) -> String {
        let mut since = None;
        loop {
            match self.critical(lock).await {
                Some(critical) => {
                    let since = since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE {
                        return critical;
                    }
                }
                None => since = None,
            }
            tokio::time::sleep(MEASURE_AGAIN).await;
        }
    }

    /// Returns which filesystem is above the critical mark. One that cannot be measured is not.
    async fn critical(&self, lock: &SharedLock) -> Option<String> {
        let found = self.maintenance.filesystems().await.ok()?;
        let critical = lock.critical(&found.seen)?;
        let place = critical.mount_point.display();
        Some(format!(
            "`{place}` is above {} (fleet.critical)",
            lock.critical
        ))
    }
}
