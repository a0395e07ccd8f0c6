//! What can be pulled: images of a few repositories, which share layers.

use reclaim_fake::api::services::v1::Image as Record;
use reclaim_fake::{Fake, Layer, State};
use reclaim_model::Digest;
use reclaim_testkit::Dice;

use crate::host::NAMESPACES;

pub(crate) const SNAPSHOTTER: &str = "overlayfs";

/// How the names of preloaded images begin.
pub(crate) const PRELOADED: &str = "registry.internal/preloaded/";

/// Length of a block of the disk.
pub(crate) const BLOCK: u64 = 4096;

/// An image, by its place in the registry.
pub(crate) type ImageId = usize;

#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) repository: String,
    version: usize,
    parts: reclaim_fake::Image,
    pub(crate) target: String,
    pub(crate) config: String,
    /// The key of the topmost snapshot.
    pub(crate) chain: String,
    /// Whether it was built here, so that no registry is known to have it.
    pub(crate) is_local: bool,
}

impl Image {
    pub(crate) fn tag(&self) -> String {
        format!("docker.io/library/{}:v{}", self.repository, self.version)
    }

    pub(crate) fn latest(&self) -> String {
        format!("docker.io/library/{}:latest", self.repository)
    }

    /// Returns a name by which no registry has it, whatever the source of its content.
    pub(crate) fn preloaded(&self) -> String {
        format!("{PRELOADED}{}:v{}", self.repository, self.version)
    }

    pub(crate) fn record(&self, name: &str) -> Record {
        self.parts.record(name)
    }

    pub(crate) fn digest(&self) -> Digest {
        self.target.parse().expect("a digest")
    }

    pub(crate) fn blobs(&self) -> Vec<String> {
        self.parts.blobs()
    }

    /// Stores all of its content.
    pub(crate) fn store(&self, state: &mut State, namespace: &str) {
        let repository = format!("library/{}", self.repository);
        let source = (!self.is_local).then_some(repository.as_str());
        self.parts.store(state, namespace, SNAPSHOTTER, source);
    }
}

#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) images: Vec<Image>,
}

impl Registry {
    pub(crate) fn generate(dice: &mut Dice) -> Self {
        let mut images = Vec::new();
        let bases: Vec<Layer> = (0..dice.between(1, 3)).map(|_| layer(dice, 2000)).collect();
        for repository in 0..dice.between(2, 5) {
            let base = dice.pick(&bases).clone();
            let middle = layer(dice, 800);
            for version in 0..dice.between(1, 6) {
                let below = if dice.percent(70) {
                    vec![base.clone(), middle.clone()]
                } else {
                    vec![base.clone()]
                };
                let top = layer(dice, 1200);
                let layers = [below, vec![top]].concat();
                let is_local = dice.percent(15);
                images.push(image(format!("r{repository}"), version, layers, is_local));
            }
        }
        Self { images }
    }

    /// Returns the image with a target, if the registry has it.
    pub(crate) fn image_of(&self, target: &str) -> Option<ImageId> {
        let mut images = self.images.iter();
        images.position(|it| it.target == target)
    }

    /// Returns the size of everything on a disk.
    pub(crate) fn bytes(&self) -> u64 {
        let store = Fake::new("2.1.9");
        store.change(|state| {
            for image in &self.images {
                image.store(state, NAMESPACES[0]);
            }
            state.occupied(BLOCK)
        })
    }
}

fn layer(dice: &mut Dice, most_blocks: usize) -> Layer {
    let blocks = dice.between(1, most_blocks) as u64;
    let length = (blocks * BLOCK / 2).saturating_sub(dice.below(2000) as u64);
    Layer {
        length: length.max(1),
        unpacked: blocks * BLOCK,
        ..Layer::of(&dice.roll().to_string())
    }
}

fn image(repository: String, version: usize, layers: Vec<Layer>, is_local: bool) -> Image {
    let labels = [
        ("version", version.to_string()),
        ("repository", repository.clone()),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value));
    let parts = reclaim_fake::Image::new(layers, &labels.into());
    Image {
        repository,
        version,
        target: parts.target().digest,
        config: parts.config(),
        chain: parts.chains().pop().expect("an image has layers"),
        parts,
        is_local,
    }
}
