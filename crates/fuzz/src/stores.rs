//! Whole small stores: what one image's documents say changes nothing for another image.
//!
//! The bytes are a little program that writes documents, images and containers. The store is read
//! as it is read from containerd, and evaluated twice: without the images of the second half, and
//! with them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{
    Blob, Container, Digest, Document, DocumentKind, GcLabels, ImageRecord, Inventory, KeepReason,
    LabelFilter, MAX_DOCUMENT_DEPTH, Namespace, NamespaceInventory, Plan, PruneFilters,
    RemoveReason, ResolvedRequest, Snapshot, SnapshotId, SnapshotKind, Target,
};
use reclaim_oci::{LabelKeys, Limits, digest_of, read};
use reclaim_plan::decide;

/// How many documents and images a store has at most.
const MOST: usize = 24;

/// Media types by which a descriptor may call a blob anything.
const CALLED: [&str; 6] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/octet-stream",
];

const SNAPSHOTTER: &str = "native";

/// Bytes that are taken one by one; 0 when there are no more.
struct Program<'b>(&'b [u8]);

impl Program<'_> {
    fn next(&mut self, below: usize) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first) % below.max(1)
    }
}

/// Bodies in the order in which they were written: one can only name those before it.
#[derive(Default)]
struct Store {
    bodies: Vec<(Digest, Vec<u8>)>,
    images: Vec<ImageRecord>,
    containers: Vec<Container>,
    snapshots: BTreeSet<String>,
}

impl Store {
    fn written(program: &mut Program<'_>) -> Self {
        let mut store = Self::default();
        for _ in 0..MOST {
            if program.0.is_empty() {
                break;
            }
            match program.next(8) {
                0..4 => store.write_document(program),
                4 | 5 => store.write_image(program),
                6 => store.write_container(program),
                _ => store.write_raw(program),
            }
        }
        store
    }

    fn pick(&self, program: &mut Program<'_>) -> Option<Digest> {
        let at = program.next(self.bodies.len());
        self.bodies.get(at).map(|(digest, _)| digest.clone())
    }

    fn descriptors(&self, program: &mut Program<'_>) -> Vec<String> {
        let number = program.next(4);
        let descriptors = (0..number).filter_map(|_| {
            let digest = self.pick(program)?;
            let called = CALLED[program.next(CALLED.len())];
            Some(format!(
                r#"{{"mediaType":"{called}","digest":"{digest}","size":2}}"#
            ))
        });
        descriptors.collect()
    }

    fn write_document(&mut self, program: &mut Program<'_>) {
        let body = match program.next(3) {
            0 => format!(
                r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
                self.descriptors(program).join(",")
            ),
            1 => {
                let mut parts = self.descriptors(program).into_iter();
                let config = parts.next().unwrap_or_else(|| "null".to_owned());
                let layers: Vec<String> = parts.collect();
                format!(
                    r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
                    layers.join(",")
                )
            }
            _ => {
                let label = ["", r#""keep":"yes""#][program.next(2)];
                let layer = digest_of(&[u8::try_from(program.next(4)).unwrap_or(0)]);
                self.snapshots.insert(layer.to_string());
                format!(
                    r#"{{"config":{{"Labels":{{{label}}}}},"rootfs":{{"diff_ids":["{layer}"]}}}}"#
                )
            }
        };
        // Spaces change where a digest sorts.
        let padding = " ".repeat(program.next(3));
        self.enter((body + &padding).into_bytes());
    }

    fn write_raw(&mut self, program: &mut Program<'_>) {
        let length = program.next(64).min(program.0.len());
        let (body, rest) = program.0.split_at(length);
        program.0 = rest;
        self.enter(body.to_vec());
    }

    fn enter(&mut self, body: Vec<u8>) {
        let digest = digest_of(&body);
        if self.bodies.iter().all(|(other, _)| *other != digest) {
            self.bodies.push((digest, body));
        }
    }

    fn write_image(&mut self, program: &mut Program<'_>) {
        let Some(digest) = self.pick(program) else {
            return;
        };
        self.images.push(ImageRecord {
            name: format!("docker.io/library/i{:02}:1", self.images.len()),
            target: Target {
                media_type: CALLED[program.next(CALLED.len())].to_owned(),
                digest,
                size: 2,
                annotations: BTreeMap::new(),
            },
            labels: BTreeMap::new(),
            created_at: Some(Timestamp::UNIX_EPOCH),
            updated_at: None,
            gc: GcLabels::default(),
            expires: None,
        });
    }

    /// A container that names no image, and stands on a chain.
    fn write_container(&mut self, program: &mut Program<'_>) {
        let chain = digest_of(&[u8::try_from(program.next(4)).unwrap_or(0)]);
        self.snapshots.insert(chain.to_string());
        let id = format!("c{:02}", self.containers.len());
        self.containers.push(Container {
            snapshot: Some(SnapshotId::new(SNAPSHOTTER, id.as_str())),
            image: format!("elsewhere/{chain}"),
            id,
            ..Container::default()
        });
    }

    /// The store with its first `n_images`, as it is observed.
    fn inventory(&self, n_images: usize) -> Inventory {
        let images = self.images[..n_images].to_vec();
        let blobs = self.bodies.iter().map(|(digest, body)| Blob {
            digest: digest.clone(),
            size: body.len() as u64,
            gc: GcLabels::default(),
        });
        let mut blobs: Vec<Blob> = blobs.collect();
        blobs.sort_unstable_by(|a, b| a.digest.cmp(&b.digest));
        let committed = self.snapshots.iter().map(|key| snapshot(key, None));
        let active = self.containers.iter().map(|container| {
            let chain = container.image.strip_prefix("elsewhere/");
            snapshot(&container.id, chain)
        });
        let mut snapshots: Vec<Snapshot> = committed.chain(active).collect();
        snapshots.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let documents = self.documents(&images);
        let containers = self.containers.iter().map(|container| Container {
            image: String::new(),
            ..container.clone()
        });
        let namespace = NamespaceInventory {
            images,
            blobs,
            snapshots: [(SNAPSHOTTER.into(), snapshots)].into(),
            containers: containers.collect(),
            ..NamespaceInventory::default()
        };
        Inventory {
            namespaces: [(namespace_name(), namespace)].into(),
            documents,
            ..Inventory::default()
        }
    }

    /// Reads what lies behind images, level by level, as the store's client does.
    fn documents(&self, images: &[ImageRecord]) -> BTreeMap<Digest, Document> {
        let bodies: BTreeMap<&Digest, &[u8]> = self
            .bodies
            .iter()
            .map(|(digest, body)| (digest, &**body))
            .collect();
        let targets = images.iter().map(|image| &image.target);
        let targets = targets.filter(|target| target.kind() != DocumentKind::Leaf);
        let mut level: BTreeSet<Digest> = targets.map(|it| it.digest.clone()).collect();
        let mut documents = BTreeMap::new();
        for _ in 0..=MAX_DOCUMENT_DEPTH {
            for digest in std::mem::take(&mut level) {
                let Some(body) = bodies
                    .get(&digest)
                    .filter(|_| !documents.contains_key(&digest))
                else {
                    continue;
                };
                let (limits, labels) = (Limits::default(), LabelKeys::default());
                let document = read(&digest, None, body, &limits, &labels);
                let document = document.map_or_else(Document::from, Document::from);
                let children = document.children().iter();
                let children = children.filter(|child| child.kind != DocumentKind::Leaf);
                level.extend(children.map(|child| child.digest.clone()));
                documents.insert(digest, document);
            }
        }
        documents
    }
}

fn snapshot(key: &str, parent: Option<&str>) -> Snapshot {
    Snapshot {
        key: key.into(),
        parent: parent.map(Into::into),
        kind: parent.map_or(SnapshotKind::Committed, |_| SnapshotKind::Active),
        gc: GcLabels::default(),
    }
}

fn namespace_name() -> Namespace {
    "default".parse().expect("it is a valid name")
}

fn planned(inventory: &Inventory, labels: Vec<LabelFilter>) -> Plan {
    let filters = PruneFilters {
        dangling: Some(false),
        labels,
        ..PruneFilters::default()
    };
    let request = ResolvedRequest::new(namespace_name(), filters).may_empty_namespace(true);
    decide(inventory, &[], &request).into_unmeasured_plan()
}

/// Whole small stores: adding images never turns another's keep into a removal, and never makes
/// one unreadable that could be read.
pub fn stores(bytes: &[u8]) {
    let mut program = Program(bytes);
    let labels = match program.next(3) {
        0 => Vec::new(),
        it => LabelFilter::parse(it == 1, "keep").into_iter().collect(),
    };
    let store = Store::written(&mut program);
    let n_victims = store.images.len().div_ceil(2);
    let before = planned(&store.inventory(n_victims), labels.clone());
    let after = planned(&store.inventory(store.images.len()), labels);
    for kept in &before.kept {
        let stays = after.kept.iter().find(|it| it.name == kept.name);
        if let Some(stays) = stays {
            let is_unreadable = |reason| reason == KeepReason::Unreadable;
            assert_eq!(
                is_unreadable(kept.reason),
                is_unreadable(stays.reason),
                "{kept:?} {stays:?}"
            );
            continue;
        }
        // Another name of the same target stays in its place.
        let mut steps = after.steps.iter();
        let step = steps.find(|it| it.image.name == kept.name);
        let reason = step.map(|it| it.reason);
        assert_eq!(reason, Some(RemoveReason::Duplicate), "{kept:?}");
    }
}
