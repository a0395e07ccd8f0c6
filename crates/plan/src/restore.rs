//! Which layers the images of a namespace lack, so that they can be fetched again.
//!
//! An image lacks a layer if the blob is absent, or if no label of the manifest refers to it, so that
//! the collector may take it. A platform whose manifest or configuration is absent is not lacking: it
//! was left out on purpose.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Child, Digest, Document, DocumentKind, GcRef, Inventory, MAX_DOCUMENT_DEPTH, Namespace,
    NotRemoved, Platform, Reference,
};

use crate::facts::Facts;
use crate::last_copy::has_repository;
use crate::named::{group, ids_of_targets, matching};
use crate::slim::manifests::{Manifest, manifests};

/// An image, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// As typed; without names in the request, the full name of a record.
    pub name: String,
    /// What the record points at.
    pub target: Digest,
    /// The names of its records that are those of repositories, the one that the request names first.
    pub repositories: Vec<Reference>,
    /// Its manifests that are present with their configurations.
    pub present: Vec<PresentManifest>,
    /// Those that an index of the image lists, and that are absent, or whose configurations are.
    pub absent: Vec<AbsentManifest>,
    /// Why a part of the image cannot be read, if that is so: what it lacks is not known.
    pub unreadable: Option<String>,
}

/// The manifest of a platform that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentManifest {
    /// Which blob.
    pub digest: Digest,
    /// Its platform, as its configuration states it.
    pub platform: Option<Platform>,
    /// Its configuration.
    pub config: Digest,
    /// Its layers in order, duplicates included.
    pub layers: Vec<Child>,
    /// Those that are absent, each once.
    pub missing: Vec<Child>,
    /// How many labels it lacks.
    pub labels: usize,
}

/// A manifest that an index lists and that is absent, or whose configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentManifest {
    /// The index.
    pub index: Digest,
    /// The entries of the index in order.
    pub entries: Vec<Child>,
    /// Which entry it is.
    pub position: usize,
}

impl Lacking {
    /// Whether a manifest that is present lacks something.
    pub fn lacks_layers(&self) -> bool {
        let mut present = self.present.iter();
        present.any(|manifest| !manifest.missing.is_empty() || manifest.labels > 0)
    }
}

impl AbsentManifest {
    /// Returns the entry of the index.
    pub fn entry(&self) -> &Child {
        &self.entries[self.position]
    }
}

/// Whether `platform` is the one of a request. Without a variant in the request, any will do.
pub fn is_platform(requested: &Platform, platform: &Platform) -> bool {
    let (normal, other) = (requested.normalized(), platform.normalized());
    normal.os == other.os
        && normal.architecture == other.architecture
        && (requested.variant.is_empty() || normal.variant == other.variant)
}

/// Returns what images lack: the result for each name; without names, for each image that lacks
/// layers.
pub fn lacking(
    inventory: &Inventory,
    namespace: &Namespace,
    names: &[String],
) -> Vec<Result<Lacking, (String, NotRemoved)>> {
    let Some(namespace) = inventory.namespaces.get(namespace) else {
        let missing = |name: &String| Err((name.clone(), NotRemoved::NoSuchImage(name.clone())));
        return names.iter().map(missing).collect();
    };
    let facts = Facts::new(inventory, namespace, &[]);
    let images = &namespace.images;
    let mut by_target: BTreeMap<&Digest, Vec<usize>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        by_target
            .entry(&image.target.digest)
            .or_default()
            .push(index);
    }
    let reader = Reader {
        manifests: manifests(&facts.graph, facts.documents),
        facts: &facts,
        by_target: &by_target,
    };
    if names.is_empty() {
        let mut found: Vec<Lacking> = Vec::new();
        for records in by_target.values() {
            let mut records_with_name = records.iter().filter(|it| has_repository(&facts, **it));
            let first = *records_with_name.next().unwrap_or(&records[0]);
            let lacking = reader.lacking(images[first].name.clone(), first);
            if lacking.lacks_layers() {
                found.push(lacking);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        return found.into_iter().map(Ok).collect();
    }
    let ids = ids_of_targets(&facts);
    let mut found = Vec::new();
    for name in names {
        match group(images, |prefix| matching(&ids, prefix), name) {
            Err(error) => found.push(Err((name.clone(), error))),
            Ok(group) => {
                let mut seen = BTreeSet::new();
                for index in group {
                    if seen.insert(&images[index].target.digest) {
                        found.push(Ok(reader.lacking(name.clone(), index)));
                    }
                }
            }
        }
    }
    found
}

struct Reader<'r, 'a> {
    facts: &'r Facts<'a>,
    manifests: Vec<Manifest<'a>>,
    /// The records of each target, by index.
    by_target: &'r BTreeMap<&'a Digest, Vec<usize>>,
}

impl Reader<'_, '_> {
    /// Returns what the image of a record lacks.
    fn lacking(&self, name: String, index: usize) -> Lacking {
        let images = &self.facts.graph.namespace.images;
        let target = &images[index].target.digest;
        let same = self.by_target.get(target).into_iter().flatten();
        let mut repositories: Vec<Reference> = Vec::new();
        for record in [index].into_iter().chain(same.copied()) {
            let reference = Reference::parse_normalized(&images[record].name);
            if let Ok(reference) = reference
                && has_repository(self.facts, record)
                && !repositories.contains(&reference)
            {
                repositories.push(reference);
            }
        }
        let mut lacking = Lacking {
            name,
            target: target.clone(),
            repositories,
            present: Vec::new(),
            absent: Vec::new(),
            unreadable: None,
        };
        self.walk(target, 0, &mut BTreeSet::new(), &mut lacking);
        lacking
    }

    /// Enters what is below a document. The depth is bounded, because a document may list itself.
    fn walk<'d>(
        &'d self,
        digest: &'d Digest,
        depth: usize,
        seen: &mut BTreeSet<&'d Digest>,
        lacking: &mut Lacking,
    ) {
        if depth > MAX_DOCUMENT_DEPTH || !seen.insert(digest) {
            return;
        }
        match self.facts.documents.get(digest) {
            Some(Document::Index(entries)) => {
                for (position, entry) in entries.iter().enumerate() {
                    let kinds = [DocumentKind::Index, DocumentKind::Manifest];
                    if entry.is_attestation || !kinds.contains(&entry.kind) {
                        continue;
                    }
                    if self.is_whole(&entry.digest) {
                        self.walk(&entry.digest, depth + 1, seen, lacking);
                    } else {
                        lacking.absent.push(AbsentManifest {
                            index: digest.clone(),
                            entries: entries.clone(),
                            position,
                        });
                    }
                }
            }
            Some(Document::Manifest(_)) => {
                let at = self.manifests.binary_search_by(|it| it.digest.cmp(digest));
                if let Ok(at) = at
                    && self.manifests[at].is_image()
                {
                    lacking.present.push(self.present(self.manifests[at]));
                }
            }
            Some(Document::Torn(why) | Document::NotRead(why)) => {
                let why = format!("{digest} cannot be read: {why}");
                lacking.unreadable.get_or_insert(why);
            }
            None if depth == 0 => {
                lacking
                    .unreadable
                    .get_or_insert(format!("{digest} is missing"));
            }
            Some(Document::Config(_)) | None => {}
        }
    }

    /// Whether a document is present, and if it is a manifest, its configuration.
    fn is_whole(&self, digest: &Digest) -> bool {
        let blobs = self.facts.graph.blobs();
        if !blobs.contains(digest) {
            return false;
        }
        match self.facts.documents.get(digest) {
            Some(Document::Manifest(children)) => children
                .first()
                .is_none_or(|config| blobs.contains(&config.digest)),
            _ => true,
        }
    }

    fn present(&self, manifest: Manifest<'_>) -> PresentManifest {
        let graph = &self.facts.graph;
        let blobs = graph.blobs();
        let at = blobs.find(manifest.digest);
        let refs = at.map_or(&[][..], |at| &graph.blob(at).gc.refs);
        let has_label = |digest: &Digest| {
            let mut refs = refs.iter();
            refs.any(|reference| matches!(reference, GcRef::Content(it) if it == digest))
        };
        let layers = manifest.layers.iter();
        let mut seen = BTreeSet::new();
        let missing = layers
            .clone()
            .filter(|layer| !blobs.contains(&layer.digest) && seen.insert(&layer.digest));
        PresentManifest {
            digest: manifest.digest.clone(),
            platform: manifest.platform().cloned(),
            config: manifest.config_digest.clone(),
            missing: missing.cloned().collect(),
            labels: layers.filter(|layer| !has_label(&layer.digest)).count(),
            layers: manifest.layers.to_vec(),
        }
    }
}
