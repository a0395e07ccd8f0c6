//! Answers that do not come, and runs that are stopped while they wait.

use std::time::Duration;

use reclaim_engine::{Controls, Progress, RunError, RunOptions};
use reclaim_model::{RefuseReason, Report};
use reclaim_testkit::fault::{Act, Moment};
use tokio_util::sync::CancellationToken;

use crate::stage::{
    AT_ONCE, Embedded, GIVE_BACK, GUARD, Maker, Stage, all_unused, fault, lease_of,
};

/// Prunes with a token that is cancelled by the first progress of that kind.
async fn cancelled_at(
    embedded: &Embedded,
    options: &RunOptions,
    at: impl Fn(Progress) -> bool + Send + Sync,
) -> Result<Report, RunError> {
    let cancel = CancellationToken::new();
    let progress = |progress| {
        if at(progress) {
            cancel.cancel();
        }
    };
    let controls = Controls {
        options,
        progress: &progress,
        cancel: &cancel,
    };
    embedded.engine.prune(&all_unused(), None, controls).await
}

/// containerd does not stop collecting because nobody waits for it any more, and what it will free
/// has lost its names for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_past_its_ceiling_is_reported_as_going_on() {
    reclaim_store::set_deadline_for_test(Duration::from_secs(1));
    let stage = Stage::set().await;
    let app = stage.build("docker.io/library/app:1").await;
    let endless = fault(GIVE_BACK, Moment::After, Act::Hang);
    let embedded = stage.engine([endless]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert_eq!(report.removed[0].name, app.name());
    assert_eq!((report.unfinished, report.collection), (None, None));
    let is_told = |it: &String| it.contains("containerd is still collecting after");
    assert!(report.warnings.iter().any(is_told), "{:?}", report.warnings);
    assert!(stage.leases().await.is_empty());
}

/// Nothing was deleted: that is no collection that goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_never_began_is_asked_for_again() {
    reclaim_store::set_deadline_for_test(Duration::from_secs(1));
    let stage = Stage::set().await;
    stage.build("docker.io/library/app:1").await;
    let lost = fault(GIVE_BACK, Moment::Before, Act::Hang);
    let embedded = stage.engine([lost]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert_eq!(report.unfinished, None);
    assert!(report.collection.is_some(), "{report:?}");
    assert!(stage.namespace.blobs().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_while_it_observes() {
    let stage = Stage::set().await;
    let app = stage.build("docker.io/library/app:1").await;
    // Longer than the test may take, if anybody waits for it.
    let endless = fault("images.v1.Images/List", Moment::Before, Act::Hang);
    let embedded = stage.engine([endless]).await;
    let stopped = cancelled_at(&embedded, &AT_ONCE, |it| it == Progress::Observing).await;
    assert!(matches!(stopped, Err(RunError::Cancelled)), "{stopped:?}");
    assert!(stage.leases().await.is_empty());
    let images = stage.namespace.images().await.unwrap();
    assert!(images.contains_key(app.name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_while_it_waits_for_another() {
    let stage = Stage::set().await;
    stage.build("docker.io/library/app:1").await;
    let theirs = lease_of(Maker::Alive, "theirs", GUARD);
    stage.namespace.create_lease(theirs).await.unwrap();
    let embedded = stage.engine([]).await;
    let cancel = CancellationToken::new();
    let options = RunOptions {
        wait: true,
        ..AT_ONCE
    };
    let controls = Controls {
        options: &options,
        progress: &|_| {},
        cancel: &cancel,
    };
    let request = all_unused();
    let waiting = embedded.engine.prune(&request, None, controls);
    let stopping = async {
        // It is known to wait when it has looked whose the guard is twice.
        let looks = |calls: &[&str]| {
            calls
                .iter()
                .filter(|it| **it == "leases.v1.Leases/Create")
                .count()
        };
        loop {
            let called = embedded.called();
            let called: Vec<&str> = called.iter().map(AsRef::as_ref).collect();
            if looks(&called) > 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let (stopped, ()) = tokio::join!(waiting, stopping);
    assert!(matches!(stopped, Err(RunError::Cancelled)), "{stopped:?}");
    assert_eq!(
        stage.leases().await.into_iter().collect::<Vec<_>>(),
        [GUARD]
    );
}

/// Who had begun to use what was removed may not be seen yet: all of it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_grace_that_is_cut_short_restores_what_was_removed() {
    let stage = Stage::set().await;
    let app = stage.build("docker.io/library/app:1").await;
    let embedded = stage.engine([]).await;
    let options = RunOptions {
        grace: Duration::from_secs(3600),
        ..AT_ONCE
    };
    let removed = |it| matches!(it, Progress::Step { .. });
    let report = cancelled_at(&embedded, &options, removed).await.unwrap();
    assert!(report.removed.is_empty(), "{report:?}");
    let refused = &report.refused[0];
    assert_eq!(refused.name, app.name());
    assert!(
        matches!(refused.reason, RefuseReason::MustStay { .. }),
        "{refused:?}"
    );
    let why = report.unfinished.unwrap();
    assert!(
        why.starts_with("cancelled before the grace period was over"),
        "{why}"
    );
    assert!(stage.leases().await.is_empty());
    let images = stage.namespace.images().await.unwrap();
    assert!(images.contains_key(app.name()));
}
