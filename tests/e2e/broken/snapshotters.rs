//! Snapshotters that are missing, fail or do not answer.

use reclaim_testkit::{Health, Layer, NewContainer, ProxySnapshotter, image};
use tonic::Code;

use super::{PRUNE_ALL, all_agree, expect, only_warning, prune, three_apps, within_a_minute};
use crate::rig::Rig;

const LAZY: &str = "docker.io/library/lazy:1";

/// Three images in the native snapshotter, and one in a proxy snapshotter.
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

#[tokio::test(flavor = "multi_thread")]
async fn prunes_images_of_a_snapshotter_that_reports_no_sizes() {
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

/// Asserts that a prune keeps the image of the broken snapshotter, removes all others, and ends
/// within a minute.
async fn check_only_lazy_is_kept(rig: &Rig) {
    within_a_minute(rig, &["df", "-v"]).exits(0);
    within_a_minute(rig, &["image", "ls"]).exits(0);
    for mode in ["--dry-run", "-f"] {
        let output = within_a_minute(rig, &[&PRUNE_ALL[..], &[mode]].concat());
        let report = output.exits(0).json();
        let reason = report["kept"][0]["reason"].as_str().unwrap();
        expect(&report, &["app0", "app1", "app2"], &[("lazy", reason)]);
        only_warning(&report, "`lazy`");
    }
    assert_eq!(rig.names().await, [LAZY.to_owned()].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_snapshotter_keeps_its_images() {
    let (mut proxy, rig) = rig_with_lazy().await;
    proxy.die().await;
    check_only_lazy_is_kept(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_snapshotter_keeps_its_images() {
    let (proxy, rig) = rig_with_lazy().await;
    proxy.set(Health::Hanging);
    check_only_lazy_is_kept(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_snapshotter_keeps_its_images() {
    let (proxy, rig) = rig_with_lazy().await;
    for code in [Code::Internal, Code::Unknown, Code::Unavailable] {
        three_apps(&rig.namespace).await;
        proxy.set(Health::Failing(code));
        check_only_lazy_is_kept(&rig).await;
    }
    // The image is removed after the snapshotter recovers.
    proxy.set(Health::Healthy);
    let report = prune(&rig, &["-f"]).exits(0).json();
    expect(&report, &["lazy"], &[]);
}

/// A container whose snapshotter was removed from containerd's configuration keeps the image that
/// it names, and no other image.
#[tokio::test]
async fn a_container_of_a_missing_snapshotter_keeps_the_image_that_it_names() {
    let rig = Rig::start().await;
    let apps = three_apps(&rig.namespace).await;
    let old = NewContainer::new("old")
        .image(apps[0].name())
        .snapshot("stargz", "old");
    rig.namespace.create_container(old).await.unwrap();
    all_agree(&rig);
    rig.reclaim(&["image", "rm", "app1:1"]).exits(0);
    let output = prune(&rig, &["-f"]).exits(0);
    let report = output.json();
    expect(&report, &["app2"], &[("app0", "in_use")]);
    let warning = only_warning(&report, "`stargz`");
    assert!(warning.contains("hint: "), "{warning}");
    assert!(output.stderr.contains(warning), "{}", output.stderr);
}
