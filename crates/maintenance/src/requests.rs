//! Requests to a scheduler from other tasks.
//!
//! The scheduler makes requested runs itself, between its own runs and with its current policy set.
//! Explanations change nothing, so they are made outside its loop.

use std::path::Path;
use std::sync::Arc;

use reclaim_engine::RunError;
use reclaim_model::{Caller, Mode, PolicyName};
use tokio::sync::{mpsc, watch};

use crate::explain::PolicyForecast;
use crate::filling::{FillForecast, FillHistory, FillSample};
use crate::history::{RunHistory, RunRecord};
use crate::policy::{Policy, UnknownPolicy};
use crate::policy_run::PolicyRun;
use crate::scheduler::PolicySet;
use crate::timeline::Timeline;

/// How many requests are queued; further callers wait until one is taken out.
const QUEUED: usize = 16;

/// Why a scheduler could not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A policy was named that is not in the policy set.
    #[error(transparent)]
    UnknownPolicy(#[from] UnknownPolicy),
    /// The policies could not be evaluated.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The scheduler ended before all requested policies ran.
    #[error("the daemon is stopping: not every policy ran")]
    Stopped,
}

/// Sends requests to a scheduler. Clones send to the same one.
#[derive(Debug, Clone)]
pub struct SchedulerHandle {
    requests: mpsc::Sender<RunRequest>,
    set: watch::Receiver<PolicySet>,
    history: Arc<RunHistory>,
    filling: Arc<FillHistory>,
}

/// The scheduler's end.
#[derive(Debug)]
pub(super) struct RequestQueue {
    /// With a handle of its own the queue never closes.
    handle: SchedulerHandle,
    requests: mpsc::Receiver<RunRequest>,
    set: watch::Sender<PolicySet>,
}

/// A request to run policies.
#[derive(Debug)]
pub(super) struct RunRequest {
    /// Which policies; all if empty.
    pub(super) names: Vec<PolicyName>,
    /// [`Mode::DryRun`] to change nothing, whatever the policies say.
    pub(super) mode: Mode,
    /// Who sent it.
    pub(super) caller: Caller,
    results: mpsc::UnboundedSender<Result<PolicyRun, RequestError>>,
    is_done: bool,
}

/// The runs of a request, each as soon as it has ended.
#[derive(Debug)]
pub struct RequestedRuns {
    results: mpsc::UnboundedReceiver<Result<PolicyRun, RequestError>>,
}

impl SchedulerHandle {
    /// Runs the policies of these names once, or all: now, or after the run that is under way.
    /// With [`Mode::DryRun`] nothing is changed; otherwise each policy's own mode applies.
    ///
    /// Dropping the result does not stop the runs.
    ///
    /// # Errors
    ///
    /// If a name is unknown, or the scheduler has ended.
    pub async fn run(
        &self,
        names: Vec<PolicyName>,
        mode: Mode,
        caller: Caller,
    ) -> Result<RequestedRuns, RequestError> {
        // The scheduler checks the names again. Here a wrong one fails without waiting for a run.
        Policy::chosen(&self.set.borrow().policies, &names)?;
        let (sender, results) = mpsc::unbounded_channel();
        let request = RunRequest {
            names,
            mode,
            caller,
            results: sender,
            is_done: false,
        };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| RequestError::Stopped)?;
        Ok(RequestedRuns { results })
    }

    /// Returns each policy of these names, or all, and what it would do at this moment.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If a name is unknown, or the store cannot be read whole.
    pub async fn explain(
        &self,
        names: &[PolicyName],
    ) -> Result<Vec<(Policy, PolicyForecast)>, RequestError> {
        let PolicySet {
            maintenance,
            policies,
        } = self.set.borrow().clone();
        let chosen = Policy::chosen(&policies, names)?;
        let forecasts = maintenance.explain(&chosen).await?;
        Ok(chosen.into_iter().cloned().zip(forecasts).collect())
    }

    /// Measures the filesystems and returns when each will be full.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// If containerd does not answer.
    pub async fn fill_forecast(&self) -> Result<FillForecast, RequestError> {
        let PolicySet {
            maintenance,
            policies,
        } = self.set.borrow().clone();
        let found = maintenance.filesystems().await?;
        let filling = Some(&*self.filling);
        Ok(FillForecast::new(&found, &policies, filling))
    }

    /// Returns how full the filesystem that is mounted there was, oldest first.
    pub fn fill_samples(&self, mount_point: &Path) -> Vec<FillSample> {
        self.filling.samples(mount_point)
    }

    /// Returns what scans found over the last weeks. May block.
    ///
    /// # Errors
    ///
    /// If its file cannot be read.
    pub fn timeline(&self) -> std::io::Result<Timeline> {
        let index = Arc::clone(&self.set.borrow().maintenance.index);
        index.timeline()
    }

    /// Returns the recorded runs, oldest first.
    pub fn history(&self) -> Vec<RunRecord> {
        self.history.runs()
    }
}

impl RequestedRuns {
    /// Waits for the end of the next run; `None` when all have ended.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if not all of the requested policies ran.
    pub async fn next(&mut self) -> Result<Option<PolicyRun>, RequestError> {
        self.results.recv().await.transpose()
    }
}

impl RequestQueue {
    pub(super) fn new(set: PolicySet, history: Arc<RunHistory>, filling: Arc<FillHistory>) -> Self {
        let (sender, requests) = mpsc::channel(QUEUED);
        let (set, published) = watch::channel(set);
        Self {
            handle: SchedulerHandle {
                requests: sender,
                set: published,
                history,
                filling,
            },
            requests,
            set,
        }
    }

    pub(super) fn handle(&self) -> SchedulerHandle {
        self.handle.clone()
    }

    /// Publishes the policy set that is in force from here on.
    pub(super) fn publish(&self, set: PolicySet) {
        self.set.send_replace(set);
    }

    /// Waits for the next request. Cancellation safe: no request is lost.
    pub(super) async fn next(&mut self) -> Option<RunRequest> {
        self.requests.recv().await
    }
}

impl RunRequest {
    /// Sends a run to the caller, who may have gone.
    pub(super) fn send(&self, run: PolicyRun) {
        drop(self.results.send(Ok(run)));
    }

    /// Ends the request: all of its policies ran.
    pub(super) fn done(mut self) {
        self.is_done = true;
    }

    /// Ends the request with an error.
    pub(super) fn fail(mut self, error: RequestError) {
        self.is_done = true;
        drop(self.results.send(Err(error)));
    }
}

impl Drop for RunRequest {
    fn drop(&mut self) {
        // Otherwise the caller would take the closed channel for the end of all runs.
        if !self.is_done {
            drop(self.results.send(Err(RequestError::Stopped)));
        }
    }
}

#[cfg(test)]
mod tests {
    use reclaim_model::EntryPoint;

    use super::*;

    fn request() -> (RunRequest, RequestedRuns) {
        let (sender, results) = mpsc::unbounded_channel();
        let request = RunRequest {
            names: Vec::new(),
            mode: Mode::Apply,
            caller: Caller::new(EntryPoint::Json),
            results: sender,
            is_done: false,
        };
        (request, RequestedRuns { results })
    }

    #[tokio::test]
    async fn dropping_an_unfinished_request_reports_that_the_scheduler_stopped() {
        let (unfinished, mut runs) = request();
        drop(unfinished);
        assert!(matches!(runs.next().await, Err(RequestError::Stopped)));
        assert!(matches!(runs.next().await, Ok(None)));

        let (finished, mut runs) = request();
        finished.done();
        assert!(matches!(runs.next().await, Ok(None)));
    }
}
