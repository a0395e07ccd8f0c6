//! Whether a registry mirror on this machine may serve an image's layers to other machines.

use std::collections::BTreeSet;

use reclaim_model::{Holder, HolderKind, ImageParts, KeepReason, PruneFilters, Reference};

use super::Refusal;
use crate::facts::Facts;
use crate::last_copy::has_repository;

/// Returns why an image must keep its layers for a mirror, unless the request frees them anyway.
pub(super) fn keeps(
    facts: &Facts<'_>,
    request: &ImageParts<PruneFilters>,
    image: usize,
) -> Option<Refusal> {
    let mirror = serving(facts, image).filter(|_| !request.mirrored_layers)?;
    Some((KeepReason::RegistryMirror, BTreeSet::from([mirror])))
}

/// Returns why a mirror may serve the layers of an image.
///
/// The registry of a name decides. If no record of the image has one, any mirror may serve it.
fn serving(facts: &Facts<'_>, image: usize) -> Option<Holder> {
    let namespace = facts.graph.namespace;
    let mirrors = &namespace.mirrors;
    let why = if has_repository(facts, image) {
        let name = Reference::parse_normalized(&namespace.images[image].name).ok()?;
        mirrors.get(name.domain())
    } else {
        let of_digest = facts.targets.of_digest(image);
        let mut records = of_digest.flat_map(|id| &facts.targets.get(id).images);
        let is_named = records.any(|record| has_repository(facts, *record));
        mirrors.values().next().filter(|_| !is_named)
    };
    why.map(|why| Holder::new(HolderKind::Rule, why.clone()))
}
