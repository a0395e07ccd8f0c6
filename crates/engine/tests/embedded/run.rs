//! Reports of runs with which other clients interfere.

use std::sync::Mutex;

use reclaim_engine::{Controls, Progress, RunError, no_progress};
use reclaim_model::{NamedImages, RefuseReason};
use reclaim_testkit::fault::{Act, Moment, Then};
use reclaim_testkit::{Deletion, Labels, NamespaceClient};
use tokio_util::sync::CancellationToken;

use crate::stage::{AT_ONCE, Stage, all_unused, fault, request};

const APP: &str = "docker.io/library/app:1";

/// The progress reports each removal once.
#[tokio::test(flavor = "multi_thread")]
async fn progress_reports_each_removal() {
    let stage = Stage::set().await;
    for letter in ["a", "b", "c"] {
        stage.build(letter).await;
    }
    let reported = Mutex::new(Vec::new());
    let listen = |progress| {
        if let Progress::Step { done, steps } = progress {
            reported.lock().unwrap().push((done, steps));
        }
    };
    let controls = Controls {
        options: &AT_ONCE,
        progress: &listen,
        cancel: &CancellationToken::new(),
    };
    let embedded = stage.engine([]).await;
    let request = all_unused();
    let pruned = embedded.engine.prune(&request, None, controls);
    assert_eq!(pruned.await.unwrap().removed.len(), 3);
    assert_eq!(*reported.lock().unwrap(), [(1, 3), (2, 3), (3, 3)]);
}

/// The answer is lost, and the next attempt finds the record gone: this run has removed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_gone_after_a_lost_answer_is_removed() {
    let stage = Stage::set().await;
    stage.build(APP).await;
    let lost = fault("images.v1.Images/Delete", Moment::After, Act::Cut);
    let embedded = stage.engine([lost]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert_eq!(report.removed[0].name, APP, "{report:?}");
    assert!(report.refused.is_empty(), "{report:?}");
}

/// A record that another client removes is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_another_client_removed_is_refused() {
    let stage = Stage::set().await;
    stage.build(APP).await;
    let removing = async |namespace: NamespaceClient| {
        let removed = namespace.delete_image(APP, Deletion::Async);
        removed.await.unwrap();
    };
    let method = "images.v1.Images/Delete";
    let removed = stage.meanwhile(method, Moment::Before, Then::Continue, removing);
    let embedded = stage.engine([removed]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert!(report.removed.is_empty(), "{report:?}");
    assert_eq!(report.refused[0].name, APP);
    assert_eq!(report.refused[0].reason, RefuseReason::AlreadyGone);
}

/// An image in use keeps its name if the record without a name cannot be written.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_not_removed_that_cannot_be_replaced() {
    let stage = Stage::set().await;
    let app = stage.build(APP).await;
    let other = stage.build("docker.io/library/other:1").await;
    stage
        .namespace
        .nerdctl_container("web", &app)
        .await
        .unwrap();
    let nameless = format!("moby-dangling@{}", app.target.digest);
    let target = other.target.clone();
    let taking = move |namespace: NamespaceClient| {
        let (nameless, target) = (nameless.clone(), target.clone());
        async move {
            let none = Labels::new();
            let taken = namespace.create_image(&nameless, &target, &none);
            taken.await.unwrap();
        }
    };
    let method = "images.v1.Images/Create";
    let taken = stage.meanwhile(method, Moment::Before, Then::Continue, taking);
    let embedded = stage.engine([taken]).await;
    let named = NamedImages {
        names: vec![APP.to_owned()],
        force: true,
        prune_parents: true,
    };
    let report = embedded.prune(&request(named)).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert!(report.removed.is_empty(), "{report:?}");
    assert_eq!(report.failed[0].name, APP, "{report:?}");
    let images = stage.namespace.images().await.unwrap();
    assert_eq!(images.get(APP), Some(&app.target.digest));
}

/// A confirmed image that came into use is refused, also if it is the only one.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_image_that_came_into_use_is_refused() {
    let stage = Stage::set().await;
    let app = stage.build(APP).await;
    let embedded = stage.engine([]).await;
    let request = all_unused();
    let preview = embedded.engine.preview(&request, &no_progress);
    let preview = preview.await.unwrap();
    let shown = preview.report();
    assert_eq!(shown.removed[0].name, APP);
    assert!(!shown.rows.is_empty(), "rows list the images to remove");
    stage
        .namespace
        .nerdctl_container("web", &app)
        .await
        .unwrap();
    let pruned = embedded.prune_confirmed(&request, Some(&preview.plan));
    let report = pruned.await.unwrap();
    assert!(report.removed.is_empty(), "{report:?}");
    assert_eq!(report.refused[0].name, APP);
    assert!(
        matches!(report.refused[0].reason, RefuseReason::MustStay { .. }),
        "{report:?}"
    );
}

/// A run cancelled before its first removal has nothing to free, and collecting other garbage takes
/// time.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_cancelled_before_its_first_removal_does_not_collect() {
    let stage = Stage::quiet().await;
    stage.build(APP).await;
    let embedded = stage.engine([]).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let controls = Controls {
        options: &AT_ONCE,
        progress: &no_progress,
        cancel: &cancel,
    };
    let before = stage.containerd.collections();
    let pruned = embedded.engine.prune(&all_unused(), None, controls).await;
    let error = pruned.unwrap_err();
    assert!(matches!(error, RunError::Cancelled), "{error}");
    assert_eq!(stage.containerd.collections(), before);
    assert!(stage.leases().await.is_empty());
    let images = stage.namespace.images().await.unwrap();
    assert!(images.contains_key(APP));
    let done = embedded.prune(&all_unused()).await.unwrap();
    assert!(done.collection.is_some(), "{done:?}");
}
