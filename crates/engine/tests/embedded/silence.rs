//! Missing answers, and runs that are cancelled while they wait.

use std::time::Duration;

use reclaim_engine::{Controls, Grace, Progress, RunError, RunOptions};
use reclaim_model::{RefuseReason, Report};
use reclaim_testkit::fault::{Act, Moment};
use tokio_util::sync::CancellationToken;

use crate::stage::{AT_ONCE, Embedded, GUARD, Maker, RELEASE, Stage, all_unused, fault, lease_of};

/// Prunes, and cancels at the first progress of a kind.
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

/// containerd continues a collection after the deadline, and the removed images cannot be restored.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_past_its_deadline_is_reported_as_running() {
    reclaim_store::set_deadline_for_test(Duration::from_secs(1));
    let stage = Stage::set().await;
    let app = stage.build("docker.io/library/app:1").await;
    let endless = fault(RELEASE, Moment::After, Act::Hang);
    let embedded = stage.engine([endless]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert_eq!(report.removed[0].name, app.name());
    assert_eq!((report.unfinished, report.collection), (None, None));
    let is_warning = |warning: &String| warning.contains("containerd is still collecting after");
    assert!(
        report.warnings.iter().any(is_warning),
        "{:?}",
        report.warnings
    );
    assert!(stage.leases().await.is_empty());
}

/// If nothing was deleted, no collection is running.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_did_not_begin_is_requested_again() {
    reclaim_store::set_deadline_for_test(Duration::from_secs(1));
    let stage = Stage::set().await;
    stage.build("docker.io/library/app:1").await;
    let lost = fault(RELEASE, Moment::Before, Act::Hang);
    let embedded = stage.engine([lost]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert_eq!(report.unfinished, None);
    assert!(report.collection.is_some(), "{report:?}");
    assert!(stage.namespace.blobs().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_while_it_observes() {
    let stage = Stage::set().await;
    let app = stage.build("docker.io/library/app:1").await;
    // Longer than the time limit of the test.
    let endless = fault("images.v1.Images/List", Moment::Before, Act::Hang);
    let embedded = stage.engine([endless]).await;
    let stopped = cancelled_at(&embedded, &AT_ONCE, |it| it == Progress::Observing).await;
    assert!(matches!(stopped, Err(RunError::Cancelled)), "{stopped:?}");
    assert!(stage.leases().await.is_empty());
    let images = stage.namespace.images().await.unwrap();
    assert!(images.contains_key(app.name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_while_it_waits_for_another() {
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
        // It waits once it has read the guard twice.
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

/// New users of removed images may not be visible yet, so all images are restored.
#[tokio::test(flavor = "multi_thread")]
async fn cutting_the_grace_period_short_restores_all_images() {
    let stage = Stage::set().await;
    let app = stage.build("docker.io/library/app:1").await;
    let embedded = stage.engine([]).await;
    let options = RunOptions {
        grace: Grace::Fixed(Duration::from_secs(3600)),
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
