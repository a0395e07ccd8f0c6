//! The target `stores`: the documents of an image do not change the plan for other images.
//!
//! The bytes are a program that writes documents, images and containers. The store is observed as
//! containerd's is, and planned twice: without the second half of the images, and with it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{
    Blob, Container, ContainerSource, Digest, Document, DocumentKind, GcLabels, ImageRecord,
    Inventory, KeepReason, LabelFilter, MAX_DOCUMENT_DEPTH, Namespace, NamespaceInventory, Plan,
    PruneFilters, RemoveReason, ResolvedRequest, Snapshot, SnapshotId, SnapshotKind, Sources,
    Target,
};
use reclaim_oci::{LabelKeys, Limits, digest_of, read};
use reclaim_plan::decide;

/// The most operations of a program.
const MAX_OPERATIONS: usize = 24;

/// The media types that a descriptor may claim.
const MEDIA_TYPES: [&str; 6] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/octet-stream",
];

const SNAPSHOTTER: &str = "native";

/// The bytes of a program, read one at a time; 0 after the end.
struct Program<'b>(&'b [u8]);

impl Program<'_> {
    fn next(&mut self, below: usize) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first) % below.max(1)
    }
}

/// A store. Bodies are in the order of writing, and can name only earlier ones.
#[derive(Default)]
struct Store {
    bodies: Vec<(Digest, Vec<u8>)>,
    images: Vec<ImageRecord>,
    containers: Vec<Container>,
    snapshots: BTreeSet<String>,
}

impl Store {
    fn from_program(program: &mut Program<'_>) -> Self {
        let mut store = Self::default();
        for _ in 0..MAX_OPERATIONS {
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
        let index = program.next(self.bodies.len());
        self.bodies.get(index).map(|(digest, _)| digest.clone())
    }

    fn descriptors(&self, program: &mut Program<'_>) -> Vec<String> {
        let number = program.next(4);
        (0..number)
            .filter_map(|_| {
                let digest = self.pick(program)?;
                let media_type = MEDIA_TYPES[program.next(MEDIA_TYPES.len())];
                Some(format!(
                    r#"{{"mediaType":"{media_type}","digest":"{digest}","size":2}}"#
                ))
            })
            .collect()
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
        // Trailing spaces change the order of digests.
        let padding = " ".repeat(program.next(3));
        self.add((body + &padding).into_bytes());
    }

    fn write_raw(&mut self, program: &mut Program<'_>) {
        let length = program.next(64).min(program.0.len());
        let (body, rest) = program.0.split_at(length);
        program.0 = rest;
        self.add(body.to_vec());
    }

    fn add(&mut self, body: Vec<u8>) {
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
                media_type: MEDIA_TYPES[program.next(MEDIA_TYPES.len())].to_owned(),
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

    /// Adds a container on the snapshot of a chain. Its `image` keeps the chain until [`Self::inventory`].
    fn write_container(&mut self, program: &mut Program<'_>) {
        let chain = digest_of(&[u8::try_from(program.next(4)).unwrap_or(0)]);
        self.snapshots.insert(chain.to_string());
        let id = format!("c{:02}", self.containers.len());
        let (source, image_digest) = match program.next(3) {
            0 => (ContainerSource::Engine, None),
            1 => (ContainerSource::Engine, self.pick(program)),
            _ => (ContainerSource::Label, self.pick(program)),
        };
        self.containers.push(Container {
            source,
            image_digest,
            snapshot: Some(SnapshotId::new(SNAPSHOTTER, id.as_str())),
            image: format!("elsewhere/{chain}"),
            id,
            ..Container::default()
        });
    }

    /// Returns the inventory of the store with its first `n_images` images.
    fn inventory(&self, n_images: usize) -> Inventory {
        let images = self.images[..n_images].to_vec();
        let mut blobs: Vec<Blob> = self
            .bodies
            .iter()
            .map(|(digest, body)| Blob {
                digest: digest.clone(),
                size: body.len() as u64,
                gc: GcLabels::default(),
                sources: Sources::default(),
            })
            .collect();
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

    /// Reads the documents of images, level by level, as `reclaim-store` does.
    fn documents(&self, images: &[ImageRecord]) -> BTreeMap<Digest, Document> {
        let bodies: BTreeMap<&Digest, &[u8]> = self
            .bodies
            .iter()
            .map(|(digest, body)| (digest, &**body))
            .collect();
        let mut level: BTreeSet<Digest> = images
            .iter()
            .map(|image| &image.target)
            .filter(|target| target.kind() != DocumentKind::Leaf)
            .map(|target| target.digest.clone())
            .collect();
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
                let document = read(&digest, None, body, &limits, &labels)
                    .map_or_else(Document::from, Document::from);
                let children = document
                    .children()
                    .iter()
                    .filter(|child| child.kind != DocumentKind::Leaf);
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
    "default".parse().expect("a valid name")
}

fn plan(inventory: &Inventory, labels: Vec<LabelFilter>) -> Plan {
    let filters = PruneFilters {
        dangling: Some(false),
        labels,
        ..PruneFilters::default()
    };
    let request = ResolvedRequest::new(namespace_name(), filters).may_empty_namespace(true);
    decide(inventory, &[], &request).into_unmeasured_plan()
}

/// The digests of containers' images that lead to a document of an image.
fn named(inventory: &Inventory) -> BTreeSet<&Digest> {
    let namespace = &inventory.namespaces[&namespace_name()];
    let targets = namespace.images.iter().map(|image| &image.target.digest);
    let children = inventory.documents.values().flat_map(Document::children);
    let parts: BTreeSet<&Digest> = targets.chain(children.map(|it| &it.digest)).collect();
    let digests = namespace.containers.iter();
    let digests = digests.filter_map(|it| it.image_digest.as_ref());
    let is_here =
        |digest: &&Digest| parts.contains(digest) && inventory.documents.contains_key(digest);
    digests.filter(is_here).collect()
}

/// Small stores: adding images never turns the keep of another image into a removal, and never makes
/// a readable image unreadable.
pub fn stores(bytes: &[u8]) {
    let mut program = Program(bytes);
    let labels = match program.next(3) {
        0 => Vec::new(),
        choice => LabelFilter::parse(choice == 1, "keep")
            .into_iter()
            .collect(),
    };
    let store = Store::from_program(&mut program);
    let n_victims = store.images.len().div_ceil(2);
    let [few, all] = [n_victims, store.images.len()].map(|number| store.inventory(number));
    let before = plan(&few, labels.clone());
    let after = plan(&all, labels);
    // An image that a container's engine names by its digest says what that container uses.
    let is_named = named(&few) != named(&all);
    let is_use = |reason| matches!(reason, KeepReason::InUse | KeepReason::UsageUnknown);
    for kept in before
        .kept
        .iter()
        .filter(|it| !is_named || !is_use(it.reason))
    {
        let still_kept = after.kept.iter().find(|image| image.name == kept.name);
        if let Some(still_kept) = still_kept {
            let is_unreadable = |reason| reason == KeepReason::Unreadable;
            assert_eq!(
                is_unreadable(kept.reason),
                is_unreadable(still_kept.reason),
                "{kept:?} {still_kept:?}"
            );
            continue;
        }
        // A duplicate may go, because another name of the same target is kept instead.
        let mut steps = after.steps.iter();
        let step = steps.find(|step| step.image.name == kept.name);
        let reason = step.map(|step| step.reason);
        assert_eq!(reason, Some(RemoveReason::Duplicate), "{kept:?}");
    }
}
