//! Snapshotters that are not there, or do not answer.

use reclaim_testkit::{Health, Layer, NewContainer, ProxySnapshotter, image};
use tonic::Code;

use super::{PRUNE_ALL, all_agree, expect, only_warning, prune, three_apps, within_a_minute};
use crate::rig::Rig;

const LAZY: &str = "docker.io/library/lazy:1";

/// Three images on the native snapshotter, and one that a proxy has.
async fn rig_with_lazy() -> (ProxySnapshotter, Rig) {
    let proxy = ProxySnapshotter::start("lazy");
    let rig = Rig::on(proxy.containerd().start().await);
    three_apps(&rig.namespace).await;
    let lazy = image(LAZY)
        .layers([Layer::named("lazy", 500)])
        .unpack("lazy");
    lazy.build(&rig.namespace).await.unwrap();
    rig.namespace.collect().await.unwrap();
    (proxy, rig)
}

/// A snapshotter that reports no sizes keeps no image.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshotter_without_sizes_keeps_nothing() {
    let (proxy, rig) = rig_with_lazy().await;
    proxy.set(Health::WithoutSizes(Code::Unimplemented));
    all_agree(&rig);
    for mode in ["--dry-run", "-f"] {
        let report = prune(&rig, &[mode]).exits(0).json();
        expect(&report, &["app0", "app1", "app2", "lazy"], &[]);
        only_warning(&report, "size of 1 snapshot of `lazy`");
    }
    assert!(rig.names().await.is_empty());
    assert!(rig.namespace.snapshots("lazy").await.unwrap().is_empty());
}

/// What a broken snapshotter may hold stays, the rest goes, and it takes no longer than a minute.
async fn keeps_what_it_may_hold(rig: &Rig) {
    within_a_minute(rig, &["df", "-v"]).exits(0);
    within_a_minute(rig, &["image", "ls"]).exits(0);
    for mode in ["--dry-run", "-f"] {
        let called = within_a_minute(rig, &[&PRUNE_ALL[..], &[mode]].concat());
        let report = called.exits(0).json();
        let reason = report["kept"][0]["reason"].as_str().unwrap();
        expect(&report, &["app0", "app1", "app2"], &[("lazy", reason)]);
        only_warning(&report, "`lazy`");
    }
    assert_eq!(rig.names().await, [LAZY.to_owned()].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_snapshotter_keeps_what_it_may_hold() {
    let (mut proxy, rig) = rig_with_lazy().await;
    proxy.die().await;
    keeps_what_it_may_hold(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_snapshotter_keeps_what_it_may_hold() {
    let (proxy, rig) = rig_with_lazy().await;
    proxy.set(Health::Hanging);
    keeps_what_it_may_hold(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_snapshotter_keeps_what_it_may_hold() {
    let (proxy, rig) = rig_with_lazy().await;
    for code in [Code::Internal, Code::Unknown, Code::Unavailable] {
        three_apps(&rig.namespace).await;
        proxy.set(Health::Failing(code));
        keeps_what_it_may_hold(&rig).await;
    }
    // Once it is well again, so is all else.
    proxy.set(Health::Healthy);
    let report = prune(&rig, &["-f"]).exits(0).json();
    expect(&report, &["lazy"], &[]);
}

/// A container on a snapshotter that has been taken out of the configuration keeps the image
/// that it names. Nothing else can be below it there.
#[tokio::test]
async fn a_container_on_a_snapshotter_that_is_gone_keeps_what_it_names() {
    let rig = Rig::start().await;
    let apps = three_apps(&rig.namespace).await;
    let old = NewContainer::new("old")
        .image(apps[0].name())
        .snapshot("stargz", "old");
    rig.namespace.create_container(old).await.unwrap();
    all_agree(&rig);
    rig.reclaim(&["image", "rm", "app1:1"]).exits(0);
    let called = prune(&rig, &["-f"]).exits(0);
    let report = called.json();
    expect(&report, &["app2"], &[("app0", "in_use")]);
    let warning = only_warning(&report, "`stargz`");
    assert!(warning.contains("hint: "), "{warning}");
    assert!(called.stderr.contains(warning), "{}", called.stderr);
}
