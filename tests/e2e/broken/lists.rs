//! Lists that fail: in another namespace, byte counts become uncertain; in the pruned namespace,
//! the run fails.

use std::collections::BTreeSet;

use reclaim_testkit::fault::{Act, FaultProxy, Outage, Request};
use reclaim_testkit::{Layer, NewContainer, NewLease, image};
use serde_json::Value;
use tonic::Code;

use super::{PRUNE_ALL, expect, three_apps};
use crate::rig::{Rig, call};

/// Three unused images, and something of every kind in another namespace, `other`.
async fn rig_with_other() -> Rig {
    let rig = Rig::start().await;
    three_apps(&rig.namespace).await;
    let other = rig.containerd.namespace("other");
    let copy = image("docker.io/library/app0:1")
        .layers([Layer::named("base", 900)])
        .unpack("native")
        .build(&other)
        .await
        .unwrap();
    other.nerdctl_container("web", &copy).await.unwrap();
    other.create_lease(NewLease::new("held")).await.unwrap();
    let plain = NewContainer::new("plain").image("docker.io/library/gone:1");
    other.create_container(plain).await.unwrap();
    rig
}

/// Returns the distinct requests that a dry run makes in `namespace`.
fn requests(rig: &Rig, namespace: &str) -> BTreeSet<Request> {
    let proxy = FaultProxy::with_outages(rig.containerd.socket(), []);
    let args = [&PRUNE_ALL[..], &["--dry-run"]].concat();
    call(proxy.address(), "", &args).exits(0);
    let mut requests: BTreeSet<Request> = proxy.requests().into_iter().collect();
    requests.retain(|request| request.namespace == namespace);
    requests
}

/// A failed list of another namespace makes only the byte counts of this one uncertain.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_list_of_another_namespace_keeps_no_image() {
    let rig = rig_with_other().await;
    let apps = ["app0", "app1", "app2"];
    let requests = requests(&rig, "other");
    assert!(requests.len() > 5, "{requests:#?}");
    let args = [&PRUNE_ALL[..], &["--dry-run"]].concat();
    for request in &requests {
        let outage = Outage::of(request, Act::Refuse(Code::Internal));
        let proxy = FaultProxy::with_outages(rig.containerd.socket(), [outage]);
        let report = call(proxy.address(), "", &args).exits(0).json();
        expect(&report, &apps, &[]);
        assert!(proxy.struck() > 0, "{request:?}");
        for command in [&["df", "-v"][..], &["image", "ls"], &["why", "app0:1"]] {
            call(proxy.address(), "", command).exits(0);
        }
        let is_named = |warning: &Value| warning.as_str().unwrap().contains("other");
        let mut warnings = report["warnings"].as_array().unwrap().iter();
        assert!(warnings.any(is_named), "{request:?}: {report:#}");
        let bytes = |of: &str| report[of]["content_bytes"].as_u64().unwrap();
        assert!(
            bytes("estimate_at_least") <= bytes("estimate"),
            "{request:?}"
        );
    }
    let all = requests
        .iter()
        .map(|request| Outage::of(request, Act::Refuse(Code::Internal)));
    let proxy = FaultProxy::with_outages(rig.containerd.socket(), all);
    let args = [&PRUNE_ALL[..], &["-f"]].concat();
    let report = call(proxy.address(), "", &args).exits(0).json();
    expect(&report, &apps, &[]);
    assert!(rig.names().await.is_empty());
}

/// Content of both namespaces is missing from `estimate_at_least` while the other namespace cannot
/// be listed.
#[tokio::test(flavor = "multi_thread")]
async fn the_lower_estimate_leaves_out_what_another_namespace_may_keep() {
    let rig = rig_with_other().await;
    let lists = ["images.v1.Images/List", "content.v1.Content/List"];
    for method in lists {
        let outage = Outage::within("other", method, Act::Refuse(Code::Unavailable));
        let proxy = FaultProxy::with_outages(rig.containerd.socket(), [outage]);
        let args = [&PRUNE_ALL[..], &["--dry-run"]].concat();
        let report = call(proxy.address(), "", &args).exits(0).json();
        let bytes = |of: &str| report[of]["content_bytes"].as_u64().unwrap();
        // Both namespaces have the base layer.
        assert!(
            bytes("estimate_at_least") < bytes("estimate"),
            "{method}: {report:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_prune_a_namespace_that_it_cannot_list() {
    let rig = rig_with_other().await;
    let before = rig.names().await;
    let lists = [
        ("default", "images.v1.Images/List"),
        ("default", "leases.v1.Leases/List"),
        ("default", "containers.v1.Containers/ListStream"),
        ("", "namespaces.v1.Namespaces/List"),
    ];
    for (namespace, method) in lists {
        let outage = Outage::within(namespace, method, Act::Refuse(Code::Internal));
        let proxy = FaultProxy::with_outages(rig.containerd.socket(), [outage]);
        let args = [&PRUNE_ALL[..], &["-f"]].concat();
        let output = call(proxy.address(), "", &args).exits(1);
        assert!(proxy.struck() > 0, "{method}");
        assert!(
            output.stderr.contains("error: list "),
            "{method}: {}",
            output.stderr
        );
        assert_eq!(rig.names().await, before, "{method}");
    }
}

/// Without a list of snapshots, any unpacked image may be in use.
#[tokio::test(flavor = "multi_thread")]
async fn keeps_unpacked_images_without_a_list_of_snapshots() {
    let rig = rig_with_other().await;
    let before = rig.names().await;
    let loose = image("docker.io/library/loose:1").layers([Layer::named("loose", 100)]);
    loose.build(&rig.namespace).await.unwrap();
    let method = "snapshots.v1.Snapshots/List";
    let outage = Outage::within("default", method, Act::Refuse(Code::Internal));
    let proxy = FaultProxy::with_outages(rig.containerd.socket(), [outage]);
    let args = [&PRUNE_ALL[..], &["-f"]].concat();
    let output = call(proxy.address(), "", &args);
    assert!(proxy.struck() > 0);
    let left = rig.names().await;
    assert!(left.is_superset(&before), "{output:#?} leaves {left:?}");
    // Either as a warning, or as the error of a failed run.
    assert!(
        output.stderr.contains("snapshots of `native`"),
        "{output:#?}"
    );
}
