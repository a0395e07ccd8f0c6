//! Release of the guard, with a collection.

use reclaim_engine::{Engine, RunError};
use reclaim_testkit::fault::{Act, Moment, Then};
use reclaim_testkit::{Deletion, NamespaceClient};
use tonic::Code;

use crate::stage::{GUARD, Maker, RELEASE, Stage, all_unused, fault, lease_of, litter, namespace};

async fn undo(engine: &Engine) {
    let undone = engine.undo(&namespace(), None, &[], false).await;
    assert!(
        matches!(undone, Err(RunError::UnknownRun { .. })),
        "{undone:?}"
    );
}

/// The answer to the deletion is lost, and another run takes the guard before the next attempt: that
/// guard stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_of_another_run_is_not_released() {
    for is_collection in [false, true] {
        let stage = Stage::set().await;
        let taking = async |namespace: NamespaceClient| {
            let theirs = lease_of(Maker::Alive, "theirs", GUARD);
            namespace.create_lease(theirs).await.unwrap();
        };
        let taken = stage.meanwhile(RELEASE, Moment::After, Then::Cut, taking);
        let embedded = stage.engine([taken]).await;
        if is_collection {
            embedded.collect().await.unwrap();
        } else {
            undo(&embedded.engine).await;
        }
        assert_eq!(embedded.proxy.struck(), 1);
        let leases = stage.namespace.leases().await.unwrap();
        let theirs = leases.get(GUARD).map(|labels| &*labels["reclaim/run"]);
        assert_eq!(theirs, Some("theirs"), "{is_collection}");
    }
}

/// One call takes the guard and one releases it, without a check of its owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_takes_two_calls() {
    let stage = Stage::set().await;
    litter(&stage.namespace).await;
    let embedded = stage.engine([]).await;
    let before = embedded.called().len();
    embedded.collect().await.unwrap();
    let called = &embedded.called()[before..];
    assert_eq!(called, ["leases.v1.Leases/Create", RELEASE]);
    assert!(stage.namespace.blobs().await.unwrap().is_empty());
}

/// If the guard's lease is gone without a collection, the run requests one.
#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_guard_does_not_prevent_the_collection() {
    let stage = Stage::set().await;
    let ending = async |namespace: NamespaceClient| {
        let deleted = namespace.delete_lease(GUARD, Deletion::Async);
        deleted.await.unwrap();
        litter(&namespace).await;
    };
    let ended = stage.meanwhile(RELEASE, Moment::Before, Then::Continue, ending);
    let embedded = stage.engine([ended]).await;
    embedded.collect().await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert!(stage.namespace.blobs().await.unwrap().is_empty());
}

/// A run that cannot collect leaves its guard to the next run, also of this process, and its hold to
/// an undo.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_collect_leaves_guard_and_hold() {
    let stage = Stage::set().await;
    let app = stage.build("docker.io/library/app:1").await;
    let broken = fault(RELEASE, Moment::Before, Act::Refuse(Code::Unknown));
    let embedded = stage.engine([broken]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert!(report.unfinished.is_some(), "{report:?}");
    let held = format!("reclaim.hold.{}.unfinished", report.run);
    assert_eq!(stage.leases().await.into_iter().collect::<Vec<_>>(), [held]);
    stage.namespace.collect().await.unwrap();
    let blobs = stage.namespace.blobs().await.unwrap();
    assert!(app.blobs.keys().all(|digest| blobs.contains_key(digest)));

    let report = embedded.prune(&all_unused()).await.unwrap();
    assert_eq!(report.unfinished, None);
    assert_eq!(report.removed[0].name, app.name());
    assert!(stage.leases().await.is_empty());
    assert!(stage.namespace.blobs().await.unwrap().is_empty());
}
