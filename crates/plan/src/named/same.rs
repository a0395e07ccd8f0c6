//! Which records of one target mean the same name.

use reclaim_model::{ImageRecord, Reference};

/// Returns those of `all`, records of one target, that count as the same name as `named`, or as
/// the first of them that is a name.
///
/// Those have the same repository and tag; or the same repository and only a digest, if no other
/// tag of it is here; or any tag of it, if the name itself has only a digest. A record that is not
/// a name counts with any.
///
/// Source: moby, `getSameReferences` in `daemon/containerd/image_delete.go`.
pub(super) fn same_references(
    named: Option<&Reference>,
    all: &[usize],
    images: &[ImageRecord],
) -> Vec<usize> {
    let mut repository = named.map(Reference::repository);
    let mut tag = named.and_then(Reference::tag).map(str::to_owned);
    let takes_all_tags = named.is_some_and(|it| it.tag().is_none() && it.digest().is_some());
    let mut same = Vec::new();
    let mut by_digest = Some(Vec::new());
    for index in all {
        let Some(reference) = canonical(&images[*index]) else {
            same.push(*index);
            continue;
        };
        match &repository {
            None => {
                repository = Some(reference.repository());
                tag = reference.tag().map(str::to_owned);
                same.push(*index);
            }
            Some(repository) if *repository != reference.repository() => {}
            Some(_) if takes_all_tags => same.push(*index),
            Some(_) => match (reference.tag(), &tag) {
                (None, _) => {
                    if let Some(by_digest) = &mut by_digest {
                        by_digest.push(*index);
                    }
                }
                (Some(its), None) => {
                    tag = Some(its.to_owned());
                    same.push(*index);
                }
                (Some(its), Some(tag)) if its == tag => same.push(*index),
                // Records with only a digest belong to the other tag, too.
                (Some(_), Some(_)) => by_digest = None,
            },
        }
    }
    same.extend(by_digest.unwrap_or_default());
    same
}

/// The name as a reference, if it is one in its full form.
fn canonical(image: &ImageRecord) -> Option<Reference> {
    if image.is_dangling() {
        return None;
    }
    let reference = Reference::parse_normalized(&image.name).ok()?;
    (reference.to_string() == image.name).then_some(reference)
}
