//! What was to be freed and is still there: the report names who holds it.

use reclaim_testkit::{Layer, LeaseResource, NewLease, image};

use crate::protocol::{SLOWLY, end, rig_with_six_images, start, until_gone};
use crate::rig::Rig;

/// Somebody who takes a layer alone while the prune is under way keeps that layer, not the
/// image; the report says who it is, and the status is that of success.
#[tokio::test]
async fn whoever_holds_what_was_to_go_is_named() {
    let (rig, built) = rig_with_six_images().await;
    let layer = built[5].manifests[0].layers[1].digest.clone();
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    let lease = NewLease::new("late");
    rig.namespace.create_lease(lease).await.unwrap();
    let resource = LeaseResource::content(&layer);
    let adding = rig.namespace.add_lease_resource("late", &resource);
    adding.await.unwrap();
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

/// What another namespace has come to hold is named with the namespace.
#[tokio::test]
async fn a_holder_in_another_namespace_is_named() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[0].name()).await;
    let other = rig.containerd.namespace("other");
    let copy = image("docker.io/library/copy:1");
    let copy = copy.layers([Layer::named(built[5].name(), 500)]);
    copy.build(&other).await.unwrap();
    let report = end(prune).exits(0).json();
    let left = report["left"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{report:#}");
    let holder = &left[0]["holders"][0];
    assert_eq!(holder["namespace"], "other");
    assert_eq!(holder["id"], "docker.io/library/copy:1");
}

/// Of an undisturbed prune nothing is left.
#[tokio::test]
async fn nothing_is_left_of_an_undisturbed_prune() {
    let rig = Rig::start().await;
    let built = image("a:1").layers([Layer::named("a", 100)]);
    built.build(&rig.namespace).await.unwrap();
    let args = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["left"].as_array().unwrap().len(), 0);
}
