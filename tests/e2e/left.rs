//! Content that a prune planned to free and that is still there: the report names its holders.

use reclaim_testkit::{Layer, LeaseResource, NewLease, image};

use crate::protocol::{SLOWLY, end, rig_with_six_images, start, until_gone};
use crate::rig::Rig;

/// A lease on a single layer, taken during the prune, keeps that layer and not the image; the exit
/// status is 0.
#[tokio::test]
async fn names_the_lease_that_holds_a_layer() {
    let (rig, built) = rig_with_six_images().await;
    let layer = built[5].manifests[0].layers[1].digest.clone();
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    rig.namespace
        .create_lease(NewLease::new("late"))
        .await
        .unwrap();
    rig.namespace
        .add_lease_resource("late", &LeaseResource::content(&layer))
        .await
        .unwrap();
    let ended = end(prune).exits(0);
    let report = ended.json();
    let left = report["left"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{report:#}");
    assert_eq!(left[0]["digest"], layer.to_string());
    let holder = &left[0]["holders"][0];
    assert_eq!(holder["namespace"], "default");
    assert_eq!(
        (&holder["kind"], &holder["id"]),
        (&"lease".into(), &"late".into())
    );
    let bytes = |of: &str| report[of]["content_bytes"].as_u64().unwrap();
    let difference = bytes("estimate") - bytes("reclaimed");
    assert_eq!(left[0]["bytes"].as_u64(), Some(difference));
    assert!(
        ended.stderr.contains("still there: ") && ended.stderr.contains("held by lease late"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn names_a_holder_in_another_namespace() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    let other = rig.containerd.namespace("other");
    image("docker.io/library/copy:1")
        .layers([Layer::named(built[5].name(), 500)])
        .build(&other)
        .await
        .unwrap();
    let report = end(prune).exits(0).json();
    let left = report["left"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{report:#}");
    let holder = &left[0]["holders"][0];
    assert_eq!(holder["namespace"], "other");
    assert_eq!(holder["id"], "docker.io/library/copy:1");
}

#[tokio::test]
async fn an_undisturbed_prune_leaves_nothing() {
    let rig = Rig::start().await;
    let built = image("a:1").layers([Layer::named("a", 100)]);
    built.build(&rig.namespace).await.unwrap();
    let args = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["left"].as_array().unwrap().len(), 0);
}
