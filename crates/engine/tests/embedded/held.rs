//! Holds outlive the guard, and records are never restored without their content.

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::{RunError, Undone};
use reclaim_model::FilterArgs;
use reclaim_testkit::fault::{Act, Moment, Then};
use reclaim_testkit::{BuiltImage, Deletion, NamespaceClient};
use tonic::Code;

use crate::stage::{GUARD, Maker, RELEASE, Stage, all_unused, fault, lease_of, namespace, request};

const APP: &str = "docker.io/library/app:1";

/// Makes a run that cannot collect. Returns its ID.
async fn unfinished(stage: &Stage) -> String {
    let broken = fault(RELEASE, Moment::Before, Act::Refuse(Code::Unknown));
    let embedded = stage.engine([broken]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert!(report.unfinished.is_some(), "{report:?}");
    report.run.0
}

fn hold_of(run: &str) -> String {
    format!("reclaim.hold.{run}.unfinished")
}

async fn is_whole(stage: &Stage, app: &BuiltImage) -> bool {
    let images = stage.namespace.images().await.unwrap();
    let blobs = stage.namespace.blobs().await.unwrap();
    images.contains_key(app.name()) && app.blobs.keys().all(|it| blobs.contains_key(it))
}

/// The next run has an expired guard collected, and restores the removed images.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_guard_loses_nothing() {
    let stage = Stage::set().await;
    let app = stage.build(APP).await;
    let run = unfinished(&stage).await;
    let past = Timestamp::now() - SignedDuration::from_hours(1);
    let guard = lease_of(Maker::Alive, &run, GUARD).expires(past);
    stage.namespace.create_lease(guard).await.unwrap();
    stage.namespace.collect().await.unwrap();
    assert!(!stage.leases().await.contains(GUARD));
    let hold = &stage.namespace.leases().await.unwrap()[&hold_of(&run)];
    let expires: Timestamp = hold["containerd.io/gc.expire"].parse().unwrap();
    assert!(expires > Timestamp::now() + SignedDuration::from_hours(7 * 24));
    let embedded = stage.engine([]).await;
    let dangling = request(FilterArgs::default());
    let report = embedded.prune(&dangling).await.unwrap();
    assert!(report.removed.is_empty(), "{report:?}");
    assert!(is_whole(&stage, &app).await);
    assert!(stage.leases().await.is_empty());
}

/// Older versions hold content with the guard itself: it moves to a hold before an expired guard is
/// collected.
#[tokio::test(flavor = "multi_thread")]
async fn the_content_of_an_expired_guard_moves_to_a_hold() {
    let stage = Stage::quiet().await;
    let app = stage.build(APP).await;
    let run = unfinished(&stage).await;
    let hold = hold_of(&run);
    let past = Timestamp::now() - SignedDuration::from_hours(1);
    let guard = lease_of(Maker::Alive, &run, GUARD).expires(past);
    stage.namespace.create_lease(guard).await.unwrap();
    for resource in stage.namespace.lease_resources(&hold).await.unwrap() {
        let adding = stage.namespace.add_lease_resource(GUARD, &resource);
        adding.await.unwrap();
    }
    let deleted = stage.namespace.delete_lease(&hold, Deletion::Async);
    deleted.await.unwrap();
    let embedded = stage.engine([]).await;
    let dangling = request(FilterArgs::default());
    let report = embedded.prune(&dangling).await.unwrap();
    assert!(report.removed.is_empty(), "{report:?}");
    assert!(is_whole(&stage, &app).await);
    assert!(stage.leases().await.is_empty());
}

/// While a run sleeps, its hold expires and the content is collected: a used image is reported, and its
/// record is not restored.
#[tokio::test(flavor = "multi_thread")]
async fn no_record_is_restored_without_its_content() {
    let stage = Stage::set().await;
    let app = stage.build(APP).await;
    let sleeping = move |namespace: NamespaceClient| {
        let app = app.clone();
        async move {
            let using = namespace.nerdctl_container("late", &app);
            using.await.unwrap();
            for id in namespace.leases().await.unwrap().into_keys() {
                if id != GUARD {
                    let deleted = namespace.delete_lease(&id, Deletion::Sync);
                    deleted.await.unwrap();
                }
            }
        }
    };
    let method = "images.v1.Images/Delete";
    let slept = stage.meanwhile(method, Moment::After, Then::Continue, sleeping);
    let embedded = stage.engine([slept]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert!(report.removed.is_empty(), "{report:?}");
    assert_eq!(report.failed[0].name, APP, "{report:?}");
    assert!(report.failed[0].error.contains("its content is gone"));
    assert!(stage.namespace.images().await.unwrap().is_empty());
    assert!(stage.leases().await.is_empty());
}

/// The process of an unfinished run can undo it at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_run_can_be_listed_and_undone() {
    let stage = Stage::set().await;
    let app = stage.build(APP).await;
    let broken = fault(RELEASE, Moment::Before, Act::Refuse(Code::Unknown));
    let embedded = stage.engine([broken]).await;
    let report = embedded.prune(&all_unused()).await.unwrap();
    let history = embedded.engine.history(&namespace()).await.unwrap();
    let [hold] = &history[..] else {
        panic!("{history:?}");
    };
    assert!(hold.is_abandoned && hold.run == report.run, "{hold:?}");
    let undone = embedded
        .engine
        .undo(&namespace(), None, &[], false)
        .await
        .unwrap();
    let expected = Undone {
        restored: vec![APP.to_owned()],
        ..Undone::default()
    };
    assert_eq!(undone, expected);
    assert!(is_whole(&stage, &app).await);
    assert!(stage.leases().await.is_empty());
    let nothing = embedded.engine.undo(&namespace(), None, &[], false).await;
    assert!(matches!(nothing, Err(RunError::UnknownRun { .. })));
}
