//! What the texts mean by which engines say what a container was created from.

use reclaim_model::{Container, ContainerSource, IdPrefix, Reference};

/// The shortest text that may be the beginning of an ID if no record has that name.
///
/// Docker's own lookup of images takes four to sixty-four hexadecimal characters.
pub(super) const MIN_ID_LENGTH: usize = 4;

/// The length of a whole SHA-256 in hexadecimal.
pub(super) const WHOLE_ID_LENGTH: usize = 64;

/// Whether a container's record has a whole digest of what it was created from.
pub(super) fn names_digest(container: &Container) -> bool {
    let image = &container.image;
    let reference = || Reference::parse_normalized(image).ok();
    let is_whole = |prefix: IdPrefix| prefix.hex_len() == WHOLE_ID_LENGTH;
    let is_label = container.source == ContainerSource::Label;
    container.image_digest.is_some() && !is_label
        || IdPrefix::parse(image).is_some_and(is_whole)
        || reference().is_some_and(|it| it.digest().is_some())
}

/// Returns the record names that a reference may mean: with its default tag, and if it has both a
/// tag and a digest also with the tag alone and with the digest alone.
///
/// Source: Docker's pruner keeps `name:tag` for a container created from `name:tag@digest`,
/// whatever the tag now points at.
pub(super) fn record_names(reference: Reference) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(digest) = reference.digest() {
        names.push(format!("{}@{digest}", reference.repository()));
        if let Some(tag) = reference.tag() {
            names.push(format!("{}:{tag}", reference.repository()));
        }
    }
    names.push(reference.with_default_tag().to_string());
    names
}
