//! What a run tells when others come in between.

use std::sync::Mutex;

use reclaim_engine::{Controls, Progress, RunError, no_progress};
use reclaim_model::{NamedImages, RefuseReason};
use reclaim_testkit::fault::{Act, Moment, Then};
use reclaim_testkit::{Deletion, Labels, NamespaceClient};
use tokio_util::sync::CancellationToken;

use crate::stage::{AT_ONCE, Stage, all_unused, fault, request};

const APP: &str = "docker.io/library/app:1";

/// Every record is told of once it is dealt with, and the last with all of them done.
#[tokio::test(flavor = "multi_thread")]
async fn each_removal_is_told() {
    let stage = Stage::set().await;
    for letter in ["a", "b", "c"] {
        stage.build(letter).await;
    }
    let told = Mutex::new(Vec::new());
    let listen = |progress| {
        if let Progress::Step { done, steps } = progress {
            told.lock().unwrap().push((done, steps));
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
    assert_eq!(*told.lock().unwrap(), [(1, 3), (2, 3), (3, 3)]);
}

/// The answer is lost: the next try finds the record gone, and it is this run that removed it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_after_a_lost_answer_was_removed() {
    let stage = Stage::set().await;
    stage.build(APP).await;
    let lost = fault("images.v1.Images/Delete", Moment::After, Act::Cut);
    let embedded = stage.engine([lost]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert_eq!(report.removed[0].name, APP, "{report:?}");
    assert!(report.refused.is_empty(), "{report:?}");
}

/// What somebody else removes in between was not removed by this run.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_removed_is_refused() {
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

/// An image in use that is to lose its name keeps it when the name that would keep the image
/// instead comes to be another's.
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

/// What was confirmed and has come to be used by the time of the run is refused, also if nothing
/// else is left to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_to_be_used_is_refused() {
    let stage = Stage::set().await;
    let app = stage.build(APP).await;
    let embedded = stage.engine([]).await;
    let request = all_unused();
    let preview = embedded.engine.preview(&request, &no_progress);
    let preview = preview.await.unwrap();
    let told = preview.report();
    assert_eq!(told.removed[0].name, APP);
    assert!(!told.rows.is_empty(), "what would go is listed by rows");
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

/// What a run that was stopped before its first removal does not do: collect. It has nothing to
/// free, and a collection of others' garbage takes its time.
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
