//! The images of a namespace as Docker lists them: one for each target, with its platforms.
//!
//! A record is a name; what people call an image is what the names point at. Docker's lists have
//! one entry for each target, and for each of its manifests the parts that are there.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Child, Config, Container, Digest, Document, DocumentKind, Holder, HolderKind, IdPrefix,
    ImageRecord, ImageSize, Inventory, Namespace, NotRemoved, SnapshotSizes, Target,
};

use crate::facts::Facts;
use crate::graph::{Node, NodeId};
use crate::named::{find, ids_of_targets};
use crate::sizes::{ObjectsByTarget, chain_snapshots};
use crate::weights::{Weight, weights};

/// The images of one namespace, by target.
#[derive(Debug, Clone, Default)]
pub struct DetailedImages {
    /// Sorted by digest.
    pub images: Vec<ImageDetails>,
    /// All of them together, each blob and snapshot once, in bytes.
    pub total_bytes: u64,
    /// All records, sorted by name.
    records: Vec<ImageRecord>,
    /// The position of the image of each record.
    of_records: Vec<usize>,
    /// Configurations that are IDs, each with its target.
    ids: Vec<(Digest, Digest)>,
}

/// A target with everything that is known about it.
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// What the records point at, by the descriptor of the first.
    pub target: Target,
    /// The records, sorted by name; at least one.
    pub records: Vec<ImageRecord>,
    /// The manifests of its platforms and their attestations, in the order of the
    /// index; also those that are not there.
    pub manifests: Vec<ManifestDetails>,
    /// All of it together, each blob and snapshot once.
    pub size: ImageSize,
    /// What uses it, under any name, sorted.
    pub holders: Vec<Holder>,
    /// Whether the classic builder made another image from it.
    pub has_child: bool,
    /// The names of those of its records that are dangling, sorted.
    dangling: Vec<String>,
}

/// One manifest of an image.
#[derive(Debug, Clone)]
pub struct ManifestDetails {
    /// Which blob.
    pub digest: Digest,
    /// Its length in bytes, as the descriptor has it.
    pub size: u64,
    /// Whether it describes another manifest rather than a platform.
    pub is_attestation: bool,
    /// Whether it may be the image of a platform: it is not an attestation, and it is absent, or can
    /// be read and lists layers of an image or none at all.
    pub is_image: bool,
    /// Whether the manifest and all that it lists are there.
    pub is_available: bool,
    /// Its configuration, if that is there and can be read.
    pub config: Option<ConfigDetails>,
    /// The manifest and what it lists, as far as it is there, in bytes.
    pub content_bytes: u64,
    /// The manifest and what it lists, by the sizes in descriptors, whether it is there or not.
    /// Duplicates count.
    pub listed_bytes: u64,
    /// The snapshots to which it is unpacked, in bytes.
    pub unpacked_bytes: u64,
    /// What each of its layers is unpacked to, in bytes, the base first; empty if it is not
    /// unpacked. Where several snapshotters have it, as the first of them has it.
    pub layer_bytes: Vec<u64>,
    /// The IDs of the containers that use this very platform, in the order of the lists that report
    /// them. Docker's has the newest first.
    ///
    /// An engine may report the manifest of a container. Containers of the image for which no engine
    /// reports one use the only platform that is there; if there are several, they are in none.
    pub containers: Vec<String>,
}

/// The configuration of a manifest.
#[derive(Debug, Clone)]
pub struct ConfigDetails {
    /// Which blob.
    pub digest: Digest,
    /// Its length in bytes, as the descriptor has it.
    pub size: u64,
    /// What it says.
    pub config: Config,
}

impl DetailedImages {
    /// Returns the image that a name, an ID or the beginning of one means.
    ///
    /// # Errors
    ///
    /// Docker's errors: no such image, several images, or the text is not a name.
    pub fn find(&self, text: &str) -> Result<&ImageDetails, NotRemoved> {
        Ok(self.find_record(text)?.0)
    }

    /// Returns the image that a text means, and which of its records: the one of that name, or else
    /// the first by name.
    ///
    /// # Errors
    ///
    /// As [`Self::find`].
    pub fn find_record(&self, text: &str) -> Result<(&ImageDetails, &ImageRecord), NotRemoved> {
        let ids = |prefix: &IdPrefix| {
            let ids = self.ids.iter().filter(|(id, _)| prefix.matches(id));
            ids.cloned().collect()
        };
        let record = find(&self.records, ids, text)?;
        Ok((&self.images[self.of_records[record]], &self.records[record]))
    }
}

impl ImageDetails {
    /// Counts the containers that use it.
    pub fn containers(&self) -> usize {
        let holders = self.holders.iter();
        holders
            .filter(|it| it.kind == HolderKind::Container)
            .count()
    }

    /// Whether all its records are dangling.
    pub fn is_dangling(&self) -> bool {
        self.dangling.len() == self.records.len()
    }

    /// Whether one of its records is dangling.
    pub fn is_dangling_record(&self, record: &ImageRecord) -> bool {
        self.dangling.binary_search(&record.name).is_ok()
    }
}

/// Lists the images of a namespace, given what its snapshots occupy.
///
/// `registered` are containers that engines know of beyond containerd's own records. A namespace
/// that does not exist has no images.
pub fn detailed_images(
    inventory: &Inventory,
    namespace: &Namespace,
    registered: &[Container],
    snapshot_bytes: &SnapshotSizes,
) -> DetailedImages {
    let Some(namespace) = inventory.namespaces.get(namespace) else {
        return DetailedImages::default();
    };
    let facts = Facts::new(inventory, namespace, registered);
    let weights = weights(&facts.graph, snapshot_bytes);
    let objects = ObjectsByTarget::of(&facts.graph, &facts.targets, inventory);
    let sizes = objects.sizes(&facts.graph, &weights);
    let each = objects.nodes().into_iter();
    let total_bytes = each.map(|id| weights[id as usize].bytes()).sum();
    let parents = namespace.images.iter().filter_map(ImageRecord::parent);
    let parents: BTreeSet<Digest> = parents.collect();
    let reader = Reader {
        facts: &facts,
        inventory,
        weights: &weights,
    };
    let by_manifest = ByManifest::new(&namespace.containers, registered);
    let images = facts.targets.iter().map(|(_, target)| {
        let first = &namespace.images[target.images[0]];
        let records = target.images.iter().map(|it| &namespace.images[*it]);
        let users = target
            .images
            .iter()
            .flat_map(|index| facts.users_of(*index));
        let users: BTreeSet<Holder> = users.collect();
        let dangling = target.images.iter();
        let dangling = dangling.filter(|it| facts.names.is_dangling(**it));
        let mut manifests = reader.manifests(target.digest, first.target.size);
        assign_containers(&mut manifests, &users, &by_manifest);
        ImageDetails {
            target: first.target.clone(),
            records: records.cloned().collect(),
            manifests,
            size: sizes.get(target.digest).copied().unwrap_or_default(),
            holders: users.into_iter().collect(),
            has_child: parents.contains(target.digest),
            dangling: dangling
                .map(|it| namespace.images[*it].name.clone())
                .collect(),
        }
    });
    let mut images: Vec<ImageDetails> = images.collect();
    images.sort_by(|a, b| a.target.digest.cmp(&b.target.digest));
    let records = images.iter().enumerate().flat_map(|(at, image)| {
        let records = image.records.iter();
        records.map(move |record| (record.clone(), at))
    });
    let mut records: Vec<(ImageRecord, usize)> = records.collect();
    records.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let (records, of_records) = records.into_iter().unzip();
    DetailedImages {
        images,
        total_bytes,
        records,
        of_records,
        ids: ids_of_targets(&facts)
            .into_iter()
            .map(|(id, target)| (id.clone(), target.clone()))
            .collect(),
    }
}

/// The containers whose engines report their manifests.
struct ByManifest<'a> {
    manifests: BTreeMap<&'a Digest, Vec<&'a str>>,
    reported: BTreeSet<&'a str>,
}

impl<'a> ByManifest<'a> {
    fn new(recorded: &'a [Container], registered: &'a [Container]) -> Self {
        let mut manifests: BTreeMap<&Digest, Vec<&str>> = BTreeMap::new();
        let mut reported = BTreeSet::new();
        for container in recorded.iter().chain(registered) {
            if let Some(manifest) = &container.image_manifest
                && reported.insert(&*container.id)
            {
                manifests.entry(manifest).or_default().push(&container.id);
            }
        }
        Self {
            manifests,
            reported,
        }
    }
}

/// Finds out which containers use which platform. `users` are those of the image.
fn assign_containers(
    manifests: &mut [ManifestDetails],
    users: &BTreeSet<Holder>,
    by_manifest: &ByManifest<'_>,
) {
    let is_there = |manifest: &&mut ManifestDetails| manifest.is_image && manifest.config.is_some();
    let only_one = manifests.iter_mut().filter(is_there).count() == 1;
    for manifest in manifests {
        let reported = by_manifest.manifests.get(&manifest.digest);
        let mut containers: Vec<&str> = reported.cloned().unwrap_or_default();
        if only_one && is_there(&manifest) {
            let users = users.iter();
            let users = users.filter(|user| user.kind == HolderKind::Container);
            let unreported = users.map(|user| &*user.id);
            let unreported = unreported.filter(|id| !by_manifest.reported.contains(id));
            containers.extend(unreported);
        }
        manifest.containers = containers.into_iter().map(str::to_owned).collect();
    }
}

struct Reader<'r, 'a> {
    facts: &'r Facts<'a>,
    inventory: &'a Inventory,
    weights: &'r [Weight],
}

impl Reader<'_, '_> {
    /// Walks down to the manifests, each once.
    fn manifests(&self, target: &Digest, size: u64) -> Vec<ManifestDetails> {
        let mut manifests = Vec::new();
        let mut seen = BTreeSet::new();
        let mut stack = vec![(target, size, false)];
        while let Some((digest, size, is_attestation)) = stack.pop() {
            if !seen.insert(digest) {
                continue;
            }
            match self.inventory.documents.get(digest) {
                Some(Document::Index(children)) => {
                    let children = children.iter().filter(|it| is_document(it));
                    let children = children.rev();
                    stack.extend(children.map(|it| (&it.digest, it.size, it.is_attestation)));
                }
                Some(Document::Manifest(children)) => {
                    manifests.push(self.manifest(digest, size, is_attestation, children));
                }
                // A target that cannot be read may be an index or anything else.
                Some(Document::Config(_) | Document::Torn(_) | Document::NotRead(_)) | None
                    if digest == target => {}
                Some(Document::Config(_) | Document::Torn(_) | Document::NotRead(_)) => {
                    manifests.push(ManifestDetails {
                        is_image: false,
                        ..self.manifest(digest, size, is_attestation, &[])
                    });
                }
                None => manifests.push(self.manifest(digest, size, is_attestation, &[])),
            }
        }
        manifests
    }

    fn manifest(
        &self,
        digest: &Digest,
        size: u64,
        is_attestation: bool,
        children: &[Child],
    ) -> ManifestDetails {
        let parts: BTreeSet<&Digest> = children.iter().map(|it| &it.digest).collect();
        let itself = self.bytes_of_blob(digest);
        let there: Vec<Option<u64>> = parts.iter().map(|it| self.bytes_of_blob(it)).collect();
        let config = self.config(children);
        let chain = config.as_ref().and_then(|it| it.config.chain_id.as_ref());
        let chain = chain.filter(|_| !is_attestation);
        let stacks = chain.map(|chain| chain_snapshots(&self.facts.graph, chain));
        let stacks = stacks.unwrap_or_default();
        // A snapshot whose key is not a chain ID is not a layer, but was committed on top of one.
        let layers = stacks.first().into_iter().flatten();
        let layers = layers.rev().filter(|id| self.is_layer(**id));
        let is_config = |child: &&Child| child.kind == DocumentKind::Config;
        let listed = children.iter().filter(|child| !is_config(child));
        let is_artifact = listed.clone().count() > 0 && !listed.clone().any(|child| child.is_layer);
        ManifestDetails {
            digest: digest.clone(),
            size,
            is_attestation,
            is_image: !is_attestation && !is_artifact,
            is_available: itself.is_some() && there.iter().all(Option::is_some),
            config,
            content_bytes: there.iter().flatten().sum::<u64>() + itself.unwrap_or(0),
            listed_bytes: children
                .iter()
                .map(|child| child.size)
                .fold(size, u64::saturating_add),
            unpacked_bytes: stacks.iter().flatten().map(|id| self.weight(*id)).sum(),
            layer_bytes: layers.map(|id| self.weight(*id)).collect(),
            containers: Vec::new(),
        }
    }

    fn config(&self, children: &[Child]) -> Option<ConfigDetails> {
        let child = children.iter().find(|it| it.kind == DocumentKind::Config)?;
        match self.inventory.documents.get(&child.digest) {
            Some(Document::Config(config)) => Some(ConfigDetails {
                digest: child.digest.clone(),
                size: child.size,
                config: config.clone(),
            }),
            Some(
                Document::Index(_)
                | Document::Manifest(_)
                | Document::Torn(_)
                | Document::NotRead(_),
            )
            | None => None,
        }
    }

    fn is_layer(&self, id: NodeId) -> bool {
        let graph = &self.facts.graph;
        matches!(graph.node(id), Node::Snapshot(index)
            if graph.snapshot(index).1.key.parse::<Digest>().is_ok())
    }

    /// `None` if the namespace does not have it.
    fn bytes_of_blob(&self, digest: &Digest) -> Option<u64> {
        let id = self.facts.graph.find_blob(digest)?;
        Some(self.weight(id))
    }

    fn weight(&self, id: NodeId) -> u64 {
        self.weights[id as usize].bytes()
    }
}

fn is_document(child: &Child) -> bool {
    matches!(child.kind, DocumentKind::Index | DocumentKind::Manifest)
}
