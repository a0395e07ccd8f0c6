//! Containers of slimmed images really start, by the CRI plugin and by `ctr run`, with runc.

use std::collections::BTreeSet;
use std::process::Output;

use reclaim_model::{Digest, Platform};
use reclaim_testkit::{BuiltImage, Containerd, ImageBuilder, Layer, busybox, image};
use serde_json::Value;

use super::{NAMED, SLIM, blobs, config, labels_of, layers, reasons, snapshots, with};
use crate::node::{Node, image_id, records};
use crate::rig::{CommandOutput, Rig, names};

/// The label by which a config keeps what is unpacked.
const UNPACKED: &str = "containerd.io/gc.ref.snapshot.native";

/// Returns layers that no other image has, with a program at the top. busybox takes any name that
/// begins with its own.
fn own_layers(image: ImageBuilder, program: &str) -> ImageBuilder {
    image.layers([
        Layer::named(&format!("base of {program}"), 3000),
        Layer::program(program, busybox()),
        Layer::named(&format!("top of {program}"), 700),
    ])
}

fn chain(image: &BuiltImage) -> BTreeSet<String> {
    let chain = image.manifests[0].chain_ids.iter();
    chain.map(ToString::to_string).collect()
}

/// Asserts which copies of an image's layers exist: unpacked, compressed.
async fn assert_has(rig: &Rig, image: &BuiltImage, is_unpacked: bool, is_packed: bool) {
    let (snapshots, blobs) = (snapshots(rig).await, blobs(rig).await);
    let (chain, layers) = (chain(image), layers(image));
    let has = |all, none, wanted: bool| if wanted { all } else { none };
    assert!(
        has(
            chain.is_subset(&snapshots),
            chain.is_disjoint(&snapshots),
            is_unpacked
        ),
        "{snapshots:#?}"
    );
    let is_as_wanted = has(
        layers.is_subset(&blobs),
        layers.is_disjoint(&blobs),
        is_packed,
    );
    assert!(is_as_wanted, "{blobs:#?}");
    let labels = labels_of(rig, config(image)).await;
    assert_eq!(labels.contains_key(UNPACKED), is_unpacked, "{labels:?}");
}

/// Slims, and returns the report.
fn slim(output: CommandOutput) -> Value {
    output.exits(0).json()
}

/// A pod on a node, whose image is slimmed.
struct Web {
    node: Node,
    image: BuiltImage,
    /// What the plugin has of the image, and the names of all records.
    before: (reclaim_testkit::CriImage, BTreeSet<String>),
}

impl Web {
    async fn start() -> Self {
        // On disk, because a filesystem in memory may be mounted without execute permission.
        let containerd = Containerd::builder().on_disk();
        let idle = |image, program: &str| {
            own_layers(image, program).command(&[&format!("/{program}"), "sleep", "100000"])
        };
        let node = Node::start_on(containerd, |image| idle(image, "busybox-pause")).await;
        node.reclaim(&["pin", node.pause.name()]).exits(0);
        let name = "team/web:1";
        let image = node
            .registry
            .put(name, |image| idle(image.unpack("native"), "busybox-web"));
        node.cri.pull(image.name()).await.unwrap();
        let before = Self::seen(&node, &image).await;
        assert_eq!(before.0.records(), records(&image));
        Self {
            node,
            image,
            before,
        }
    }

    async fn seen(
        node: &Node,
        image: &BuiltImage,
    ) -> (reclaim_testkit::CriImage, BTreeSet<String>) {
        let listed = node.agrees().await;
        let status = node.cri.image(&image_id(image)).await.unwrap();
        (status.expect("the plugin has the image"), listed)
    }

    /// Slims, and asserts that the kubelet sees the image as before.
    async fn slim(&self, parts: &[&str]) -> Value {
        let report = slim(self.node.reclaim(&with(&SLIM, parts)));
        let now = Self::seen(&self.node, &self.image).await;
        assert_eq!(now, self.before);
        assert_eq!(self.node.cri.images().await.unwrap().len(), 2);
        report
    }

    /// Runs a pod with a container of the image, and removes it.
    async fn runs(&self, name: &str) {
        let cri = &self.node.cri;
        let pod = cri.run_pod(name).await.unwrap();
        let id = image_id(&self.image);
        let container = cri.create_container(&pod, "web", &id).await.unwrap();
        cri.start_container(&container).await.unwrap();
        assert!(cri.is_running(&container).await.unwrap());
        cri.remove_pod(&pod).await.unwrap();
    }

    /// Restarts containerd, whose plugin then reads the images again, and asserts that the kubelet
    /// sees the image as before.
    async fn restart(&mut self) {
        self.node.rig.containerd.restart().await;
        self.node.cri = self.node.rig.containerd.cri().await;
        assert_eq!(Self::seen(&self.node, &self.image).await, self.before);
    }

    async fn assert_has(&self, is_unpacked: bool, is_packed: bool) {
        assert_has(&self.node.rig, &self.image, is_unpacked, is_packed).await;
    }
}

/// Pods start of an image that lost its snapshots, then its layers. The kubelet sees the image as
/// before, also after a restart of containerd, and a pull does not fetch the layers while the image is unpacked.
#[tokio::test]
async fn pods_start_of_slimmed_images() {
    let mut web = Web::start().await;
    web.runs("whole").await;
    web.assert_has(true, true).await;

    let report = web.slim(&["--snapshots"]).await;
    let expected: Vec<String> = records(&web.image).into_iter().collect();
    assert_eq!(names(&report["slimmed"]), expected);
    web.restart().await;
    web.assert_has(false, true).await;
    web.runs("without-snapshots").await;
    // The plugin has unpacked it, also for the next pod.
    web.assert_has(true, true).await;

    let report = web.slim(&["--layers"]).await;
    assert_eq!(names(&report["slimmed"]), expected);
    web.restart().await;
    web.assert_has(true, false).await;
    web.runs("without-layers").await;

    // In sequence: its snapshots are the only copy now.
    let report = web.slim(&["--snapshots"]).await;
    assert_eq!(report["slimmed"], Value::Null);
    let name = web.image.name();
    assert_eq!(reasons(&report)[name], "layers_missing");
    web.runs("after-both").await;
    web.assert_has(true, false).await;

    web.node.cri.pull(name).await.unwrap();
    web.assert_has(true, false).await;
    web.runs("pulled-again").await;
    web.node.cri.remove(name).await.unwrap();
    web.node.cri.pull(name).await.unwrap();
    web.assert_has(true, true).await;
    web.runs("fetched-again").await;
}

/// With both parts at once an image in use loses its layers, and another pod of it starts; one that
/// nothing uses loses its snapshots.
#[tokio::test]
async fn pods_start_of_images_that_were_slimmed_while_they_ran() {
    let web = Web::start().await;
    let cri = &web.node.cri;
    let pod = cri.run_pod("running").await.unwrap();
    let id = image_id(&web.image);
    let running = cri.create_container(&pod, "web", &id).await.unwrap();
    cri.start_container(&running).await.unwrap();
    web.slim(&["--snapshots", "--layers"]).await;
    web.assert_has(true, false).await;
    assert!(cri.is_running(&running).await.unwrap());
    web.runs("second").await;
    cri.remove_pod(&pod).await.unwrap();
    web.slim(&["--snapshots", "--layers"]).await;
    web.assert_has(true, false).await;
    web.runs("third").await;
}

/// What `ctr run` prints of a container.
#[track_caller]
fn assert_runs(output: &Output) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:#?}");
    assert_eq!(stdout, "it runs\n", "{output:#?}");
}

/// `ctr run` unpacks an image that is not unpacked, and needs no layers of one that is.
#[tokio::test]
async fn ctr_runs_slimmed_images() {
    let containerd = Containerd::quiet().on_disk().start().await;
    let rig = Rig::on(containerd);
    let (name, host) = ("docker.io/library/app:1", Platform::host());
    let app = own_layers(image(name), "busybox-app")
        .platform(&format!("{}/{}", host.os, host.architecture))
        .command(&["/busybox-app", "echo", "it runs"])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    let app = app.pulled(&rig.namespace).await.unwrap();
    let ctr_run = async |id: &str| rig.containerd.ctr_run("default", name, id).await;
    assert_runs(&ctr_run("whole").await);
    let end = async || rig.namespace.collect().await.unwrap();
    end().await;

    let report = slim(rig.reclaim(&with(&NAMED, &["app:1"])));
    assert_eq!(names(&report["slimmed"]), [name]);
    assert_has(&rig, &app, false, true).await;
    assert_runs(&ctr_run("without-snapshots").await);
    end().await;
    assert_has(&rig, &app, true, true).await;

    let report = slim(rig.reclaim(&with(&NAMED, &["--layers", "app:1"])));
    assert_eq!(names(&report["slimmed"]), [name]);
    assert_has(&rig, &app, true, false).await;
    assert_runs(&ctr_run("without-layers").await);
    end().await;
    let report = slim(rig.reclaim(&with(&NAMED, &["app:1"])));
    assert_eq!(reasons(&report)[name], "layers_missing");
    assert_runs(&ctr_run("after-both").await);
    end().await;
    assert_eq!(rig.names().await, [name.to_owned()].into());

    // What no slim does: without both copies it does not start.
    let config: &Digest = config(&app);
    let cut = rig.namespace.set_blob_label(config, UNPACKED, "");
    cut.await.unwrap();
    end().await;
    assert_has(&rig, &app, false, false).await;
    let failed = ctr_run("without-both").await;
    assert!(!failed.status.success(), "{failed:#?}");
}
