//! Conditions and last use through a daemon.

use std::time::Duration;

use reclaim_api::grpc::proto::selection::Which;
use reclaim_api::grpc::proto::{self, PlanRequest};
use serde_json::Value;
use tonic::Code;

use crate::daemon::Daemon;
use crate::grpc::{built, pruner, removed};
use crate::json::post;
use crate::rig::Rig;

#[tokio::test]
async fn a_daemon_knows_when_images_were_used() {
    let rig = Rig::start().await;
    built(&rig, "app:1").await;
    built(&rig, "web:1").await;
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let host = format!("unix://{}", daemon.socket().display());
    let reclaim = |args: &[&str]| rig.reclaim(&[&["--host", &host], args].concat());
    let list = ["image", "ls", "--format", "json"];
    let is_known = |list: &Value| list["images"][0]["last_used"].is_string();
    while !is_known(&reclaim(&list).exits(0).json()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let table = reclaim(&["image", "ls", "--sort", "used"]).exits(0).stdout;
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head[5..], ["CREATED", "USED", "VERDICT", "LAYERS"]);
    let mut client = pruner(&daemon).await;
    let listed = client.list_images(proto::ListImagesRequest::default());
    let listed = listed.await.unwrap().into_inner();
    assert!(listed.images[0].last_used.is_some(), "{listed:?}");

    let plan = |idle: &str| {
        let filter = format!("unused-for={idle}");
        let args = [
            "image",
            "prune",
            "-a",
            "--dry-run",
            "--format=json",
            "--filter",
            &filter,
        ];
        reclaim(&args).exits(0).json()
    };
    let recent = plan("1h");
    assert_eq!(recent["removed"], serde_json::json!([]));
    let kept = &recent["kept"][0];
    assert_eq!(kept["reason"], "used_recently", "{recent:#}");
    while plan("1s")["removed"].as_array().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The plan that is confirmed is the one that was shown.
    let prune = [
        "image",
        "prune",
        "-a",
        "--filter=unused-for=1s",
        "--filter=reference=app:*",
    ];
    let args = [&["--host", &host][..], &prune].concat();
    let pruned = rig.reclaim_with("y\n", &args).exits(0);
    assert!(pruned.stdout.contains("untagged: app:1\n"), "{pruned:#?}");
    assert_eq!(rig.names().await.len(), 1);
}

/// A request over gRPC: conditions are filters.
fn with(filters: &[&str]) -> PlanRequest {
    let filters = proto::Filters {
        all: true,
        filters: filters.iter().map(|it| (*it).to_owned()).collect(),
    };
    PlanRequest {
        request: Some(proto::Request {
            selection: Some(proto::Selection {
                which: Some(Which::Filters(filters)),
            }),
            ..proto::Request::default()
        }),
    }
}

#[tokio::test]
async fn grpc_takes_conditions_as_filters() {
    let rig = Rig::start().await;
    for name in ["app:1", "app:2", "web:1"] {
        built(&rig, name).await;
    }
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let mut client = pruner(&daemon).await;
    for (filters, expected) in [
        (&["reference=app:*"][..], &["app:1", "app:2"][..]),
        (&["reference=app:*", "keep-newest=1"], &["app:1"]),
        (&["keep-newest=1"], &["app:1"]),
        (&["larger-than=1GB"], &[]),
    ] {
        let planned = client.plan(with(filters)).await.unwrap().into_inner();
        let report = planned.report.unwrap();
        let names: Vec<&str> = removed(&report);
        let names = names
            .iter()
            .map(|name| name.trim_start_matches("docker.io/library/"));
        assert_eq!(names.collect::<Vec<_>>(), expected, "{filters:?}");
    }
    for filter in [
        "keep-newest=0",
        "keep-newest=",
        "reference=",
        "unused-for=x",
        "colour=red",
    ] {
        let refused = client.plan(with(&[filter])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{filter}: {refused}");
    }
}

#[tokio::test]
async fn json_takes_conditions_and_applies_the_plan_that_it_shows() {
    let rig = Rig::start().await;
    for name in ["app:1", "app:2", "web:1"] {
        built(&rig, name).await;
    }
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let request = |conditions: Value| {
        serde_json::json!({
            "selection": {"filters": {"dangling": ["false"]}},
            "conditions": conditions,
        })
    };
    for conditions in [
        serde_json::json!({"filters": ["until=24h"]}),
        serde_json::json!({"filters": ["reference="]}),
        serde_json::json!({"filters": [""]}),
        serde_json::json!({"keep": 1}),
    ] {
        let refused = post(&daemon, "/plan", &request(conditions)).await;
        assert_eq!(refused.status, 400, "{refused:#?}");
    }
    let by_name = serde_json::json!({
        "selection": {"named": {"names": ["app:1"]}},
        "conditions": {"keep_newest": 1},
    });
    let refused = post(&daemon, "/plan", &by_name).await;
    assert_eq!(refused.status, 400, "{refused:#?}");
    let conditions = serde_json::json!({"filters": ["reference=app:*"], "keep_newest": 1});
    let planned = post(&daemon, "/plan", &request(conditions)).await.done();
    // Meanwhile a newer one is pulled: what was confirmed goes, and no more.
    built(&rig, "app:3").await;
    let apply = format!("/plans/{}/apply", planned["plan"].as_str().unwrap());
    let applied = post(&daemon, &apply, &serde_json::json!({})).await;
    assert_eq!(applied.status, 200, "{applied:#?}");
    let names: Vec<String> = rig.names().await.into_iter().collect();
    let expected = ["app:2", "app:3", "web:1"].map(|name| format!("docker.io/library/{name}"));
    assert_eq!(names, expected);
}
