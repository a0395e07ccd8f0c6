//! Removals by name: those that come at the same time go in one run.
//!
//! A client such as Compose asks for each image by itself and for all at once. A run looks
//! twice and collects once, so they are gathered: while one run is under way the next ones wait,
//! and go together. Names in one run are taken one after the other, so what each finds is what
//! the ones before it left.

use std::sync::Arc;

use http::StatusCode;
use reclaim_engine::{Engine, RunOptions};
use reclaim_model::{BuildHistory, Named, NamedImages, PruneRequest, Report, RunId, Selection};
use tokio::sync::{mpsc, oneshot};

use super::DockerOptions;
use super::error::ApiError;

/// How many removals may wait.
const MAX_WAITING: usize = 1024;

/// How many go together at most.
const MAX_TOGETHER: usize = 256;

/// What came of one name, and in which run.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) named: Named,
    pub(super) run: RunId,
    /// Why the run could not be brought to its end.
    pub(super) unfinished: Option<String>,
}

/// A name that is to be removed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) name: String,
    pub(super) force: bool,
    pub(super) prune_parents: bool,
}

/// The queue of removals.
#[derive(Debug, Clone)]
pub(super) struct Removals {
    queue: mpsc::Sender<(Removal, Answer)>,
}

type Answer = oneshot::Sender<Result<Outcome, ApiError>>;

impl Removals {
    /// Opens the queue.
    pub(super) fn new(engine: Arc<Engine>, options: DockerOptions) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(work(engine, options, waiting));
        Self { queue }
    }

    /// Removes a name, together with others that are asked for meanwhile.
    pub(super) async fn remove(&self, removal: Removal) -> Result<Outcome, ApiError> {
        let (answer, answered) = oneshot::channel();
        let ended = || {
            let message = "the engine is being stopped";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
        };
        let queued = self.queue.send((removal, answer)).await;
        queued.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

async fn work(
    engine: Arc<Engine>,
    options: DockerOptions,
    mut waiting: mpsc::Receiver<(Removal, Answer)>,
) {
    let mut next = waiting.recv().await;
    while let Some(first) = next.take() {
        let mut together = vec![first];
        while together.len() < MAX_TOGETHER
            && let Ok(another) = waiting.try_recv()
        {
            if goes_with(&together[0].0, &another.0) {
                together.push(another);
            } else {
                next = Some(another);
                break;
            }
        }
        remove_together(&engine, &options, together).await;
        if next.is_none() {
            next = waiting.recv().await;
        }
    }
}

fn goes_with(one: &Removal, other: &Removal) -> bool {
    one.force == other.force && one.prune_parents == other.prune_parents
}

async fn remove_together(
    engine: &Arc<Engine>,
    options: &DockerOptions,
    together: Vec<(Removal, Answer)>,
) {
    let (removals, answers): (Vec<Removal>, Vec<Answer>) = together.into_iter().unzip();
    let images = NamedImages {
        force: removals[0].force,
        prune_parents: removals[0].prune_parents,
        names: removals.into_iter().map(|it| it.name).collect(),
    };
    let request = PruneRequest::new(options.namespace.clone(), images).may_lack_namespace(true);
    // Docker's removals do not wait for its prunes, and do not fail for them either.
    let run_options = RunOptions {
        wait: true,
        ..options.run.clone()
    };
    let run = engine.start(request, None, run_options, &options.cancel);
    let done = run.await.map_err(ApiError::from);
    for (at, answer) in answers.into_iter().enumerate() {
        let outcome = done.as_ref().map_err(Clone::clone);
        let outcome = outcome.and_then(|report| outcome_of(report, at));
        // Whoever asked may be gone.
        drop(answer.send(outcome));
    }
}

/// The names of the report are in the order in which they were asked for.
fn outcome_of(report: &Report, at: usize) -> Result<Outcome, ApiError> {
    let named = report.named.get(at).ok_or_else(|| {
        let message = "the run has no answer to this name";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    Ok(Outcome {
        named: named.clone(),
        run: report.run.clone(),
        unfinished: report.unfinished.clone(),
    })
}
