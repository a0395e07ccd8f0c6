//! Lists that fail: one of another namespace makes byte counts uncertain, one of the pruned
//! namespace fails the run.

use std::collections::BTreeSet;

use reclaim_testkit::fault::{Act, FaultProxy, Outage, Request};
use reclaim_testkit::{Layer, NewContainer, NewLease, image};
use serde_json::Value;
use tonic::Code;

use super::{PRUNE_ALL, expect, three_apps};
use crate::rig::{Rig, call};

/// Three unused images here, and a bit of everything in another namespace, `other`.
async fn rig_with_other() -> Rig {
    let rig = Rig::start().await;
    three_apps(&rig.namespace).await;
    let other = rig.containerd.namespace("other");
    let copy = image("docker.io/library/app0:1");
    let copy = copy.layers([Layer::named("base", 900)]).unpack("native");
    let copy = copy.build(&other).await.unwrap();
    other.nerdctl_container("web", &copy).await.unwrap();
    other.create_lease(NewLease::new("held")).await.unwrap();
    let plain = NewContainer::new("plain").image("docker.io/library/gone:1");
    other.create_container(plain).await.unwrap();
    rig
}

/// The requests of a dry run that are of this namespace, each once.
fn requests(rig: &Rig, namespace: &str) -> BTreeSet<Request> {
    let proxy = FaultProxy::with_outages(rig.containerd.socket(), []);
    let args = [&PRUNE_ALL[..], &["--dry-run"]].concat();
    call(proxy.address(), "", &args).exits(0);
    let mut requests: BTreeSet<Request> = proxy.requests().into_iter().collect();
    requests.retain(|it| it.namespace == namespace);
    requests
}

/// What cannot be listed in another namespace may keep content of this one, and nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn another_namespace_that_cannot_be_listed_keeps_no_image() {
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
        for shown in [&["df", "-v"][..], &["image", "ls"], &["why", "app0:1"]] {
            call(proxy.address(), "", shown).exits(0);
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
        .map(|it| Outage::of(it, Act::Refuse(Code::Internal)));
    let proxy = FaultProxy::with_outages(rig.containerd.socket(), all);
    let args = [&PRUNE_ALL[..], &["-f"]].concat();
    let report = call(proxy.address(), "", &args).exits(0).json();
    expect(&report, &apps, &[]);
    assert!(rig.names().await.is_empty());
}

/// Content that both namespaces have is not promised while the other cannot be looked at.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_another_namespace_may_keep_are_not_promised() {
    let rig = rig_with_other().await;
    let lists = ["images.v1.Images/List", "content.v1.Content/List"];
    for method in lists {
        let outage = Outage::within("other", method, Act::Refuse(Code::Unavailable));
        let proxy = FaultProxy::with_outages(rig.containerd.socket(), [outage]);
        let args = [&PRUNE_ALL[..], &["--dry-run"]].concat();
        let report = call(proxy.address(), "", &args).exits(0).json();
        let bytes = |of: &str| report[of]["content_bytes"].as_u64().unwrap();
        // The base is in both.
        assert!(
            bytes("estimate_at_least") < bytes("estimate"),
            "{method}: {report:#}"
        );
    }
}

/// Without a list of what may use its images, a namespace is not pruned.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_cannot_be_listed_is_not_pruned() {
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
        let called = call(proxy.address(), "", &args).exits(1);
        assert!(proxy.struck() > 0, "{method}");
        assert!(
            called.stderr.contains("error: list "),
            "{method}: {}",
            called.stderr
        );
        assert_eq!(rig.names().await, before, "{method}");
    }
}

/// Snapshots that cannot be listed may be what every image that is unpacked stands on.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_without_a_list_of_snapshots_loses_nothing_that_is_unpacked() {
    let rig = rig_with_other().await;
    let before = rig.names().await;
    let loose = image("docker.io/library/loose:1").layers([Layer::named("loose", 100)]);
    loose.build(&rig.namespace).await.unwrap();
    let method = "snapshots.v1.Snapshots/List";
    let outage = Outage::within("default", method, Act::Refuse(Code::Internal));
    let proxy = FaultProxy::with_outages(rig.containerd.socket(), [outage]);
    let args = [&PRUNE_ALL[..], &["-f"]].concat();
    let called = call(proxy.address(), "", &args);
    assert!(proxy.struck() > 0);
    let left = rig.names().await;
    assert!(left.is_superset(&before), "{called:#?} leaves {left:?}");
    // Either the run says what it could not see, or that it failed.
    assert!(
        called.stderr.contains("snapshots of `native`"),
        "{called:#?}"
    );
}
