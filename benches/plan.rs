//! How long the judge thinks about a large host, and how much memory it takes for that.
//!
//! The store is one as a busy node has it: images of one manifest, one config and eight layers,
//! of which five belong to a base that twenty images share; all unpacked; one image in ten has a
//! container. Time and memory are those of `decide` alone; the inventory is there before.

use std::collections::BTreeMap;
use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box};
use reclaim_model::{
    Blob, BuildHistory, Child, Config, Container, Digest, Document, DocumentKind, GcLabels, GcRef,
    ImageRecord, Inventory, Namespace, NamespaceInventory, PruneFilters, PruneRequest, Selection,
    Snapshot, SnapshotId, SnapshotKind, Snapshotter, Target,
};
use reclaim_plan::decide;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const IMAGES_PER_BASE: u64 = 20;
const IMAGES_PER_CONTAINER: u64 = 10;
const BASE_LAYERS: u64 = 5;
const LAYERS: u64 = 8;

fn main() {
    divan::main();
}

/// Judges a whole host with `-a`.
#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 9, sample_size = 1)]
fn prune_all(bencher: Bencher<'_, '_>, images: u64) {
    let inventory = inventory(images);
    let request = PruneRequest {
        namespace: namespace(),
        selection: Selection::Filters(PruneFilters {
            dangling: Some(false),
            ..PruneFilters::default()
        }),
        target: None,
        may_empty_namespace: false,
        may_lack_namespace: false,
        history: BuildHistory::Keep,
    };
    bencher.bench(|| decide(black_box(&inventory), &[], &request));
}

fn namespace() -> Namespace {
    "k8s.io".parse().expect("a valid namespace")
}

/// A digest as even as a real one: `SplitMix64` of what it is for.
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

fn manifest(image: u64) -> Digest {
    digest(1, image)
}

fn config(image: u64) -> Digest {
    digest(2, image)
}

/// Layers and chains have the numbers of their image, or of its base.
fn owner(image: u64, depth: u64) -> u64 {
    let owner = if depth < BASE_LAYERS {
        image / IMAGES_PER_BASE
    } else {
        image
    };
    owner * LAYERS + depth
}

fn layer(image: u64, depth: u64) -> Digest {
    digest(3, owner(image, depth))
}

fn chain(image: u64, depth: u64) -> Digest {
    digest(4, owner(image, depth))
}

fn inventory(images: u64) -> Inventory {
    let snapshotter: Snapshotter = Arc::from("overlayfs");
    let mut host = NamespaceInventory::default();
    let mut documents = BTreeMap::new();
    let mut snapshots = Vec::new();
    for image in 0..images {
        host.images.push(record(image));
        documents.insert(manifest(image), Document::Manifest(children(image)));
        let top = chain(image, LAYERS - 1);
        let unpacked = GcRef::Snapshot(SnapshotId::new(snapshotter.clone(), &*top.to_string()));
        let described = Config {
            chain_id: Some(top),
            ..Config::default()
        };
        documents.insert(config(image), Document::Config(described));
        let named = children(image).into_iter().map(|it| it.digest);
        let named = named.map(GcRef::Content);
        host.blobs.push(blob(manifest(image), named.collect()));
        host.blobs.push(blob(config(image), [unpacked].into()));
        let is_first = image % IMAGES_PER_BASE == 0;
        for depth in if is_first { 0 } else { BASE_LAYERS }..LAYERS {
            host.blobs.push(blob(layer(image, depth), Box::default()));
            snapshots.push(committed(image, depth));
        }
        if image % IMAGES_PER_CONTAINER == 0 {
            let id = digest(5, image).hex();
            let parent = chain(image, LAYERS - 1).to_string();
            snapshots.push(Snapshot {
                key: (*id).into(),
                parent: Some(parent.into()),
                kind: SnapshotKind::Active,
                gc: GcLabels::default(),
            });
            host.containers.push(Container {
                snapshot: Some(SnapshotId::new(snapshotter.clone(), &*id)),
                id,
                image: record(image).name,
                ..Container::default()
            });
        }
    }
    host.images.sort_by(|a, b| a.name.cmp(&b.name));
    host.blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    host.containers.sort_by(|a, b| a.id.cmp(&b.id));
    snapshots.sort_by(|a, b| a.key.cmp(&b.key));
    host.snapshots.insert(snapshotter, snapshots);
    Inventory {
        namespaces: BTreeMap::from([(namespace(), host)]),
        documents,
        ..Inventory::default()
    }
}

fn record(image: u64) -> ImageRecord {
    ImageRecord {
        name: format!(
            "registry.example/team-{}/service-{image}:1.{image}",
            image % 97
        ),
        target: Target {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: manifest(image),
            size: 1_234,
            annotations: BTreeMap::new(),
        },
        labels: BTreeMap::new(),
        created_at: None,
        updated_at: None,
        gc: GcLabels::default(),
        expires: None,
    }
}

fn children(image: u64) -> Vec<Child> {
    let child = |digest, kind| Child {
        digest,
        size: 1,
        kind,
        is_attestation: false,
    };
    let layers = (0..LAYERS).map(|depth| child(layer(image, depth), DocumentKind::Leaf));
    let config = child(config(image), DocumentKind::Config);
    std::iter::once(config).chain(layers).collect()
}

fn blob(digest: Digest, refs: Box<[GcRef]>) -> Blob {
    Blob {
        digest,
        size: 1,
        gc: GcLabels {
            refs,
            ..GcLabels::default()
        },
    }
}

fn committed(image: u64, depth: u64) -> Snapshot {
    let parent = (depth > 0).then(|| chain(image, depth - 1).to_string().into());
    Snapshot {
        key: chain(image, depth).to_string().into(),
        parent,
        kind: SnapshotKind::Committed,
        gc: GcLabels::default(),
    }
}
