//! Containers that an engine registers over gRPC.

use std::time::Duration;

use reclaim_api::grpc::proto::{self, Container};

use crate::daemon::Daemon;
use crate::grpc::{built, planned, pruner, registrar, removed};
use crate::rig::Rig;

#[tokio::test]
async fn keeps_images_of_registered_containers_also_after_a_restart() {
    let rig = Rig::start().await;
    let by_digest = built(&rig, "by-digest:1").await;
    for name in ["by-name:1", "mounted:1", "unused:1"] {
        built(&rig, name).await;
    }
    let state = tempfile::tempdir().unwrap();
    let args = ["--state", state.path().to_str().unwrap()];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    let containers = vec![
        Container {
            id: "a".to_owned(),
            image: "by-name:1".to_owned(),
            mounts: vec!["mounted:1".to_owned()],
            ..Container::default()
        },
        Container {
            id: "b".to_owned(),
            image_digest: by_digest.target.digest.to_string(),
            ..Container::default()
        },
    ];
    let second = prost_types::Duration {
        seconds: 1,
        nanos: 0,
    };
    let request = proto::ReplaceRequest {
        owner: "engine".to_owned(),
        namespace: String::new(),
        containers,
        time_to_live: Some(second),
    };
    registrar(&daemon).await.replace(request).await.unwrap();
    daemon.prune(r#"{"dangling":["false"]}"#).await.done();
    let kept = ["by-digest:1", "by-name:1", "mounted:1"];
    let kept_names = kept.map(|name| format!("docker.io/library/{name}"));
    assert_eq!(rig.names().await, kept_names.into());

    // The engine no longer renews its list, and the daemon restarts: the containers still count,
    // and a plan warns of that.
    daemon.stop().await;
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut pruner = pruner(&daemon).await;
    let report = planned(&mut pruner).await.report.unwrap();
    assert_eq!(removed(&report), [""; 0]);
    let warning = report.warnings.join("\n");
    assert!(
        warning.contains("`engine` has not renewed its list since"),
        "{warning}"
    );
    let holders: Vec<_> = report
        .kept
        .iter()
        .flat_map(|image| &image.holders)
        .collect();
    assert_eq!(holders.len(), 3, "{holders:?}");

    let mut registrar = registrar(&daemon).await;
    let lists = registrar
        .list(proto::ListRequest {})
        .await
        .unwrap()
        .into_inner()
        .lists;
    assert_eq!(lists[0].containers.len(), 2);
    let owner = "engine".to_owned();
    registrar
        .forget(proto::ForgetRequest { owner })
        .await
        .unwrap();
    daemon.prune(r#"{"dangling":["false"]}"#).await.done();
    assert_eq!(rig.names().await.len(), 0);
}

/// A list that cannot be read may have any image.
#[tokio::test]
async fn removes_nothing_while_a_list_is_damaged() {
    let rig = Rig::start().await;
    built(&rig, "app:1").await;
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("containers")).unwrap();
    std::fs::write(state.path().join("containers/engine.json"), "{").unwrap();
    let args = ["--state", state.path().to_str().unwrap()];
    let daemon = Daemon::start(rig.containerd.address(), &args).await;
    let message = daemon.prune(r#"{"dangling":["false"]}"#).await.refused(503);
    assert!(
        message.contains("engine.json") && message.contains("is damaged"),
        "{message}"
    );
    assert_eq!(rig.names().await.len(), 1);
}
