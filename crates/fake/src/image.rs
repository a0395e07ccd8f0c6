//! Images of one platform, stored as after a pull.

use containerd_client::services::v1::Image as Record;
use containerd_client::services::v1::snapshots::{Info as SnapshotInfo, Kind};
use containerd_client::types::Descriptor;
use serde_json::json;

use crate::state::{Labels, Snapshot, State, digest_of};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layer, whose bytes are zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the blob.
    pub digest: String,
    /// The length of the blob in bytes.
    pub length: u64,
    /// The digest of the unpacked layer, as in `diff_ids` of a configuration.
    pub diff: String,
    /// The size of its snapshot on disk, in bytes.
    pub unpacked: u64,
}

/// An image of one platform: a manifest, a configuration and layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    layers: Vec<Layer>,
    manifest: Vec<u8>,
    configuration: Vec<u8>,
}

impl Layer {
    /// Returns a layer whose digests and length are those of `content`.
    pub fn of(content: &str) -> Self {
        let length = content.len() as u64;
        Self {
            digest: digest_of(format!("{content}, compressed").as_bytes()),
            length,
            diff: digest_of(content.as_bytes()),
            unpacked: length.next_multiple_of(4096),
        }
    }
}

impl Image {
    /// Returns an image of layers, lowest first, with labels in the configuration.
    pub fn new(layers: Vec<Layer>, labels: &Labels) -> Self {
        let diffs: Vec<&str> = layers.iter().map(|layer| layer.diff.as_str()).collect();
        let configuration = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": diffs},
        });
        let configuration = configuration.to_string().into_bytes();
        let descriptors = layers
            .iter()
            .map(|layer| json!({"mediaType": LAYER, "digest": layer.digest, "size": layer.length}));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": CONFIG,
                "digest": digest_of(&configuration),
                "size": configuration.len(),
            },
            "layers": descriptors.collect::<Vec<_>>(),
        });
        Self {
            layers,
            manifest: manifest.to_string().into_bytes(),
            configuration,
        }
    }

    /// Returns the target of its records.
    pub fn target(&self) -> Descriptor {
        Descriptor {
            media_type: MANIFEST.to_owned(),
            digest: digest_of(&self.manifest),
            size: i64::try_from(self.manifest.len()).unwrap_or(i64::MAX),
            ..Descriptor::default()
        }
    }

    /// Returns a record with a name.
    pub fn record(&self, name: &str) -> Record {
        Record {
            name: name.to_owned(),
            target: Some(self.target()),
            ..Record::default()
        }
    }

    /// Returns the digests of all its blobs.
    pub fn blobs(&self) -> Vec<String> {
        let own = [digest_of(&self.manifest), digest_of(&self.configuration)];
        let layers = self.layers.iter().map(|layer| layer.digest.clone());
        own.into_iter().chain(layers).collect()
    }

    /// Returns the digest of its configuration, which is its ID for Docker and Kubernetes.
    pub fn config(&self) -> String {
        digest_of(&self.configuration)
    }

    /// Returns the keys of its snapshots, lowest first, which are the chain IDs.
    ///
    /// Source: OCI image specification, `config.md`, "Layer `ChainID`".
    pub fn chains(&self) -> Vec<String> {
        let mut chains: Vec<String> = Vec::new();
        for layer in &self.layers {
            let chain = match chains.last() {
                Some(below) => digest_of(format!("{below} {}", layer.diff).as_bytes()),
                None => layer.diff.clone(),
            };
            chains.push(chain);
        }
        chains
    }

    /// Stores its blobs and snapshots, with the labels that containerd's collector follows. `source` is
    /// the repository that it was pulled from, if there is one.
    pub fn store(
        &self,
        state: &mut State,
        namespace: &str,
        snapshotter: &str,
        source: Option<&str>,
    ) {
        let chains = self.chains();
        let below = [None].into_iter().chain(chains.iter().map(Some));
        for ((layer, chain), below) in self.layers.iter().zip(&chains).zip(below) {
            state.put_opaque_blob(namespace, &layer.digest, layer.length, []);
            let info = SnapshotInfo {
                name: chain.clone(),
                parent: below.cloned().unwrap_or_default(),
                kind: Kind::Committed.into(),
                ..SnapshotInfo::default()
            };
            let snapshot = Snapshot {
                info,
                bytes: layer.unpacked,
                inodes: 1,
            };
            let key = (snapshotter.to_owned(), chain.clone());
            state.put_snapshot(namespace, key, snapshot);
        }
        let source = source.map(|repository| {
            let label = "containerd.io/distribution.source.docker.io".to_owned();
            (label, repository.to_owned())
        });
        let reference = |kind: &str, value: &str| {
            let key = format!("containerd.io/gc.ref.{kind}");
            (key, value.to_owned())
        };
        let top = chains
            .last()
            .map(|top| reference(&format!("snapshot.{snapshotter}"), top));
        let labels = source.clone().into_iter().chain(top);
        let config = state.put_blob(namespace, self.configuration.clone(), labels);
        let layers = self
            .layers
            .iter()
            .enumerate()
            .map(|(index, layer)| reference(&format!("content.l.{index}"), &layer.digest));
        let config = reference("content.config", &config);
        let labels: Vec<_> = source.into_iter().chain([config]).chain(layers).collect();
        state.put_blob(namespace, self.manifest.clone(), labels);
    }
}
