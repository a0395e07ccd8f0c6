//! A disk without room for a journal: leases hold the images.

use std::time::Duration;

use reclaim_engine::{Controls, RunError, RunOptions, no_progress};
use reclaim_testkit::fault::{Act, Call, Fault, Moment};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::stage::{AT_ONCE, GUARD, Stage, all_unused, namespace};

/// Fails a method with a full disk, from its `first` call on.
fn no_room(method: &str, first: usize) -> impl Iterator<Item = Fault> {
    (first..first + 100).map(move |nth| Fault {
        call: Call {
            method: method.to_owned(),
            nth,
        },
        moment: Moment::Before,
        act: Act::Refuse(Code::ResourceExhausted),
    })
}

const WRITE: &str = "content.v1.Content/Write";
const CREATE: &str = "leases.v1.Leases/Create";

/// With an undo window, small leases form one hold, which can be undone completely.
#[tokio::test(flavor = "multi_thread")]
async fn small_holds_can_be_undone() {
    let stage = Stage::set().await;
    for name in ["a", "b", "c", "d", "e", "f"] {
        stage.build(name).await;
    }
    let before = stage.namespace.images().await.unwrap();
    let embedded = stage.engine(no_room(WRITE, 0)).await;
    let options = RunOptions {
        undo_window: Duration::from_secs(3600),
        ..AT_ONCE
    };
    let controls = Controls {
        options: &options,
        progress: &no_progress,
        cancel: &CancellationToken::new(),
    };
    let request = all_unused();
    let report = embedded.engine.prune(&request, None, controls).await;
    let report = report.unwrap();
    assert_eq!(report.removed.len(), before.len(), "{report:?}");
    assert!(report.held_until.is_some(), "{report:?}");
    assert!(stage.namespace.images().await.unwrap().is_empty());

    stage.namespace.collect().await.unwrap();
    let holds = embedded.engine.history(&namespace()).await.unwrap();
    assert_eq!(holds.len(), 1, "{holds:?}");
    assert_eq!(holds[0].records.len(), before.len());
    assert!(holds[0].leases.len() > 1 && holds[0].is_whole && !holds[0].is_abandoned);
    let undone = embedded
        .engine
        .undo(&namespace(), None, &[], false)
        .await
        .unwrap();
    assert_eq!(undone.restored.len(), before.len());
    assert_eq!(stage.namespace.images().await.unwrap(), before);
    assert!(stage.leases().await.is_empty());
}

/// If not even the lease of one image can be written, nothing is removed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_without_a_hold() {
    let stage = Stage::set().await;
    stage.build("a").await;
    stage.build("b").await;
    let before = stage.namespace.images().await.unwrap();
    // The first lease is the guard.
    for first in [0, 1] {
        let faults = no_room(WRITE, 0).chain(no_room(CREATE, first));
        let embedded = stage.engine(faults).await;
        let error = embedded.prune(&all_unused()).await.unwrap_err();
        assert!(matches!(error, RunError::DiskFull(_)), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("nothing was removed"), "{text}");
        assert_eq!(stage.namespace.images().await.unwrap(), before);
        assert!(stage.leases().await.is_empty());
    }
}

/// An incomplete lease is deleted, and a smaller batch is tried.
#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_hold_is_deleted() {
    let stage = Stage::set().await;
    stage.build("a").await;
    let before = stage.namespace.images().await.unwrap();
    let faults = no_room(WRITE, 0).chain(no_room("leases.v1.Leases/AddResource", 0));
    let embedded = stage.engine(faults).await;
    let error = embedded.prune(&all_unused()).await.unwrap_err();
    assert!(matches!(error, RunError::DiskFull(_)), "{error}");
    assert_eq!(stage.namespace.images().await.unwrap(), before);
    assert!(!stage.leases().await.contains(GUARD));
    assert!(stage.leases().await.is_empty());
}
