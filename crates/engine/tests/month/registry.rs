//! What can be pulled: images of a few repositories, which share layers.

use std::collections::BTreeMap;

use reclaim_model::{Child, Config, Digest, Document, DocumentKind, GcLabels, GcRef, SnapshotId};
use reclaim_testkit::Dice;

pub(crate) const SNAPSHOTTER: &str = "overlayfs";

/// Length of a block of the disk.
pub(crate) const BLOCK: u64 = 4096;

/// A blob or a committed snapshot.
#[derive(Debug, Clone)]
pub(crate) enum Thing {
    Blob {
        digest: Digest,
        bytes: u64,
        gc: GcLabels,
    },
    Snapshot {
        key: String,
        parent: Option<String>,
        bytes: u64,
    },
}

/// An image, by its place in the registry.
pub(crate) type ImageId = usize;

/// A thing, by its place in the registry.
pub(crate) type ThingId = usize;

#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) repository: String,
    pub(crate) version: usize,
    pub(crate) target: Digest,
    pub(crate) config: Digest,
    /// The key of the topmost snapshot.
    pub(crate) chain: String,
    pub(crate) blobs: Vec<ThingId>,
    pub(crate) snapshots: Vec<ThingId>,
    /// Whether it was built here: no registry is known to have it.
    pub(crate) is_local: bool,
}

impl Image {
    pub(crate) fn tag(&self) -> String {
        format!("docker.io/library/{}:v{}", self.repository, self.version)
    }

    pub(crate) fn latest(&self) -> String {
        format!("docker.io/library/{}:latest", self.repository)
    }
}

#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) images: Vec<Image>,
    pub(crate) things: Vec<Thing>,
    pub(crate) documents: BTreeMap<Digest, Document>,
}

impl Registry {
    pub(crate) fn generate(dice: &mut Dice) -> Self {
        let mut registry = Self {
            images: Vec::new(),
            things: Vec::new(),
            documents: BTreeMap::new(),
        };
        let bases: Vec<Layer> = (0..dice.between(1, 3))
            .map(|_| registry.layer(dice, None, 2000))
            .collect();
        for repository in 0..dice.between(2, 5) {
            let base = dice.pick(&bases).clone();
            let middle = registry.layer(dice, Some(&base), 800);
            for version in 0..dice.between(1, 6) {
                let below = if dice.percent(70) {
                    vec![base.clone(), middle.clone()]
                } else {
                    vec![base.clone()]
                };
                let top = registry.layer(dice, below.last(), 1200);
                let layers = [below, vec![top]].concat();
                registry.add(dice, format!("r{repository}"), version, &layers);
            }
        }
        registry
    }

    /// The image that has a target.
    pub(crate) fn image_of(&self, target: &Digest) -> ImageId {
        let image = self.images.iter().position(|it| it.target == *target);
        image.expect("all targets are of the registry")
    }

    /// What everything together takes on a disk.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = self.things.iter().map(|it| match it {
            Thing::Blob { bytes, .. } => bytes.next_multiple_of(BLOCK),
            Thing::Snapshot { bytes, .. } => *bytes,
        });
        bytes.sum()
    }

    fn layer(&mut self, dice: &mut Dice, below: Option<&Layer>, most_blocks: usize) -> Layer {
        let blocks = dice.between(1, most_blocks) as u64;
        let digest = digest(dice);
        self.things.push(Thing::Blob {
            digest: digest.clone(),
            bytes: (blocks * BLOCK / 2)
                .saturating_sub(dice.below(2000) as u64)
                .max(1),
            gc: GcLabels::default(),
        });
        let chain = self::digest(dice);
        let key = chain.to_string();
        self.things.push(Thing::Snapshot {
            key: key.clone(),
            parent: below.map(|it| it.key.clone()),
            bytes: blocks * BLOCK,
        });
        Layer {
            blob: self.things.len() - 2,
            snapshot: self.things.len() - 1,
            digest,
            chain,
            key,
        }
    }

    fn add(&mut self, dice: &mut Dice, repository: String, version: usize, layers: &[Layer]) {
        let (target, config) = (digest(dice), digest(dice));
        let top = layers.last().expect("an image has layers");
        let is_local = dice.percent(15);
        let child = |digest: &Digest, kind| Child {
            digest: digest.clone(),
            size: 1,
            kind,
            is_attestation: false,
        };
        let mut children = vec![child(&config, DocumentKind::Config)];
        children.extend(
            layers
                .iter()
                .map(|it| child(&it.digest, DocumentKind::Leaf)),
        );
        let refs = children.iter().map(|it| GcRef::Content(it.digest.clone()));
        let refs = refs.collect();
        self.documents
            .insert(target.clone(), Document::Manifest(children));
        self.documents.insert(
            config.clone(),
            Document::Config(Config {
                chain_id: Some(top.chain.clone()),
                ..Config::default()
            }),
        );
        self.things.push(Thing::Blob {
            digest: target.clone(),
            bytes: dice.between(500, 2000) as u64,
            gc: GcLabels {
                refs,
                has_source: !is_local,
                ..GcLabels::default()
            },
        });
        let snapshot = SnapshotId::new(SNAPSHOTTER, top.key.as_str());
        self.things.push(Thing::Blob {
            digest: config.clone(),
            bytes: dice.between(2000, 9000) as u64,
            gc: GcLabels {
                refs: [GcRef::Snapshot(snapshot)].into(),
                has_source: !is_local,
                ..GcLabels::default()
            },
        });
        let own = [self.things.len() - 2, self.things.len() - 1];
        self.images.push(Image {
            repository,
            version,
            target,
            config,
            chain: top.key.clone(),
            blobs: own
                .into_iter()
                .chain(layers.iter().map(|it| it.blob))
                .collect(),
            snapshots: layers.iter().map(|it| it.snapshot).collect(),
            is_local,
        });
    }
}

#[derive(Debug, Clone)]
struct Layer {
    blob: ThingId,
    snapshot: ThingId,
    digest: Digest,
    chain: Digest,
    key: String,
}

fn digest(dice: &mut Dice) -> Digest {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&dice.roll().to_be_bytes());
    }
    Digest::Sha256(bytes)
}
