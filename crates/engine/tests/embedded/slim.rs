//! Parts of images are freed, and calls fail, runs are undone, or the disk is full.

mod full;
mod races;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reclaim_engine::{Controls, Grace, Progress, RunOptions};
use reclaim_model::{Digest, Part, PruneRequest, RefuseReason, Report};
use reclaim_testkit::fault::{Act, Fault, Moment, Then};
use reclaim_testkit::{BuiltImage, Deletion, Labels, Layer, NamespaceClient, image};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::stage::{AT_ONCE, Stage, fault, namespace, nth_fault};

const APP: &str = "docker.io/library/app:1";
const OTHER: &str = "docker.io/library/other:1";
const INFO: &str = "content.v1.Content/Info";
const UPDATE: &str = "content.v1.Content/Update";
const WRITE: &str = "content.v1.Content/Write";

/// The parts of which an image must keep one.
const BOTH: [Part; 2] = [Part::Snapshots, Part::Layers];

/// Everything that a slim can change.
#[derive(Debug, PartialEq, Eq)]
struct Store {
    labels: BTreeMap<Digest, Labels>,
    snapshots: BTreeSet<String>,
    leases: BTreeSet<String>,
}

impl Store {
    async fn of(stage: &Stage) -> Self {
        let blobs = stage.namespace.blob_infos().await.unwrap().into_iter();
        let snapshots = stage.namespace.snapshots("native").await.unwrap();
        Self {
            labels: blobs.map(|(digest, blob)| (digest, blob.labels)).collect(),
            snapshots: snapshots.into_keys().collect(),
            leases: stage.leases().await,
        }
    }

    /// Whether the part of an image is there, which shares its lowest layer.
    fn has(&self, app: &BuiltImage, part: Part) -> bool {
        let manifest = &app.manifests[0];
        match part {
            Part::Layers => self.labels.contains_key(&manifest.layers[1].digest),
            Part::Snapshots | Part::BuildHistory | Part::Platforms => {
                self.snapshots.contains(&manifest.chain_ids[1].to_string())
            }
        }
    }

    /// Whether the labels for a part of an image are there.
    fn refers(&self, app: &BuiltImage, part: Part) -> bool {
        let manifest = &app.manifests[0];
        let (blob, target) = match part {
            Part::Layers => (&manifest.manifest, &manifest.layers[1].digest),
            Part::Snapshots | Part::BuildHistory | Part::Platforms => {
                (&manifest.config, &manifest.chain_ids[1])
            }
        };
        let target = target.to_string();
        self.labels[&blob.digest].values().any(|it| *it == target)
    }
}

fn slimming(part: Part) -> PruneRequest {
    PruneRequest::parts(namespace(), [part], [APP])
}

/// A store with an image that was pulled and unpacked, and another with the same base.
async fn stage() -> (Stage, BuiltImage) {
    let stage = Stage::quiet().await;
    let app = pull(&stage.namespace, APP).await;
    pull(&stage.namespace, OTHER).await;
    (stage, app)
}

async fn pull(namespace: &NamespaceClient, name: &str) -> BuiltImage {
    let built = image(name)
        .layers([Layer::named("base", 2000), Layer::named(name, 500)])
        .unpack("native");
    let built = built.build(namespace).await.unwrap();
    built.pulled(namespace).await.unwrap()
}

/// Slims the image while a fault strikes.
async fn slimmed(stage: &Stage, part: Part, fault: Fault) -> Report {
    let embedded = stage.engine([fault]).await;
    let report = embedded.prune(&slimming(part)).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 1);
    report
}

/// The report refuses the image for this reason, and nothing was freed.
#[track_caller]
fn assert_refused(report: &Report, reason: &RefuseReason, before: &Store, after: &Store) {
    let refused = report.refused.iter();
    let refused: Vec<_> = refused.map(|it| (&*it.name, &it.reason)).collect();
    assert_eq!(refused, [(APP, reason)], "{report:?}");
    assert_whole(report, before, after);
}

/// The report slims no image, and nothing was freed.
#[track_caller]
fn assert_whole(report: &Report, before: &Store, after: &Store) {
    assert!(
        report.slimmed.is_empty() && report.cuts.is_empty(),
        "{report:?}"
    );
    assert_eq!(report.reclaimed.0.total_bytes(), 0, "{report:?}");
    let (snapshots, blobs) = (&before.snapshots, before.labels.keys());
    assert!(after.snapshots.is_superset(snapshots), "{report:?}");
    assert!(blobs.into_iter().all(|it| after.labels.contains_key(it)));
    assert!(after.leases.is_subset(&before.leases), "{after:?}");
}

/// The report says that the part was freed, and it is gone.
#[track_caller]
fn assert_freed(report: &Report, app: &BuiltImage, part: Part, after: &Store) {
    assert_eq!(report.slimmed.len(), 1, "{report:?}");
    assert_eq!(report.slimmed[0].name, APP);
    assert!(report.refused.is_empty(), "{report:?}");
    assert_eq!(report.reclaimed.0, report.estimate.0, "{report:?}");
    assert!(report.reclaimed.0.total_bytes() > 0, "{report:?}");
    let other = BOTH.into_iter().find(|it| *it != part).unwrap();
    assert!(
        !after.has(app, part) && !after.refers(app, part),
        "{part:?}"
    );
    assert!(
        after.has(app, other) && after.refers(app, other),
        "{part:?}"
    );
    assert!(after.leases.is_empty(), "{after:?}");
}

/// Only labels of the part go, in whatever form, and all of them.
#[tokio::test(flavor = "multi_thread")]
async fn all_labels_of_the_part_go_and_no_others() {
    for part in BOTH {
        let (stage, app) = stage().await;
        let manifest = &app.manifests[0];
        let (config, layers) = (&manifest.config.digest, &manifest.layers);
        let forms = [
            (&manifest.manifest.digest, "content.0", config),
            (&manifest.manifest.digest, "content.1", &layers[0].digest),
            (&manifest.manifest.digest, "content.2", &layers[1].digest),
            (&manifest.manifest.digest, "content/odd", &layers[1].digest),
            (config, "snapshot.native/again", &manifest.chain_ids[1]),
        ];
        for (blob, key, value) in forms {
            let key = format!("containerd.io/gc.ref.{key}");
            let value = value.to_string();
            let labeled = stage.namespace.set_blob_label(blob, &key, &value);
            labeled.await.unwrap();
        }
        let before = Store::of(&stage).await;
        let embedded = stage.engine([]).await;
        let report = embedded.prune(&slimming(part)).await.unwrap();
        let after = Store::of(&stage).await;
        assert_freed(&report, &app, part, &after);
        let gone = match part {
            // The other image keeps the shared layer, so its labels would free nothing.
            Part::Layers => vec![layers[1].digest.to_string()],
            Part::Snapshots | Part::BuildHistory | Part::Platforms => {
                vec![manifest.chain_ids[1].to_string()]
            }
        };
        for (digest, labels) in &after.labels {
            let mut expected = before.labels[digest].clone();
            if [&manifest.manifest.digest, config].contains(&digest) {
                expected.retain(|_, value| !gone.contains(value));
            }
            assert_eq!(*labels, expected, "{digest}");
        }
    }
}

/// A label that another client changes just before it would be removed stays, with all others.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_changed_is_not_removed() {
    for (part, key) in [
        (Part::Snapshots, "containerd.io/gc.ref.snapshot.native"),
        (Part::Layers, "containerd.io/gc.ref.content.l.1"),
    ] {
        let (stage, app) = stage().await;
        let before = Store::of(&stage).await;
        let blob = match part {
            Part::Layers => app.manifests[0].manifest.digest.clone(),
            Part::Snapshots | Part::BuildHistory | Part::Platforms => {
                app.manifests[0].config.digest.clone()
            }
        };
        let changing = move |namespace: NamespaceClient| {
            let blob = blob.clone();
            async move {
                let changed = namespace.set_blob_label(&blob, key, "another");
                changed.await.unwrap();
            }
        };
        // The first call reads the labels for the journal.
        let changing = stage.acting(Then::Continue, changing);
        let changed = nth_fault(INFO, 1, Moment::Before, changing);
        let report = slimmed(&stage, part, changed).await;
        // Without a reference the collection may free it: that is the other client's doing.
        assert!(
            report.slimmed.is_empty() && report.cuts.is_empty(),
            "{report:?}"
        );
        assert_eq!(report.refused[0].reason, RefuseReason::PartsStay);
        let after = Store::of(&stage).await;
        for (digest, labels) in &after.labels {
            let mut expected = before.labels[digest].clone();
            if labels.values().any(|value| value == "another") {
                expected.insert(key.to_owned(), "another".to_owned());
            }
            assert_eq!(*labels, expected, "{digest}");
        }
    }
}

/// Whatever the answer to a removal is, the store shows whether it was made.
#[tokio::test(flavor = "multi_thread")]
async fn the_report_says_which_removals_took_effect() {
    for part in BOTH {
        for (moment, act) in [
            (Moment::Before, Act::Cut),
            (Moment::After, Act::Cut),
            (Moment::After, Act::Refuse(Code::Unavailable)),
            (Moment::After, Act::Refuse(Code::PermissionDenied)),
        ] {
            let (stage, app) = stage().await;
            let is_error = matches!(act, Act::Refuse(Code::PermissionDenied));
            let report = slimmed(&stage, part, fault(UPDATE, moment, act)).await;
            assert_freed(&report, &app, part, &Store::of(&stage).await);
            assert_eq!(!report.warnings.is_empty(), is_error, "{report:?}");
        }
        let (stage, _) = stage().await;
        let before = Store::of(&stage).await;
        let refused = Act::Refuse(Code::PermissionDenied);
        let report = slimmed(&stage, part, fault(UPDATE, Moment::Before, refused)).await;
        let after = Store::of(&stage).await;
        assert_whole(&report, &before, &after);
        assert_eq!(after, before);
        let failed: Vec<&str> = report.failed.iter().map(|it| &*it.name).collect();
        assert_eq!(failed, [APP], "{report:?}");
        assert!(report.is_partial() && !report.warnings.is_empty());
    }
}

/// Until the hold is over, an undo puts the labels back, and their targets have never gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_restores_the_labels() {
    for part in BOTH {
        let (stage, app) = stage().await;
        let before = Store::of(&stage).await;
        let embedded = stage.engine([]).await;
        let options = RunOptions {
            undo_window: Duration::from_secs(3600),
            ..AT_ONCE
        };
        let slimming = slimming(part);
        let report = embedded
            .prune_with(&slimming, None, &options)
            .await
            .unwrap();
        assert_eq!(report.slimmed.len(), 1, "{report:?}");
        assert!(report.held_until.is_some(), "{report:?}");
        assert_eq!(report.reclaimed.0.total_bytes(), 0, "{report:?}");
        stage.namespace.collect().await.unwrap();
        let held = Store::of(&stage).await;
        assert!(held.has(&app, part) && !held.refers(&app, part), "{part:?}");
        // What is held already cannot be freed again.
        let again = embedded.prune(&slimming).await.unwrap();
        assert!(
            again.slimmed.is_empty() && again.cuts.is_empty(),
            "{again:?}"
        );

        let namespace = namespace();
        let undoing = embedded.engine.undo(&namespace, None, &[], false);
        undoing.await.unwrap();
        stage.namespace.collect().await.unwrap();
        assert_eq!(Store::of(&stage).await, before);

        let report = embedded
            .prune_with(&slimming, None, &options)
            .await
            .unwrap();
        assert!(report.held_until.is_some(), "{report:?}");
        embedded.engine.release(&namespace, None).await.unwrap();
        let released = Store::of(&stage).await;
        assert!(!released.has(&app, part), "{part:?}");
        assert!(released.leases.is_empty(), "{released:?}");
    }
}

/// A run that is cancelled in its grace period puts the labels back and collects nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_cancelled_in_its_grace_period_restores_the_labels() {
    for part in BOTH {
        let (stage, _) = stage().await;
        let before = Store::of(&stage).await;
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        let cancelling = move |_| {
            let cancelled = cancelled.clone();
            async move { cancelled.cancel() }
        };
        let cut = stage.meanwhile(UPDATE, Moment::After, Then::Continue, cancelling);
        let embedded = stage.engine([cut]).await;
        let options = RunOptions {
            grace: Grace::Fixed(Duration::from_secs(600)),
            ..AT_ONCE
        };
        let controls = Controls {
            options: &options,
            progress: &|_: Progress| {},
            cancel: &cancel,
        };
        let collections = stage.containerd.collections();
        let report = embedded.engine.prune(&slimming(part), None, controls).await;
        let report = report.unwrap();
        assert_eq!(embedded.proxy.struck(), 1);
        let after = Store::of(&stage).await;
        assert_refused(&report, &RefuseReason::Cancelled, &before, &after);
        assert_eq!(stage.containerd.collections(), collections);
        stage.namespace.collect().await.unwrap();
        assert_eq!(Store::of(&stage).await, before);
    }
}

/// A held image shares its configuration with another one, which loses its snapshots. Its own layers
/// are gone, so without the snapshots an undo would restore an image that cannot be started.
#[tokio::test(flavor = "multi_thread")]
async fn the_snapshots_of_a_held_image_stay() {
    let stage = Stage::quiet().await;
    let app = pull(&stage.namespace, APP).await;
    let shared = "docker.io/library/shared:1";
    let layers = [Layer::named("base", 2000), Layer::named(APP, 500)];
    let same = image(shared).docker_schema2().layers(layers);
    let same = same.unpack("native").build(&stage.namespace).await.unwrap();
    let same = same.pulled(&stage.namespace).await.unwrap();
    assert_eq!(
        app.manifests[0].config.digest,
        same.manifests[0].config.digest
    );
    let embedded = stage.engine([]).await;
    let layers = PruneRequest::parts(namespace(), [Part::Layers], [""; 0]);
    let report = embedded.prune(&layers).await.unwrap();
    assert_eq!(report.slimmed.len(), 2, "{report:?}");
    let held = RunOptions {
        undo_window: Duration::from_secs(3600),
        ..AT_ONCE
    };
    let removing = PruneRequest::images(namespace(), [shared]);
    let report = embedded.prune_with(&removing, None, &held).await.unwrap();
    assert_eq!(report.removed.len(), 1, "{report:?}");
    pull(&stage.namespace, APP).await;
    let report = embedded.prune(&slimming(Part::Snapshots)).await.unwrap();
    assert!(report.slimmed.is_empty(), "{report:?}");
    let namespace = namespace();
    let undoing = embedded.engine.undo(&namespace, None, &[], false);
    assert_eq!(undoing.await.unwrap().restored, [shared]);
    let removing = stage.namespace.delete_image(APP, Deletion::Sync);
    removing.await.unwrap();
    let after = Store::of(&stage).await;
    assert!(after.has(&same, Part::Snapshots), "{after:?}");
}
