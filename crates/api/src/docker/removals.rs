//! Removals by name: those that arrive during a run share the next one.
//!
//! A client such as Compose sends one request per image, all at once. A run lists the store twice
//! and collects once, so requests of one caller are batched: while a run is under way the next ones
//! wait, and then go together. A run removes its names in order, each on the store that the ones
//! before it left.

use std::sync::Arc;

use http::StatusCode;
use reclaim_engine::{Engine, RunOptions};
use reclaim_model::{Caller, Named, NamedImages, PruneRequest, Report, RunId};
use tokio::sync::{mpsc, oneshot};

use super::error::ApiError;
use super::options::DockerOptions;

/// The most removals that wait.
const MAX_WAITING: usize = 1024;

/// The most removals in one run.
const MAX_BATCH: usize = 256;

/// The result of one removal, and its run.
#[derive(Debug, Clone)]
pub(super) struct RemovalResult {
    pub(super) named: Named,
    pub(super) run: RunId,
    /// Why the run could not finish.
    pub(super) unfinished: Option<String>,
}

/// A request to remove one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) caller: Caller,
    pub(super) name: String,
    pub(super) force: bool,
    pub(super) prune_parents: bool,
}

/// The queue of removals.
#[derive(Debug, Clone)]
pub(super) struct Removals {
    queue: mpsc::Sender<(Removal, Answer)>,
}

type Answer = oneshot::Sender<Result<RemovalResult, ApiError>>;

impl Removals {
    /// Starts the task that works off the queue.
    pub(super) fn new(engine: Arc<Engine>, options: DockerOptions) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(work(engine, options, waiting));
        Self { queue }
    }

    /// Removes a name, in one run with others that are waiting.
    pub(super) async fn remove(&self, removal: Removal) -> Result<RemovalResult, ApiError> {
        let (answer, result) = oneshot::channel();
        let stopped = || {
            let message = "the daemon is shutting down";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
        };
        let queued = self.queue.send((removal, answer)).await;
        queued.map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())?
    }
}

async fn work(
    engine: Arc<Engine>,
    options: DockerOptions,
    mut waiting: mpsc::Receiver<(Removal, Answer)>,
) {
    let mut next = waiting.recv().await;
    while let Some(first) = next.take() {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH
            && let Ok(another) = waiting.try_recv()
        {
            if may_share_run(&batch[0].0, &another.0) {
                batch.push(another);
            } else {
                next = Some(another);
                break;
            }
        }
        remove_batch(&engine, &options, batch).await;
        if next.is_none() {
            next = waiting.recv().await;
        }
    }
}

/// Whether two removals may be in one run, which has one caller.
fn may_share_run(one: &Removal, other: &Removal) -> bool {
    one.caller == other.caller
        && one.force == other.force
        && one.prune_parents == other.prune_parents
}

async fn remove_batch(
    engine: &Arc<Engine>,
    options: &DockerOptions,
    batch: Vec<(Removal, Answer)>,
) {
    let (removals, answers): (Vec<Removal>, Vec<Answer>) = batch.into_iter().unzip();
    let caller = removals[0].caller.clone();
    let images = NamedImages {
        force: removals[0].force,
        prune_parents: removals[0].prune_parents,
        names: removals.into_iter().map(|removal| removal.name).collect(),
    };
    let request = PruneRequest::new(options.namespace.clone(), images).may_lack_namespace(true);
    // In Docker a removal does not fail because a prune is running.
    let run_options = RunOptions {
        wait: true,
        ..options.run.clone()
    };
    let engine = Arc::new(engine.called_by(caller));
    let run = engine.start(request, None, run_options, &options.cancel);
    let report = run.await.map_err(ApiError::from);
    for (index, answer) in answers.into_iter().enumerate() {
        let result = report
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|report| result_of(report, index));
        // Fails only if the client has disconnected.
        drop(answer.send(result));
    }
}

/// Returns the result of one name: a report lists names in the order of the request.
fn result_of(report: &Report, index: usize) -> Result<RemovalResult, ApiError> {
    let named = report.named.get(index).ok_or_else(|| {
        let message = "the run reported no result for this name";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    Ok(RemovalResult {
        named: named.clone(),
        run: report.run.clone(),
        unfinished: report.unfinished.clone(),
    })
}
