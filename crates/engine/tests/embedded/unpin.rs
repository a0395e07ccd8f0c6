//! Labels that this run or another client removes.

use std::time::Duration;

use reclaim_engine::RunOptions;
use reclaim_model::{BuildHistory, Digest, PruneRequest};
use reclaim_testkit::fault::{Act, Moment, Then};
use reclaim_testkit::{Deletion, LeaseResource, NamespaceClient, NewLease};

use crate::stage::{AT_ONCE, Stage, all_unused, fault, namespace};

const OLD: &str = "docker.io/library/old:1";
const LABEL: &str = "containerd.io/gc.ref.snapshot.native";

/// An image without a record whose configuration a build's history holds.
async fn stage() -> (Stage, Digest) {
    let stage = Stage::set().await;
    let old = stage.build(OLD).await;
    let config = old.manifests[0].config.digest.clone();
    let namespace = &stage.namespace;
    let history = NewLease::new("ref_history");
    namespace.create_lease(history).await.unwrap();
    let held = LeaseResource::content(&config);
    let holding = namespace.add_lease_resource("ref_history", &held);
    holding.await.unwrap();
    namespace.delete_image(OLD, Deletion::Sync).await.unwrap();
    (stage, config)
}

fn unpinning() -> PruneRequest {
    all_unused().with_build_history(BuildHistory::Unpin)
}

/// The answer is lost, and the next attempt finds the label gone: this run has removed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_gone_after_a_lost_answer_is_removed() {
    let (stage, config) = stage().await;
    let lost = fault("content.v1.Content/Update", Moment::After, Act::Cut);
    let embedded = stage.engine([lost]).await;
    let report = embedded.prune(&unpinning()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert_eq!(report.cuts.len(), 1, "{report:?}");
    assert_eq!(report.cuts[0].blob, config);
    assert_eq!(report.reclaimed.0.snapshots, 2);
    assert!(
        stage
            .namespace
            .snapshots("native")
            .await
            .unwrap()
            .is_empty()
    );
}

/// A label that another client removed is not in the report.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_another_client_removed_is_not_reported() {
    let (stage, config) = stage().await;
    let taking = move |namespace: NamespaceClient| {
        let config = config.clone();
        async move {
            let taken = namespace.set_blob_label(&config, LABEL, "another");
            taken.await.unwrap();
        }
    };
    let method = "content.v1.Content/Info";
    let taken = stage.meanwhile(method, Moment::Before, Then::Continue, taking);
    let embedded = stage.engine([taken]).await;
    let report = embedded.prune(&unpinning()).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    assert!(report.cuts.is_empty(), "{report:?}");
}

/// An undo by name restores no labels, so it leaves the hold for one of everything.
#[tokio::test(flavor = "multi_thread")]
async fn labels_stay_held_after_an_undo_by_name() {
    let (stage, config) = stage().await;
    let app = stage.build("docker.io/library/app:1").await;
    let labels = stage.namespace.blob_labels(&config).await.unwrap();
    let embedded = stage.engine([]).await;
    let options = RunOptions {
        undo_window: Duration::from_secs(3600),
        ..AT_ONCE
    };
    let report = embedded.prune_with(&unpinning(), None, &options).await;
    let report = report.unwrap();
    assert_eq!((report.removed.len(), report.cuts.len()), (1, 1));
    let namespace = namespace();
    let undo = async |names: &[String]| {
        let undone = embedded.engine.undo(&namespace, None, names, false).await;
        assert_eq!(undone.unwrap().restored, [app.name()]);
        stage.namespace.collect().await.unwrap();
        stage.namespace.blob_labels(&config).await.unwrap()
    };
    assert_ne!(undo(&[app.name().to_owned()]).await, labels);
    assert_eq!(undo(&[]).await, labels);
    let snapshots = stage.namespace.snapshots("native").await.unwrap();
    assert!(snapshots.contains_key(&labels[LABEL]));
    assert_eq!(stage.leases().await, ["ref_history".to_owned()].into());
}
