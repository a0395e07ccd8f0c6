//! Removals over the daemon's APIs while `reclaim inhibit --all` runs.

use reclaim_api::grpc::proto;
use reclaim_testkit::{NewLease, labels};
use serde_json::json;
use tonic::Code;

use crate::daemon::Daemon;
use crate::grpc::{all, built, finished, pruner};
use crate::rig::{Rig, call};

const ALL: &str = r#"{"dangling":["false"]}"#;

#[tokio::test]
async fn every_api_refuses_removals_and_plans_them() {
    let rig = Rig::start().await;
    built(&rig, "app:1").await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let lease = NewLease::new("reclaim.inhibit.test").labels(labels([
        ("reclaim/inhibits", "all"),
        ("reclaim/inhibit-command", "backup"),
        ("reclaim/inhibit-why", "nightly"),
    ]));
    rig.namespace.create_lease(lease).await.unwrap();
    let is_inhibited = |text: &str| {
        let (start, end) = ("removals are inhibited by `backup` since ", ": nightly");
        text.starts_with(start) && text.ends_with(end)
    };

    let docker = daemon.prune(ALL).await.refused(409);
    assert!(is_inhibited(&docker), "{docker}");
    let docker = daemon.ask("DELETE", "/images/app:1").await.refused(409);
    assert!(is_inhibited(&docker), "{docker}");

    let mut grpc = pruner(&daemon).await;
    let request = proto::PruneRequest {
        request: Some(all()),
        options: None,
    };
    let events = grpc.prune(request.clone()).await.unwrap().into_inner();
    let refused = finished(events).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(is_inhibited(refused.message()), "{refused}");
    assert_eq!(
        refused.metadata().get("reclaim-error").unwrap(),
        "inhibited"
    );

    let host = format!("unix://{}", daemon.socket().display());
    let hosted = |args: &[&str]| call("", "", &[&["--host", &host], args].concat());
    let output = hosted(&["image", "prune", "-a", "-f"]).exits(4);
    assert!(
        output.stderr.contains("inhibited by `backup`"),
        "{output:?}"
    );
    let plan = hosted(&["image", "prune", "-a", "--dry-run", "--format", "json"]);
    assert_eq!(plan.exits(0).json()["removed"].as_array().unwrap().len(), 1);
    hosted(&["inhibit", "true"]).exits(2);
    assert_eq!(rig.names().await.len(), 1);

    let deletion = reclaim_testkit::Deletion::Async;
    let namespace = &rig.namespace;
    let deleted = namespace.delete_lease("reclaim.inhibit.test", deletion);
    deleted.await.unwrap();
    let done = daemon.prune(ALL).await.done();
    assert_eq!(done["ImagesDeleted"][0], json!({"Untagged": "app:1"}));
}
