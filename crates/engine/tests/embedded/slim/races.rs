//! Other clients need parts of an image that a run is about to free.

use reclaim_model::{Part, PruneRequest, RefuseReason};
use reclaim_testkit::fault::{Act, Moment, Then};
use reclaim_testkit::{BuiltImage, Layer, LeaseResource, NamespaceClient, NewLease, image, labels};
use tonic::Code;

use super::{APP, Store, UPDATE, assert_freed, assert_refused, pull, slimmed, slimming, stage};
use crate::stage::{namespace, nth_fault};

/// What another client does when the labels are gone, and whose image it needs.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    /// A container starts.
    Container,
    /// A lease, as of a push, holds the image.
    Lease,
    /// Another pinned image has the same configuration.
    SharedConfig,
    /// A pull writes the labels back.
    Pull,
    /// A new image has the same layer.
    NewImage,
}

impl Meanwhile {
    async fn happen(self, namespace: &NamespaceClient, app: &BuiltImage) {
        let manifest = &app.manifests[0];
        let layers = [Layer::named("base", 2000), Layer::named(APP, 500)];
        match self {
            Self::Container => namespace.nerdctl_container("web", app).await.unwrap(),
            Self::Lease => {
                namespace.create_lease(NewLease::new("push")).await.unwrap();
                let held = LeaseResource::content(&app.target.digest);
                namespace.add_lease_resource("push", &held).await.unwrap();
            }
            Self::SharedConfig => {
                let pinned = labels([("io.cri-containerd.pinned", "pinned")]);
                let shared = image("docker.io/library/shared:1").docker_schema2();
                let shared = shared.layers(layers).record_labels(pinned);
                let built = shared.build(namespace).await.unwrap();
                assert_eq!(built.manifests[0].config.digest, manifest.config.digest);
            }
            Self::Pull => {
                pull(namespace, APP).await;
            }
            Self::NewImage => {
                let new = image("docker.io/library/new:1").layers(layers);
                let new = new.config_labels(labels([("is", "new")]));
                new.build(namespace).await.unwrap();
            }
        }
    }
}

/// A part that a client needs before it is collected stays, with its labels.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_needed_meanwhile_stays() {
    for (part, meanwhile) in [
        (Part::Snapshots, Meanwhile::Container),
        (Part::Snapshots, Meanwhile::Lease),
        (Part::Snapshots, Meanwhile::SharedConfig),
        (Part::Snapshots, Meanwhile::Pull),
        (Part::Layers, Meanwhile::Lease),
        (Part::Layers, Meanwhile::SharedConfig),
        (Part::Layers, Meanwhile::Pull),
        (Part::Layers, Meanwhile::NewImage),
    ] {
        let (stage, app) = stage().await;
        let before = Store::of(&stage).await;
        let of_action = app.clone();
        let acting = move |namespace: NamespaceClient| {
            let app = of_action.clone();
            async move { meanwhile.happen(&namespace, &app).await }
        };
        let raced = stage.meanwhile(UPDATE, Moment::After, Then::Continue, acting);
        let report = slimmed(&stage, part, raced).await;
        let mut after = Store::of(&stage).await;
        after.leases.remove("push");
        assert_refused(&report, &RefuseReason::PartsStay, &before, &after);
        assert!(after.refers(&app, part), "{part:?} {meanwhile:?}");
    }
}

/// A container of an unpacked image needs no compressed layers.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_keeps_no_compressed_layers() {
    let (stage, app) = stage().await;
    let of_action = app.clone();
    let starting = move |namespace: NamespaceClient| {
        let app = of_action.clone();
        async move { Meanwhile::Container.happen(&namespace, &app).await }
    };
    let raced = stage.meanwhile(UPDATE, Moment::After, Then::Continue, starting);
    let report = slimmed(&stage, Part::Layers, raced).await;
    assert_freed(&report, &app, Part::Layers, &Store::of(&stage).await);
}

/// If needed labels cannot be put back, the hold stays, and the next run of any kind restores them.
#[tokio::test(flavor = "multi_thread")]
async fn labels_that_cannot_be_restored_stay_held() {
    let (stage, app) = stage().await;
    let mut before = Store::of(&stage).await;
    let of_action = app.clone();
    let starting = move |namespace: NamespaceClient| {
        let app = of_action.clone();
        async move { Meanwhile::Container.happen(&namespace, &app).await }
    };
    let raced = stage.meanwhile(UPDATE, Moment::After, Then::Continue, starting);
    let refused = Act::Refuse(Code::PermissionDenied);
    let failed = nth_fault(UPDATE, 1, Moment::Before, refused);
    let embedded = stage.engine([raced, failed]).await;
    let report = embedded.prune(&slimming(Part::Snapshots)).await.unwrap();
    assert_eq!(embedded.proxy.struck(), 2);
    assert!(report.unfinished.is_some(), "{report:?}");
    assert!(
        report.slimmed.is_empty() && report.cuts.is_empty(),
        "{report:?}"
    );
    assert_eq!(report.refused[0].reason, RefuseReason::PartsStay);
    stage.namespace.delete_container("web").await.unwrap();
    let deleted = stage.namespace.remove_snapshot("native", "web");
    deleted.await.unwrap();
    stage.namespace.collect().await.unwrap();
    let held = Store::of(&stage).await;
    assert!(held.has(&app, Part::Snapshots));
    assert!(!held.refers(&app, Part::Snapshots));

    let dangling = PruneRequest::dangling(namespace());
    let next = embedded.prune(&dangling).await.unwrap();
    assert_eq!(next.unfinished, None);
    stage.namespace.collect().await.unwrap();
    before.leases.clear();
    assert_eq!(Store::of(&stage).await, before);
}
