//! A guard is given back by whoever has it, and what was to be freed is freed.

use reclaim_engine::{Engine, RunError};
use reclaim_testkit::fault::{Act, Moment, Then};
use reclaim_testkit::{Deletion, NamespaceClient};
use tonic::Code;

use crate::stage::{
    GIVE_BACK, GUARD, Maker, Stage, all_unused, fault, lease_of, litter, namespace,
};

async fn undo(engine: &Engine) {
    let undone = engine.undo(&namespace(), None, &[]).await;
    assert!(
        matches!(undone, Err(RunError::UnknownRun { .. })),
        "{undone:?}"
    );
}

/// The answer to the deletion is lost, and by the next try another has the guard: theirs is their
/// hold, and stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_of_another_is_not_given_back() {
    for is_collection in [false, true] {
        let stage = Stage::set().await;
        let taking = async |namespace: NamespaceClient| {
            let theirs = lease_of(Maker::Alive, "theirs", GUARD);
            namespace.create_lease(theirs).await.unwrap();
        };
        let taken = stage.meanwhile(GIVE_BACK, Moment::After, Then::Cut, taking);
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

/// One call takes the guard and one gives it back: nobody looks whose it is who can know.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_takes_two_calls() {
    let stage = Stage::set().await;
    litter(&stage.namespace).await;
    let embedded = stage.engine([]).await;
    let before = embedded.called().len();
    embedded.collect().await.unwrap();
    let called = &embedded.called()[before..];
    assert_eq!(called, ["leases.v1.Leases/Create", GIVE_BACK]);
    assert!(stage.namespace.blobs().await.unwrap().is_empty());
}

/// The guard's lease is gone without a collection that anybody waited for: then there is one all
/// the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_be_freed_is_freed() {
    let stage = Stage::set().await;
    let ending = async |namespace: NamespaceClient| {
        let deleted = namespace.delete_lease(GUARD, Deletion::Async);
        deleted.await.unwrap();
        litter(&namespace).await;
    };
    let ended = stage.meanwhile(GIVE_BACK, Moment::Before, Then::Continue, ending);
    let embedded = stage.engine([ended]).await;
    embedded.collect().await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert!(stage.namespace.blobs().await.unwrap().is_empty());
}

/// A run that cannot collect leaves the guard to the next, which may be of the same process, and
/// what it removed to an undo.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_collect_hands_over() {
    let stage = Stage::set().await;
    let app = stage.build("docker.io/library/app:1").await;
    let broken = fault(GIVE_BACK, Moment::Before, Act::Refuse(Code::Unknown));
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
