//! A containerd with a small store of several kinds of image, and the result of an undisturbed
//! prune.

use std::sync::Arc;

use reclaim_testkit::fault::{Call, FaultProxy};
use reclaim_testkit::{
    BuiltImage, Containerd, Deletion, Layer, Manifest, NamespaceClient, NewLease, image, index,
    labels,
};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::run::{PRUNE_ALL, reclaim};
use crate::state::State;

/// The image that stays, because the container `web` uses it.
pub(crate) const USED: &str = "docker.io/library/used:1";
/// An unused image with one name.
pub(crate) const UNUSED: &str = "docker.io/library/unused:1";
/// An unused image with two names.
pub(crate) const TWO: &str = "docker.io/library/two:1";
/// An unused image of several platforms.
pub(crate) const PLATFORMS: &str = "docker.io/library/platforms:1";

/// A containerd that runs many cases, one after the other.
pub(crate) struct Fixture {
    /// Behind a lock, because a case may kill and restart it.
    pub(crate) containerd: Arc<Mutex<Containerd>>,
    pub(crate) namespace: NamespaceClient,
    pub(crate) socket: std::path::PathBuf,
    /// What is there before each case.
    pub(crate) before: State,
    /// What is there after an undisturbed `prune -a`.
    pub(crate) end: State,
    /// The report of that run.
    pub(crate) report: Value,
    /// The calls of that run.
    pub(crate) calls: Vec<Call>,
    /// All images; the used one is the last.
    pub(crate) images: Vec<BuiltImage>,
}

impl Fixture {
    /// Starts a containerd, fills it, and prunes it once undisturbed.
    pub(crate) async fn start() -> Self {
        let containerd = Containerd::builder().log_level("warn").start().await;
        let socket = containerd.socket().to_owned();
        let namespace = containerd.namespace("default");
        let images = fill(&namespace).await;
        let used = images.last().unwrap();
        namespace.nerdctl_container("web", used).await.unwrap();
        namespace.collect().await.unwrap();
        let before = State::of(&namespace).await;

        let proxy = FaultProxy::start(&socket, []);
        let ended = reclaim(proxy.address(), &PRUNE_ALL).await;
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let report = ended.report();
        let end = State::of(&namespace).await;
        assert_eq!(report["reclaimed"], report["estimate"], "{report:#}");
        assert_eq!(end.images.keys().collect::<Vec<_>>(), [USED]);
        assert!(end.leases.is_empty(), "{:?}", end.leases);
        Self {
            containerd: Arc::new(Mutex::new(containerd)),
            namespace,
            socket,
            before,
            end,
            report,
            calls: proxy.calls(),
            images,
        }
    }

    /// Builds again what a prune removed.
    pub(crate) async fn refill(&self) -> Result<(), String> {
        fill(&self.namespace).await;
        let state = State::of(&self.namespace).await;
        let differences = state.differences(&self.before);
        if differences.is_empty() {
            Ok(())
        } else {
            Err(format!("cannot refill the store: {differences:#?}"))
        }
    }

    /// Returns the parts that are missing of images that have a record.
    pub(crate) fn broken_images(&self, state: &State) -> Vec<String> {
        let mut missing = Vec::new();
        for image in &self.images {
            if state.images.get(image.name()) != Some(&image.target.digest.to_string()) {
                continue;
            }
            for digest in image.blobs.keys().map(ToString::to_string) {
                if !state.blobs.contains_key(&digest) {
                    missing.push(format!("image {} lacks {digest}", image.name()));
                }
            }
            for manifest in image.manifests.iter().filter(|manifest| manifest.present) {
                for snapshotter in &manifest.snapshotters {
                    for chain_id in &manifest.chain_ids {
                        let snapshot = format!("{snapshotter}/{chain_id}");
                        if !state.snapshots.contains(&snapshot) {
                            missing.push(format!("image {} lacks {snapshot}", image.name()));
                        }
                    }
                }
            }
        }
        missing
    }

    /// Returns the image with this name.
    pub(crate) fn image(&self, name: &str) -> &BuiltImage {
        let mut images = self.images.iter();
        images.find(|image| image.name() == name).unwrap()
    }
}

/// Builds images that do not exist: one with its own layer, two names of one target, one of several
/// platforms, one without a name, and the one that the container uses.
///
/// One lease holds them all, because a collection would otherwise free content that has no record
/// yet.
async fn fill(namespace: &NamespaceClient) -> Vec<BuiltImage> {
    let lease = "filling";
    namespace.create_lease(NewLease::new(lease)).await.unwrap();
    let built = build(&namespace.with_lease(lease)).await;
    namespace
        .delete_lease(lease, Deletion::Async)
        .await
        .unwrap();
    built
}

async fn build(namespace: &NamespaceClient) -> Vec<BuiltImage> {
    let mut built = Vec::new();
    let base = || Layer::named("base", 2000);
    let plain = |name: &str, bytes: usize| {
        image(name)
            .layers([base(), Layer::named(name, bytes)])
            .config_labels(labels([("of", name)]))
            .record_labels(labels([("mark", name)]))
            .unpack("native")
    };
    let alone = image(UNUSED)
        .layers([Layer::named(UNUSED, 700)])
        .unpack("native");
    built.push(alone.build(namespace).await.unwrap());
    let two = plain(TWO, 900).build(namespace).await.unwrap();
    built.push(two.tag(namespace, "docker.io/library/two:2").await.unwrap());
    built.push(two);
    let here = Manifest::new("linux/amd64").layers([base(), Layer::named("amd64", 600)]);
    let there = Manifest::new("linux/arm64").layers([Layer::named("arm64", 800)]);
    let platforms = index(PLATFORMS)
        .manifest(here.unpack("overlayfs").attested())
        .manifest(there);
    built.push(platforms.build(namespace).await.unwrap());
    let lost = plain("lost", 500).unnamed().build(namespace).await.unwrap();
    built.push(lost.dangling(namespace).await.unwrap());
    built.push(plain(USED, 400).build(namespace).await.unwrap());
    built
}
