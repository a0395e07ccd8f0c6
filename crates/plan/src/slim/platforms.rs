//! Platforms that go while the image stays.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Cut, CutTarget, Digest, Document, GcRef, KeepReason, Named, NotRemoved, Part, Platform,
};

use super::Planner;
use super::manifests::Manifest;
use crate::cuts::is_plain;
use crate::graph::Node;
use crate::named::{group, ids_of_targets, matching};

impl<'a> Planner<'_, 'a> {
    /// Proposes to cut platforms of images for several.
    pub(super) fn propose_platforms(&mut self) {
        let used = self.used_platforms();
        let manifests: BTreeMap<&Digest, Manifest<'a>> = self
            .manifests
            .iter()
            .filter(|manifest| manifest.is_image())
            .map(|manifest| (manifest.digest, *manifest))
            .collect();
        for (digest, document) in self.facts.documents {
            let Document::Index(children) = document else {
                continue;
            };
            let images = self.images_with(digest);
            if !images.iter().any(|image| self.selected[*image]) {
                continue;
            }
            let platforms = children.iter().filter(|child| !child.is_attestation);
            let here = platforms.filter_map(|child| manifests.get(&child.digest));
            let (going, staying): (Vec<&Manifest<'_>>, Vec<&Manifest<'_>>) =
                here.partition(|manifest| {
                    let chain = manifest.chain();
                    let is_used = used.contains(manifest.digest)
                        || chain.is_some_and(|chain| used.contains(chain));
                    !is_used && self.is_requested(manifest.platform())
                });
            let cuts = self.platform_labels(digest, &going);
            if cuts.is_empty() || !self.allows(&images, Self::needs_content) {
                continue;
            }
            if staying.is_empty() {
                self.refuse(&images, KeepReason::LastPlatform, &BTreeSet::new());
            } else if !self.request.platforms.is_empty() || self.allows_content(&images) {
                self.cuts.extend(cuts);
            }
        }
    }

    /// Whether the request is to free this platform. One that is unknown may be the host's.
    fn is_requested(&self, platform: Option<&Platform>) -> bool {
        let Some(platform) = platform else {
            return false;
        };
        let named = &self.request.platforms;
        if named.is_empty() {
            return !Platform::host().may_run(platform);
        }
        let platform = platform.normalized();
        named.iter().any(|named| named.normalized() == platform)
    }

    /// Reports the names of images that have none of the platforms of the request.
    pub(super) fn with_missing_platforms(&self, named: Vec<Named>) -> Vec<Named> {
        let wanted = &self.request.platforms;
        if wanted.is_empty() || !self.request.parts.contains(&Part::Platforms) {
            return named;
        }
        let images = &self.facts.graph.namespace.images;
        let ids = ids_of_targets(self.facts);
        let named = named.into_iter().map(|named| {
            let Ok(group) = group(images, |prefix| matching(&ids, prefix), &named.name) else {
                return named;
            };
            let present = self.platforms_of(&group);
            if present.iter().any(|it| self.is_requested(Some(it))) {
                return named;
            }
            let error = NotRemoved::NoSuchPlatform {
                image: named.name.clone(),
                wanted: wanted.clone(),
                present: present.into_iter().collect(),
            };
            Named::new(named.name, Err(error))
        });
        named.collect()
    }

    /// Returns the platforms of images whose manifest and configuration are here.
    fn platforms_of(&self, images: &[usize]) -> BTreeSet<Platform> {
        let is_part = |digest: &Digest| {
            let mut images = images.iter();
            images.any(|image| {
                let contents = &self.facts.targets.of_image(*image).contents;
                contents.identity.binary_search(&digest).is_ok()
            })
        };
        let manifests = self.manifests.iter().filter(|it| it.is_image());
        let manifests = manifests.filter(|it| is_part(it.digest));
        let platforms = manifests.filter_map(|it| it.platform()).cloned();
        platforms.collect()
    }

    /// Returns the manifests and the chain IDs that containers use, whatever holds these.
    fn used_platforms(&self) -> BTreeSet<Digest> {
        let graph = &self.facts.graph;
        let containers = graph.namespace.containers.iter().chain(self.registered);
        let manifests = containers.filter_map(|it| it.image_manifest.clone());
        let mut used: BTreeSet<Digest> = manifests.collect();
        let mut seen = BTreeSet::new();
        for index in (0..graph.n_snapshots()).filter(|it| graph.is_in_use_itself(*it)) {
            let mut at = graph.parent(index);
            while let Some(node) = at.filter(|node| seen.insert(*node))
                && let Node::Snapshot(index) = graph.node(node)
            {
                used.extend(graph.snapshot(index).1.key.parse::<Digest>());
                at = graph.parent(index);
            }
        }
        used
    }

    /// Returns the cuts of the labels by which an index that is here keeps these manifests.
    fn platform_labels(&self, index: &Digest, going: &[&Manifest<'_>]) -> Vec<Cut> {
        let graph = &self.facts.graph;
        let going: BTreeSet<&Digest> = going.iter().map(|manifest| manifest.digest).collect();
        let blob = graph.blobs().find(index).map(|at| graph.blob(at));
        let labels = blob.map(|blob| &blob.gc).filter(|labels| is_plain(labels));
        let references = labels.into_iter().flat_map(|labels| &labels.refs);
        let cuts = references.filter_map(|reference| {
            let GcRef::Content(digest) = reference else {
                return None;
            };
            going.contains(digest).then(|| Cut {
                part: Part::Platforms,
                blob: index.clone(),
                target: CutTarget::Content {
                    digest: digest.clone(),
                },
            })
        });
        cuts.collect()
    }
}
