//! Manifests: the image of one platform, with its config and layers.

use reclaim_model::Digest;
use serde_json::{Value, json};

use super::blob::{Blob, Format, descriptor_json};
use super::built::BuiltManifest;
use super::layer::Layer;
use crate::labels::{GC_REF_SNAPSHOT, Labels};
use crate::namespace::{Descriptor, digest_of};

/// The image of one platform, before rendering.
#[derive(Debug, Clone)]
#[must_use = "a manifest is part of an image"]
pub struct Manifest {
    platform: String,
    layers: Vec<Layer>,
    config_labels: Labels,
    command: Vec<String>,
    snapshotters: Vec<String>,
    absent: bool,
    discard_layers: bool,
    attested: bool,
}

impl Manifest {
    /// Returns the image of a platform such as `linux/arm64/v8`, without layers.
    pub fn new(platform: &str) -> Self {
        Self {
            platform: platform.to_owned(),
            layers: Vec::new(),
            config_labels: Labels::new(),
            command: Vec::new(),
            snapshotters: Vec::new(),
            absent: false,
            discard_layers: false,
            attested: false,
        }
    }

    /// Sets the platform.
    pub fn platform(mut self, platform: &str) -> Self {
        platform.clone_into(&mut self.platform);
        self
    }

    /// Adds layers on top.
    pub fn layers(mut self, layers: impl IntoIterator<Item = Layer>) -> Self {
        self.layers.extend(layers);
        self
    }

    /// Adds labels to the config, which `docker image prune --filter label=` reads.
    pub fn config_labels(mut self, labels: Labels) -> Self {
        self.config_labels.extend(labels);
        self
    }

    /// Sets the command of its containers.
    pub fn command(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Unpacks the layers into a snapshotter. The config refers to the top snapshot.
    pub fn unpack(mut self, snapshotter: &str) -> Self {
        self.snapshotters.push(snapshotter.to_owned());
        self
    }

    /// Leaves out all blobs, as a pull of another platform does. The index still names the manifest
    /// and refers to it.
    pub fn absent(mut self) -> Self {
        self.absent = true;
        self
    }

    /// Leaves out the layer blobs and the references to them, as `discard_unpacked_layers` of
    /// containerd's CRI plugin does.
    pub fn discard_layers(mut self) -> Self {
        self.discard_layers = true;
        self
    }

    /// Adds an attestation of this manifest to the index, as `BuildKit` does.
    pub fn attested(mut self) -> Self {
        self.attested = true;
        self
    }

    pub(super) fn is_attested(&self) -> bool {
        self.attested
    }

    /// Renders the blobs. The first one is the manifest.
    pub(super) fn render(&self, format: Format) -> RenderedManifest {
        let layers: Vec<Blob> = self
            .layers
            .iter()
            .map(|layer| Blob::new(format.layer(), layer.tar()))
            .collect();
        let diff_ids: Vec<Digest> = layers
            .iter()
            .map(|layer| layer.descriptor.digest.clone())
            .collect();
        let chain_ids = chain_ids(&diff_ids);
        let mut config = Blob::json(format.config(), &self.config(&diff_ids));
        if let Some(top) = chain_ids.last() {
            for snapshotter in &self.snapshotters {
                let label = format!("{GC_REF_SNAPSHOT}.{snapshotter}");
                config.labels.insert(label, top.to_string());
            }
        }
        let descriptors: Vec<Descriptor> = layers
            .iter()
            .map(|layer| layer.descriptor.clone())
            .collect();
        let document = manifest_json(format, &config.descriptor, &descriptors);
        let mut manifest = Blob::json(format.manifest(), &document);
        manifest.refer("config", &config.descriptor);
        if !self.discard_layers {
            for (index, layer) in descriptors.iter().enumerate() {
                manifest.refer(&format!("l.{index}"), layer);
            }
        }
        let built = BuiltManifest {
            platform: self.platform.clone(),
            manifest: manifest.descriptor.clone(),
            config: config.descriptor.clone(),
            layers: descriptors,
            chain_ids,
            snapshotters: self.snapshotters.clone(),
            present: !self.absent,
        };
        let mut blobs = Vec::new();
        if !self.absent {
            blobs.extend([manifest, config]);
            if !self.discard_layers {
                blobs.extend(layers);
            }
        }
        RenderedManifest {
            built,
            blobs,
            layers: self.layers.clone(),
        }
    }

    fn config(&self, diff_ids: &[Digest]) -> Value {
        let mut config = platform_json(&self.platform);
        config["created"] = json!("2024-02-03T04:05:06Z");
        config["config"] = json!({ "Labels": self.config_labels });
        if !self.command.is_empty() {
            config["config"]["Cmd"] = json!(self.command);
        }
        config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        config
    }
}

/// The blobs of a [`Manifest`], and the layers to unpack.
#[derive(Debug)]
pub(crate) struct RenderedManifest {
    pub(crate) built: BuiltManifest,
    /// The blobs to write; empty if the manifest is absent.
    pub(crate) blobs: Vec<Blob>,
    pub(super) layers: Vec<Layer>,
}

/// Returns the platform of this machine, for images that are pulled.
pub fn host_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}

pub(super) fn manifest_json(format: Format, config: &Descriptor, layers: &[Descriptor]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": format.manifest(),
        "config": descriptor_json(config),
        "layers": layers.iter().map(descriptor_json).collect::<Vec<_>>(),
    })
}

/// Returns the JSON of `os/architecture[/variant]`, as in configs and indexes.
pub(super) fn platform_json(platform: &str) -> Value {
    let mut parts = platform.splitn(3, '/');
    let mut json = json!({
        "os": parts.next(),
        "architecture": parts.next(),
    });
    if let Some(variant) = parts.next() {
        json["variant"] = json!(variant);
    }
    json
}

/// Returns the chain ID of every layer.
///
/// That of the lowest layer is its diff ID; that of any other is the digest of
/// `<chain ID below> <diff ID>`.
///
/// Source: OCI image specification, "Layer `ChainID`".
fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => digest_of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}
