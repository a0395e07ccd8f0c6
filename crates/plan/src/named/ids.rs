//! Image IDs as the CRI plugin and nerdctl have them: the digest of a configuration.
//!
//! Docker's ID is the digest of the one target. A configuration may belong to several targets: to
//! two manifests that compress its layers differently, or to two indexes.

use std::collections::BTreeSet;

use reclaim_model::{Child, Digest, Document, DocumentKind, IdPrefix};

use crate::facts::Facts;

/// A configuration and a target whose ID it is.
pub(crate) type IdOfTarget<'a> = (&'a Digest, &'a Digest);

/// Returns the configurations that are IDs of targets, each with its target, sorted.
///
/// A configuration is the ID of an index if no other platform of the index is there. If several
/// are, the ID is the host's, which is known only from the CRI plugin's record.
pub(crate) fn ids_of_targets<'a>(facts: &Facts<'a>) -> Vec<IdOfTarget<'a>> {
    let images = &facts.graph.namespace.images;
    let managed = images.iter().filter(|image| image.is_cri_managed());
    let of_cri: BTreeSet<Digest> = managed.filter_map(|it| it.name.parse().ok()).collect();
    // An image whose own descriptors are wrong may name a configuration that it does not have.
    let targets = facts.targets.iter();
    let sound = targets.filter(|(_, target)| target.contents.defect.is_none());
    let ids = sound.flat_map(|(_, target)| {
        let configurations = configurations(facts, target.digest);
        let is_only = configurations.len() == 1;
        let ids = configurations.into_iter();
        ids.filter(|id| is_only || of_cri.contains(*id))
            .map(|id| (id, target.digest))
            .collect::<Vec<_>>()
    });
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids
}

/// Returns the IDs that begin so, each with its target.
pub(crate) fn matching(ids: &[IdOfTarget<'_>], prefix: &IdPrefix) -> Vec<(Digest, Digest)> {
    let matching = ids.iter().filter(|(id, _)| prefix.matches(id));
    matching
        .map(|(id, target)| ((*id).clone(), (*target).clone()))
        .collect()
}

/// Returns the configurations of a target's platforms that are there.
fn configurations<'a>(facts: &Facts<'a>, target: &'a Digest) -> BTreeSet<&'a Digest> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut stack = vec![target];
    let is_platform = |child: &&Child| !child.is_attestation && child.kind != DocumentKind::Leaf;
    while let Some(digest) = stack.pop() {
        if !seen.insert(digest) {
            continue;
        }
        match facts.documents.get(digest) {
            Some(Document::Index(children) | Document::Manifest(children)) => {
                let platforms = children.iter().filter(is_platform);
                stack.extend(platforms.map(|child| &child.digest));
            }
            Some(Document::Config(_)) if facts.graph.find_blob(digest).is_some() => {
                found.insert(digest);
            }
            Some(Document::Config(_) | Document::Torn(_) | Document::NotRead(_)) | None => {}
        }
    }
    found
}
