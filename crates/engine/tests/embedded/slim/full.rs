//! Parts of images are freed on a disk without room for a journal.

use std::time::Duration;

use reclaim_engine::{Controls, RunError, RunOptions, no_progress};
use reclaim_model::{PruneRequest, Report};
use reclaim_testkit::fault::{Act, Fault, Moment};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{APP, BOTH, OTHER, Store, WRITE, assert_freed, pull, slimming, stage};
use crate::stage::{AT_ONCE, Embedded, namespace, nth_fault};

const CREATE: &str = "leases.v1.Leases/Create";

/// Refuses all calls of a method from the `first` on for lack of room.
fn no_room(method: &str, first: usize) -> impl Iterator<Item = Fault> {
    (first..first + 50).map(move |nth| {
        let refused = Act::Refuse(Code::ResourceExhausted);
        nth_fault(method, nth, Moment::Before, refused)
    })
}

/// If not even a lease can be written, nothing changes. With one, each blob loses its labels under it.
#[tokio::test(flavor = "multi_thread")]
async fn leases_hold_what_is_cut_without_room_for_a_journal() {
    for part in BOTH {
        let (stage, app) = stage().await;
        let before = Store::of(&stage).await;
        // The first lease is the guard.
        let faults = no_room(WRITE, 0).chain(no_room(CREATE, 1));
        let embedded = stage.engine(faults).await;
        let error = embedded.prune(&slimming(part)).await.unwrap_err();
        assert!(matches!(error, RunError::DiskFull(_)), "{error}");
        assert_eq!(Store::of(&stage).await, before);

        let embedded = stage.engine(no_room(WRITE, 0)).await;
        let report = embedded.prune(&slimming(part)).await.unwrap();
        let warnings = report.warnings.join("\n");
        assert!(
            warnings.contains("too full to hold all changes"),
            "{warnings}"
        );
        assert_freed(&report, &app, part, &Store::of(&stage).await);
    }
}

async fn windowed(embedded: &Embedded, request: &PruneRequest) -> Report {
    let options = RunOptions {
        undo_window: Duration::from_secs(3600),
        ..AT_ONCE
    };
    let controls = Controls {
        options: &options,
        progress: &no_progress,
        cancel: &CancellationToken::new(),
    };
    let report = embedded.engine.prune(request, None, controls).await;
    report.unwrap()
}

/// With an undo window, small leases form one hold, which can be undone completely.
#[tokio::test(flavor = "multi_thread")]
async fn small_holds_of_labels_can_be_undone() {
    for part in BOTH {
        let (stage, _) = stage().await;
        for number in 0..6 {
            pull(
                &stage.namespace,
                &format!("docker.io/library/more:{number}"),
            )
            .await;
        }
        let before = Store::of(&stage).await;
        let embedded = stage.engine(no_room(WRITE, 0)).await;
        let all: [&str; 0] = [];
        let request = PruneRequest::parts(namespace(), [part], all);
        let report = windowed(&embedded, &request).await;
        let slimmed: Vec<&str> = report.slimmed.iter().map(|it| &*it.name).collect();
        assert_eq!(slimmed.len(), 8, "{report:?}");
        assert!(slimmed.contains(&APP) && slimmed.contains(&OTHER));
        assert!(report.held_until.is_some(), "{report:?}");
        stage.namespace.collect().await.unwrap();
        let held = Store::of(&stage).await;
        assert_eq!(held.snapshots, before.snapshots);
        assert_ne!(held.labels, before.labels);
        let holds = embedded.engine.history(&namespace()).await.unwrap();
        assert_eq!(holds.len(), 1, "{holds:?}");
        assert!(holds[0].leases.len() > 1 && holds[0].is_whole && !holds[0].is_abandoned);
        let undone = embedded.engine.undo(&namespace(), None, &[], false).await;
        assert_eq!(undone.unwrap().labels, 8);
        assert_eq!(Store::of(&stage).await, before);
    }
}
