//! Ends undo windows by time that passed.
//!
//! A hold of the daemon has no expiry, because containerd compares one with its wall clock, which may
//! jump. The daemon records when it first saw each hold, and releases it when its window is over. If
//! the record is lost, the window begins again: nothing is freed early.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use reclaim_engine::{Engine, RunError, blocking};
use reclaim_model::{Namespace, chain};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{LastUseIndex, MaintenanceObserver};

/// The longest time between two looks at the holds, which other processes may end, too.
const PERIOD: Duration = Duration::from_secs(600);

/// The time to the next attempt when a hold cannot be ended, for example during a run.
const RETRY: Duration = Duration::from_secs(60);

impl LastUseIndex {
    /// Ends the holds that the engine keeps, each after its undo window, until it is cancelled. Takes
    /// over those of a daemon that is gone. `observer` receives how many bytes are held.
    pub async fn end_holds(
        self: Arc<Self>,
        engine: &Engine,
        observer: &dyn MaintenanceObserver,
        cancel: &CancellationToken,
    ) {
        let mut reports = engine.reports();
        let mut has_failed = false;
        loop {
            let next = match self.end_due_holds(engine, observer).await {
                Ok(next) => {
                    has_failed = false;
                    next
                }
                Err(RunError::Busy(_) | RunError::Inhibited(_)) => RETRY,
                Err(error) => {
                    if !has_failed {
                        warn!(error = chain(&error), "cannot end undo windows; retrying");
                    }
                    has_failed = true;
                    RETRY
                }
            };
            let held = async {
                loop {
                    match reports.recv().await {
                        Ok(report) if report.held_until.is_none() => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => return,
                        // The engine has the sender, so this never happens while it exists.
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = sleep(next.min(PERIOD)) => {}
                () = held => {}
            }
        }
    }

    /// Ends the holds whose window is over, and reports the others. Returns how long the next one has
    /// left.
    async fn end_due_holds(
        self: &Arc<Self>,
        engine: &Engine,
        observer: &dyn MaintenanceObserver,
    ) -> Result<Duration, RunError> {
        let (mut next, mut held) = (PERIOD, 0);
        for namespace in engine.store().namespaces().await? {
            next = next.min(self.end_due_holds_of(engine, &namespace).await?);
            held += engine.held_bytes(&namespace).await?;
        }
        observer.held(held);
        Ok(next)
    }

    async fn end_due_holds_of(
        self: &Arc<Self>,
        engine: &Engine,
        namespace: &Namespace,
    ) -> Result<Duration, RunError> {
        let kept = engine.kept_holds(namespace).await?;
        let runs: Vec<_> = kept.iter().map(|hold| hold.run.clone()).collect();
        let (index, name) = (Arc::clone(self), namespace.clone());
        let ages = blocking(move || index.held_for(&name, &runs)).await;
        if kept.iter().any(|hold| hold.is_orphan) {
            engine.adopt_holds(namespace).await?;
        }
        let mut next = PERIOD;
        for (hold, age) in kept.iter().zip(ages) {
            let window = SignedDuration::try_from(hold.window).unwrap_or(SignedDuration::MAX);
            match Duration::try_from(window - age) {
                Ok(left) if !left.is_zero() => next = next.min(left),
                Ok(_) | Err(_) => match engine.release(namespace, Some(&hold.run.0)).await {
                    Ok(run) => info!(%run, %namespace, "undo window is over"),
                    // Another process released or restored it meanwhile.
                    Err(RunError::UnknownRun { .. }) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(next)
    }
}
