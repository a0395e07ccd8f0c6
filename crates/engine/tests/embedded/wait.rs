//! Callers that wait for another run to end.

use std::sync::Arc;
use std::time::Duration;

use reclaim_engine::{Controls, Engine, RunError, RunOptions, no_progress};
use reclaim_model::{FilterArgs, Report};
use reclaim_testkit::Deletion;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::stage::{AT_ONCE, Embedded, GUARD, Maker, Stage, lease_of, request};

/// The places of the queue.
const PLACES: usize = 8;
const CREATE: &str = "leases.v1.Leases/Create";
const LIST: &str = "images.v1.Images/List";

type Waiting = JoinSet<Result<Report, RunError>>;

fn count(embedded: &Embedded, method: &str) -> usize {
    let called = embedded.called();
    called.iter().filter(|it| it.ends_with(method)).count()
}

/// Fills the queue with slow callers, behind the guard of another run.
async fn queued(stage: &Stage, engine: &Arc<Engine>, cancel: &CancellationToken) -> Waiting {
    let guard = lease_of(Maker::Alive, "run", GUARD);
    stage.namespace.create_lease(guard).await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..PLACES {
        let (engine, cancel) = (Arc::clone(engine), cancel.clone());
        waiting.spawn(async move { prune(&engine, &cancel).await });
    }
    waiting
}

async fn prune(engine: &Engine, cancel: &CancellationToken) -> Result<Report, RunError> {
    let options = RunOptions {
        wait: true,
        max_deletes_per_second: Some(1000),
        ..AT_ONCE
    };
    let controls = Controls {
        options: &options,
        progress: &no_progress,
        cancel,
    };
    let request = request(FilterArgs::default());
    engine.prune(&request, None, controls).await
}

/// Together they poll once a second, and list the images once. One caller too many is refused, and all
/// others run.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_callers_share_one_poll() {
    let stage = Stage::set().await;
    let embedded = stage.engine([]).await;
    let engine = Arc::new(embedded.engine.clone());
    let cancel = CancellationToken::new();
    let began = Instant::now();
    let mut waiting = queued(&stage, &engine, &cancel).await;
    while count(&embedded, CREATE) < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // On a slow machine it takes longer.
    assert!(began.elapsed() >= Duration::from_secs(3));
    assert_eq!(count(&embedded, LIST), 1);
    let refused = prune(&engine, &cancel).await.unwrap_err();
    let RunError::Busy(busy) = &refused else {
        panic!("{refused}");
    };
    assert_eq!(busy.waiting, Some(PLACES), "{refused}");
    let deleted = stage.namespace.delete_lease(GUARD, Deletion::Async);
    deleted.await.unwrap();
    let mut runs = 0;
    while let Some(done) = waiting.join_next().await {
        let report = done.unwrap().unwrap();
        assert_eq!(report.unfinished, None);
        runs += 1;
    }
    assert_eq!(runs, PLACES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_caller_stops_waiting() {
    let stage = Stage::set().await;
    let embedded = stage.engine([]).await;
    let engine = Arc::new(embedded.engine.clone());
    let cancel = CancellationToken::new();
    let mut waiting = queued(&stage, &engine, &cancel).await;
    while count(&embedded, CREATE) < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cancel.cancel();
    while let Some(done) = waiting.join_next().await {
        let ended = done.unwrap();
        assert!(matches!(ended, Err(RunError::Cancelled)), "{ended:?}");
    }
    assert!(stage.leases().await.contains(GUARD));
}
