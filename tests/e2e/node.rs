//! A Kubernetes node without a kubelet: containerd with its CRI plugin, and a registry.

use std::collections::BTreeSet;
use std::time::Duration;

use reclaim_testkit::{
    BuiltImage, Containerd, ContainerdBuilder, Cri, ImageBuilder, Layer, Registry,
};
use serde_json::Value;

use crate::rig::{CommandOutput, Rig};

const PAUSE: &str = "infra/pod-base:1";
pub(crate) const PRUNE: [&str; 7] = [
    "-n",
    "k8s.io",
    "image",
    "prune",
    "-a",
    "-f",
    "--format=json",
];

/// A containerd whose CRI plugin has pulled the sandbox image, and a registry to pull from.
pub(crate) struct Node {
    pub(crate) rig: Rig,
    pub(crate) cri: Cri,
    pub(crate) registry: Registry,
    pub(crate) pause: BuiltImage,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_on(Containerd::builder(), |image| image).await
    }

    /// Starts a node with this containerd, and adds to the sandbox image with `build`.
    pub(crate) async fn start_on(
        containerd: ContainerdBuilder,
        build: impl FnOnce(ImageBuilder) -> ImageBuilder,
    ) -> Self {
        let registry = Registry::start().await;
        let containerd = containerd.cri(&registry.name(PAUSE)).start().await;
        let node = Self {
            cri: containerd.cri().await,
            pause: put_with(&registry, PAUSE, build),
            rig: Rig {
                namespace: containerd.namespace("k8s.io"),
                containerd,
            },
            registry,
        };
        node.cri.pull(node.pause.name()).await.unwrap();
        node
    }

    /// Puts an image into the registry and lets the plugin pull it.
    pub(crate) async fn pulled(&self, name: &str) -> BuiltImage {
        self.pulled_with(name, |image| image).await
    }

    /// Like [`Self::pulled`], and adds to the image with `build`.
    pub(crate) async fn pulled_with(
        &self,
        name: &str,
        build: impl FnOnce(ImageBuilder) -> ImageBuilder,
    ) -> BuiltImage {
        let image = put_with(&self.registry, name, build);
        let id = self.cri.pull(image.name()).await.unwrap();
        assert_eq!(id, image_id(&image));
        image
    }

    pub(crate) fn reclaim(&self, args: &[&str]) -> CommandOutput {
        self.rig.reclaim(&[&["-n", "k8s.io"], args].concat())
    }

    pub(crate) fn prune(&self) -> Value {
        self.rig.reclaim(&PRUNE).exits(0).json()
    }

    /// Waits until the plugin, which follows containerd's events, has the same records as
    /// containerd, and returns their names.
    pub(crate) async fn agrees(&self) -> BTreeSet<String> {
        let mut seen = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..1500 {
            seen = (self.rig.names().await, self.cri.records().await.unwrap());
            if seen.0 == seen.1 {
                return seen.0;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the CRI plugin has other records than containerd: {seen:#?}");
    }

    /// Whether the plugin supports pins, and pins the sandbox image.
    pub(crate) fn knows_pins(&self) -> bool {
        let version = self.rig.containerd.version();
        match (version.major, version.minor) {
            (1, 6) => version.patch >= 22,
            (1, 7) => version.patch >= 3,
            _ => true,
        }
    }
}

fn put_with(
    registry: &Registry,
    name: &str,
    build: impl FnOnce(ImageBuilder) -> ImageBuilder,
) -> BuiltImage {
    registry.put(name, |image| {
        let layers = [Layer::named("base", 2000), Layer::named(name, 500)];
        build(image.layers(layers).unpack("native"))
    })
}

/// Returns the ID that the kubelet uses for an image.
pub(crate) fn image_id(image: &BuiltImage) -> String {
    image.manifests[0].config.digest.to_string()
}

/// Returns the names of the three records that the plugin creates for an image.
pub(crate) fn records(image: &BuiltImage) -> BTreeSet<String> {
    let (repository, _) = image.name().rsplit_once(':').unwrap();
    [
        image.name().to_owned(),
        format!("{repository}@{}", image.target.digest),
        image_id(image),
    ]
    .into()
}
