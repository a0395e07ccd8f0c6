//! Generates the inventory of a large host. All images are unpacked and have a manifest, a config
//! and layers, some of which many images share; one image in ten has a container.

use std::collections::BTreeMap;
use std::sync::Arc;

use reclaim_model::{
    Blob, Child, Config, Container, Digest, Document, DocumentKind, GcLabelSet, GcLabels, GcRef,
    ImageRecord, Inventory, Namespace, NamespaceInventory, PruneFilters, ResolvedRequest, Snapshot,
    SnapshotId, SnapshotKind, Snapshotter, Sources, Target, Texts,
};

/// Layers that only one image has.
const OWN_LAYERS: u64 = 8;
/// Layers below them, which [`IMAGES_PER_BASE`] images share.
const BASE_LAYERS: u64 = 10;
const IMAGES_PER_BASE: u64 = 100;
const IMAGES_PER_CONTAINER: u64 = 10;

/// Returns a request to prune all unused images.
pub(crate) fn prune_all() -> ResolvedRequest {
    ResolvedRequest::new(
        namespace(),
        PruneFilters {
            dangling: Some(false),
            ..PruneFilters::default()
        },
    )
}

/// Returns the namespace of all images.
pub(crate) fn namespace() -> Namespace {
    "k8s.io".parse().expect("a valid namespace")
}

/// Returns an evenly distributed digest, like a real one: `SplitMix64` of a kind and a number.
fn digest(kind: u64, number: u64) -> Digest {
    let mut state = kind << 56 ^ number;
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes());
    }
    Digest::Sha256(bytes)
}

/// Returns the number of a layer or chain, which images of the same base share.
fn layer_number(image: u64, depth: u64) -> u64 {
    const BASES: u64 = 1 << 40;
    match depth.checked_sub(BASE_LAYERS) {
        Some(own) => image * OWN_LAYERS + own,
        None => BASES + image / IMAGES_PER_BASE * BASE_LAYERS + depth,
    }
}

fn chain(image: u64, depth: u64) -> Digest {
    digest(4, layer_number(image, depth))
}

/// The key of a snapshot.
enum Key {
    Chain(Digest),
    Container(Digest),
    Init(Digest),
}

impl Key {
    /// Returns what orders keys like their texts.
    fn order(&self) -> (bool, &[u8], bool) {
        let (Self::Chain(digest) | Self::Container(digest) | Self::Init(digest)) = self;
        let is_chain = matches!(self, Self::Chain(_));
        (is_chain, digest.bytes(), matches!(self, Self::Init(_)))
    }

    fn text(&self) -> String {
        match self {
            Self::Chain(digest) => digest.to_string(),
            Self::Container(digest) => digest.hex(),
            Self::Init(digest) => format!("{}-init", digest.hex()),
        }
    }
}

/// Returns the inventory of this many images, which have about ten blobs and ten snapshots each.
pub(crate) fn inventory(images: u64) -> Inventory {
    let snapshotter: Snapshotter = Arc::from("overlayfs");
    let mut host = NamespaceInventory::default();
    let mut documents = BTreeMap::new();
    let mut snapshots = Vec::new();
    for image in 0..images {
        add_image(&mut host, &mut documents, image);
        let is_first = image % IMAGES_PER_BASE == 0;
        let first = if is_first { 0 } else { BASE_LAYERS };
        for depth in first..BASE_LAYERS + OWN_LAYERS {
            let layer = digest(3, layer_number(image, depth));
            host.blobs.push(blob(layer, Box::default()));
            let parent = depth.checked_sub(1).map(|below| chain(image, below));
            snapshots.push((Key::Chain(chain(image, depth)), parent));
        }
        let top = chain(image, BASE_LAYERS + OWN_LAYERS - 1);
        // Docker creates such a snapshot below each container's. Here those of removed containers
        // are left, too.
        let container = digest(5, image);
        snapshots.push((Key::Init(container.clone()), Some(top.clone())));
        if image % IMAGES_PER_CONTAINER == 0 {
            let id = container.hex();
            snapshots.push((Key::Container(container), Some(top)));
            host.containers.push(Container {
                snapshot: Some(SnapshotId::new(snapshotter.clone(), &*id)),
                id,
                image: host
                    .images
                    .last()
                    .map_or_else(String::new, |image| image.name.clone()),
                ..Container::default()
            });
        }
    }
    host.images.sort_by(|a, b| a.name.cmp(&b.name));
    host.blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    host.containers.sort_by(|a, b| a.id.cmp(&b.id));
    host.snapshots.insert(snapshotter, listed(snapshots));
    Inventory {
        namespaces: BTreeMap::from([(namespace(), host)]),
        documents,
        ..Inventory::default()
    }
}

/// Adds the record, manifest and config of an image, without its layers.
fn add_image(
    host: &mut NamespaceInventory,
    documents: &mut BTreeMap<Digest, Document>,
    image: u64,
) {
    let [manifest, config] = [digest(1, image), digest(2, image)];
    let layers = (0..BASE_LAYERS + OWN_LAYERS).map(|depth| digest(3, layer_number(image, depth)));
    let children: Vec<Child> = std::iter::once((config.clone(), DocumentKind::Config))
        .chain(layers.map(|layer| (layer, DocumentKind::Leaf)))
        .map(|(digest, kind)| Child {
            digest,
            size: 1,
            kind,
            is_attestation: false,
            is_layer: kind == DocumentKind::Leaf,
        })
        .collect();
    let named = children
        .iter()
        .map(|child| GcRef::Content(child.digest.clone()));
    host.blobs.push(blob(manifest.clone(), named.collect()));
    let top = digest(4, layer_number(image, BASE_LAYERS + OWN_LAYERS - 1));
    let unpacked = GcRef::Snapshot(SnapshotId::new("overlayfs", &*top.to_string()));
    host.blobs.push(blob(config.clone(), [unpacked].into()));
    documents.insert(manifest.clone(), Document::Manifest(children));
    let described = Config {
        chain_id: Some(top),
        ..Config::default()
    };
    documents.insert(config, Document::Config(described));
    host.images.push(ImageRecord {
        name: format!(
            "registry.example/team-{}/service-{image}:1.{image}",
            image % 97
        ),
        target: Target {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: manifest,
            size: 1_234,
            annotations: BTreeMap::new(),
        },
        labels: BTreeMap::new(),
        created_at: None,
        updated_at: None,
        gc: GcLabels::default(),
        expires: None,
    });
}

fn blob(digest: Digest, refs: Box<[GcRef]>) -> Blob {
    Blob {
        digest,
        size: 1,
        gc: GcLabelSet {
            refs,
            ..GcLabelSet::default()
        }
        .into(),
        sources: Sources::default(),
    }
}

/// Returns the snapshots, with the chain of each one's parent, as they are read: containerd lists them
/// in the order of their keys.
fn listed(mut snapshots: Vec<(Key, Option<Digest>)>) -> Vec<Snapshot> {
    snapshots.sort_unstable_by(|(key, _), (other, _)| key.order().cmp(&other.order()));
    let mut texts = Texts::default();
    let listed = snapshots.iter().map(|(key, parent)| Snapshot {
        key: texts.share(&key.text()),
        parent: parent
            .as_ref()
            .map(|parent| texts.share(&parent.to_string())),
        kind: match key {
            Key::Container(_) => SnapshotKind::Active,
            Key::Chain(_) | Key::Init(_) => SnapshotKind::Committed,
        },
        gc: GcLabels::default(),
    });
    listed.collect()
}
