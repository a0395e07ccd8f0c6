//! What can be pulled: images of a few repositories, which share layers.

use std::collections::BTreeMap;

use reclaim_fake::api::services::v1::snapshots::{Info as SnapshotInfo, Kind};
use reclaim_fake::api::types::Descriptor;
use reclaim_fake::{Snapshot, State};
use reclaim_model::Digest;
use reclaim_testkit::{Dice, digest_of};
use serde_json::json;

pub(crate) const SNAPSHOTTER: &str = "overlayfs";

/// Length of a block of the disk.
pub(crate) const BLOCK: u64 = 4096;

/// An image, by its place in the registry.
pub(crate) type ImageId = usize;

#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) repository: String,
    pub(crate) version: usize,
    pub(crate) target: Digest,
    pub(crate) config: Digest,
    manifest: Vec<u8>,
    configuration: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
    /// Whether it was built here: no registry is known to have it.
    pub(crate) is_local: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) digest: Digest,
    length: u64,
    /// What it is unpacked.
    diff: Digest,
    /// The key of its snapshot: the chain of everything below and itself.
    pub(crate) chain: Digest,
    parent: Option<Digest>,
    unpacked: u64,
}

impl Image {
    pub(crate) fn tag(&self) -> String {
        format!("docker.io/library/{}:v{}", self.repository, self.version)
    }

    pub(crate) fn latest(&self) -> String {
        format!("docker.io/library/{}:latest", self.repository)
    }

    /// Returns the key of the topmost snapshot.
    pub(crate) fn chain(&self) -> String {
        let top = self.layers.last().expect("an image has layers");
        top.chain.to_string()
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: self.target.to_string(),
            size: i64::try_from(self.manifest.len()).expect("it is short"),
            ..Descriptor::default()
        }
    }

    /// Stores all that it is made of, with the labels of a puller.
    pub(crate) fn store(&self, state: &mut State, namespace: &str) {
        for layer in &self.layers {
            let digest = layer.digest.to_string();
            state.put_opaque_blob(namespace, &digest, layer.length, []);
            let key = (SNAPSHOTTER.to_owned(), layer.chain.to_string());
            let parent = layer.parent.as_ref().map(ToString::to_string);
            let info = SnapshotInfo {
                name: key.1.clone(),
                parent: parent.unwrap_or_default(),
                kind: Kind::Committed.into(),
                ..SnapshotInfo::default()
            };
            let snapshot = Snapshot {
                info,
                bytes: layer.unpacked,
                inodes: 1,
            };
            state.put_snapshot(namespace, key, snapshot);
        }
        let source = (!self.is_local).then(|| {
            let label = "containerd.io/distribution.source.docker.io".to_owned();
            (label, format!("library/{}", self.repository))
        });
        let reference = |kind: &str, value: String| (format!("containerd.io/gc.ref.{kind}"), value);
        let unpacked = reference(&format!("snapshot.{SNAPSHOTTER}"), self.chain());
        let labels = source.clone().into_iter().chain([unpacked]);
        state.put_blob(namespace, self.configuration.clone(), labels);
        let config = reference("content.config", self.config.to_string());
        let layers = self.layers.iter().enumerate();
        let layers =
            layers.map(|(n, it)| reference(&format!("content.l.{n}"), it.digest.to_string()));
        let labels: Vec<_> = source.into_iter().chain([config]).chain(layers).collect();
        state.put_blob(namespace, self.manifest.clone(), labels);
    }
}

#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) images: Vec<Image>,
}

impl Registry {
    pub(crate) fn generate(dice: &mut Dice) -> Self {
        let mut images = Vec::new();
        let bases: Vec<Layer> = (0..dice.between(1, 3))
            .map(|_| layer(dice, None, 2000))
            .collect();
        for repository in 0..dice.between(2, 5) {
            let base = dice.pick(&bases).clone();
            let middle = layer(dice, Some(&base), 800);
            for version in 0..dice.between(1, 6) {
                let below = if dice.percent(70) {
                    vec![base.clone(), middle.clone()]
                } else {
                    vec![base.clone()]
                };
                let top = layer(dice, below.last(), 1200);
                let layers = [below, vec![top]].concat();
                let is_local = dice.percent(15);
                images.push(image(format!("r{repository}"), version, layers, is_local));
            }
        }
        Self { images }
    }

    /// Returns the image that has a target; `None` for what was never in the registry.
    pub(crate) fn image_of(&self, target: &str) -> Option<ImageId> {
        let mut images = self.images.iter();
        images.position(|it| it.target.to_string() == target)
    }

    /// Returns what everything together takes on a disk.
    pub(crate) fn bytes(&self) -> u64 {
        let mut things: BTreeMap<&Digest, u64> = BTreeMap::new();
        for image in &self.images {
            things.insert(&image.target, image.manifest.len() as u64);
            things.insert(&image.config, image.configuration.len() as u64);
            for layer in &image.layers {
                things.insert(&layer.digest, layer.length);
                things.insert(&layer.chain, layer.unpacked);
            }
        }
        things.values().map(|it| it.next_multiple_of(BLOCK)).sum()
    }
}

fn layer(dice: &mut Dice, below: Option<&Layer>, most_blocks: usize) -> Layer {
    let blocks = dice.between(1, most_blocks) as u64;
    let diff = random_digest(dice);
    let parent = below.map(|it| it.chain.clone());
    let chain = match &parent {
        Some(parent) => digest_of(format!("{parent} {diff}").as_bytes()),
        None => diff.clone(),
    };
    Layer {
        digest: random_digest(dice),
        length: (blocks * BLOCK / 2)
            .saturating_sub(dice.below(2000) as u64)
            .max(1),
        diff,
        chain,
        parent,
        unpacked: blocks * BLOCK,
    }
}

fn image(repository: String, version: usize, layers: Vec<Layer>, is_local: bool) -> Image {
    let diffs: Vec<String> = layers.iter().map(|it| it.diff.to_string()).collect();
    let configuration = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"version": version.to_string(), "repository": repository}},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    let configuration = configuration.to_string().into_bytes();
    let config = digest_of(&configuration);
    let described = layers.iter().map(|it| {
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": it.digest.to_string(),
            "size": it.length,
        })
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.to_string(),
            "size": configuration.len(),
        },
        "layers": described.collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    Image {
        repository,
        version,
        target: digest_of(&manifest),
        config,
        manifest,
        configuration,
        layers,
        is_local,
    }
}

fn random_digest(dice: &mut Dice) -> Digest {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&dice.roll().to_be_bytes());
    }
    Digest::Sha256(bytes)
}
