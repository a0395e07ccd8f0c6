//! Whether an image can be pulled again, by what its blobs say about where they came from.

use reclaim_model::{Digest, Reference};

use crate::facts::Facts;
use crate::graph::Node;

/// Whether a registry is known to have the image of this index.
///
/// A record with a repository can be pulled again if that repository is a source of the target.
/// A record without one is no loss if another record of the target has one, because that one
/// can be pulled again or stays, unless it expires. Otherwise any source of the target will do.
/// A target that is not here cannot be lost.
pub(crate) fn has_source(facts: &Facts<'_>, image: usize) -> bool {
    let Facts { graph, targets, .. } = facts;
    let records = &graph.namespace.images;
    let found = graph.find_blob(&records[image].target.digest);
    let Some(Node::Blob(blob)) = found.map(|id| graph.node(id)) else {
        return true;
    };
    let sources = &graph.blob(blob).sources;
    if has_repository(facts, image) {
        let name = Reference::parse_normalized(&records[image].name);
        return name.is_ok_and(|name| sources.has_repository_of(&name));
    }
    let of_digest = targets.of_digest(image);
    let mut others = of_digest.flat_map(|id| &targets.get(id).images);
    let stays = |other: usize| records[other].expires.is_none();
    others.any(|other| has_repository(facts, *other) && stays(*other)) || !sources.is_empty()
}

/// Whether the name of a record is one of a repository, rather than an ID or a made-up name.
pub(crate) fn has_repository(facts: &Facts<'_>, image: usize) -> bool {
    let name = &facts.graph.namespace.images[image].name;
    facts.names.is_name(image) && name.parse::<Digest>().is_err()
}
