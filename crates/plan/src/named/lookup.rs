//! Finding the records that a name, as typed, means.

use std::collections::BTreeSet;

use super::same::same_references;
use reclaim_model::{Digest, IdPrefix, ImageRecord, NotRemoved, Reference};

/// The shortest beginning of an ID that Docker looks for.
const MIN_ID_LENGTH: usize = 4;

/// The records that a text means.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) meaning: Meaning,
    /// The record of that very name, if there is one.
    pub(super) record: Option<usize>,
    /// All records of its target, or of every target that has the ID, ascending; at least one.
    pub(super) all: Vec<usize>,
}

/// How a text is to be read.
#[derive(Debug)]
pub(super) enum Meaning {
    /// It names a record.
    Name,
    /// It names a digest in a repository, and no record has exactly that name.
    Repository(Reference),
    /// It is an ID, or the beginning of one.
    Id,
}

/// Finds what `text` means among the images (sorted by name) that are there.
///
/// A name wins over an ID that begins like it. An ID is the digest of a target. If no target's
/// digest begins like it, it may be that of a configuration, which is the ID for the CRI plugin:
/// then it means every target that has the configuration. `ids` returns the configurations with a
/// prefix, each with its target. A record whose name is not a reference, or not in its canonical
/// form, is found by exactly that name if the text means nothing else.
///
/// Source: moby, `daemon/containerd/image.go`, and `TestLookup` beside it.
pub(super) fn lookup(
    images: &[ImageRecord],
    is_there: impl Fn(usize) -> bool,
    ids: impl Fn(&IdPrefix) -> Vec<(Digest, Digest)>,
    text: &str,
) -> Result<Found, NotRemoved> {
    if text.trim().is_empty() {
        return Err(NotRemoved::Blank);
    }
    let find = |name: &str| {
        let found = images.binary_search_by(|image| image.name.as_str().cmp(name));
        found.ok().filter(|index| is_there(*index))
    };
    let of = |digest: &Digest| -> Vec<usize> {
        let all = 0..images.len();
        all.filter(|it| images[*it].target.digest == *digest && is_there(*it))
            .collect()
    };
    let by_name = |record: usize| Found {
        meaning: Meaning::Name,
        record: Some(record),
        all: of(&images[record].target.digest),
    };
    let of_all = |targets: &BTreeSet<Digest>| -> Vec<usize> {
        let all = 0..images.len();
        all.filter(|it| targets.contains(&images[*it].target.digest) && is_there(*it))
            .collect()
    };
    if let Some(id) = whole_id(text) {
        // The CRI plugin's record by ID stands for the image.
        let record = find(&id.to_string());
        let digest = record.map_or(&id, |it| &images[it].target.digest);
        let prefix = IdPrefix::parse(&id.hex()).filter(|prefix| prefix.matches(&id));
        let configurations = prefix.map(|it| ids(&it)).unwrap_or_default();
        let targets = configurations.into_iter().map(|(_, target)| target);
        let targets = targets.chain([digest.clone()]).collect();
        return found(Meaning::Id, record, of_all(&targets))
            .ok_or_else(|| NotRemoved::NoSuchImage(id.to_string()));
    }
    let reference = match Reference::parse_normalized(text) {
        Ok(reference) => reference,
        Err(error) => {
            return find(text).map(by_name).ok_or(NotRemoved::Reference(error));
        }
    };
    let prefix = IdPrefix::parse(text).filter(|it| it.hex_len() >= MIN_ID_LENGTH);
    let full = reference.clone().with_default_tag();
    if let Some(record) = find(&full.to_string()) {
        let digest = &images[record].target.digest;
        let is_id = prefix.is_some_and(|prefix| prefix.matches(digest));
        return Ok(Found {
            meaning: if is_id { Meaning::Id } else { Meaning::Name },
            ..by_name(record)
        });
    }
    let among = match (&prefix, reference.digest()) {
        (Some(prefix), _) => {
            let there = (0..images.len()).filter(|it| is_there(*it));
            let there: Vec<&ImageRecord> = there.map(|it| &images[it]).collect();
            let targets = targets_of(prefix, &there, ids)?;
            found(Meaning::Id, None, of_all(&targets))
        }
        (None, Some(digest)) => found(Meaning::Repository(reference.clone()), None, of(digest)),
        (None, None) => None,
    };
    among
        .or_else(|| find(text).map(by_name))
        .ok_or_else(|| NotRemoved::NoSuchImage(full.familiar()))
}

/// Returns the targets of the one ID with this prefix: that of a target, or of a configuration.
fn targets_of(
    prefix: &IdPrefix,
    there: &[&ImageRecord],
    ids: impl Fn(&IdPrefix) -> Vec<(Digest, Digest)>,
) -> Result<BTreeSet<Digest>, NotRemoved> {
    let targets = there.iter().map(|image| &image.target.digest);
    let targets: BTreeSet<&Digest> = targets.filter(|it| prefix.matches(it)).collect();
    if targets.len() > 1 {
        return Err(NotRemoved::Ambiguous);
    }
    if let Some(target) = targets.first() {
        return Ok(BTreeSet::from([(*target).clone()]));
    }
    let by_record = there.iter().filter(|image| image.is_cri_managed());
    let by_record = by_record.filter_map(|image| {
        let id = image.name.parse().ok().filter(|id| prefix.matches(id))?;
        Some((id, image.target.digest.clone()))
    });
    let is_there = |target: &Digest| there.iter().any(|image| image.target.digest == *target);
    let by_configuration = ids(prefix).into_iter();
    let by_configuration = by_configuration.filter(|(_, target)| is_there(target));
    let (ids, targets): (BTreeSet<Digest>, BTreeSet<Digest>) =
        by_record.chain(by_configuration).unzip();
    if ids.len() > 1 {
        return Err(NotRemoved::Ambiguous);
    }
    Ok(targets)
}

/// Whether there is an image that `text` means.
pub(crate) fn exists(images: &[ImageRecord], text: &str) -> bool {
    match lookup(images, |_| true, no_ids, text) {
        Ok(Found {
            meaning: Meaning::Repository(reference),
            all,
            ..
        }) => !same_references(Some(&reference), &all, images).is_empty(),
        // Ambiguous: there are several.
        Ok(_) | Err(NotRemoved::Ambiguous) => true,
        Err(_) => false,
    }
}

/// Returns the position of a record of the image that `text` means, in a list sorted by name;
/// `ids` as for [`lookup`].
pub(crate) fn find(
    images: &[ImageRecord],
    ids: impl Fn(&IdPrefix) -> Vec<(Digest, Digest)>,
    text: &str,
) -> Result<usize, NotRemoved> {
    let found = lookup(images, |_| true, ids, text)?;
    Ok(found.record.unwrap_or(found.all[0]))
}

/// For lookups that know configurations only by the CRI plugin's records of them.
pub(super) fn no_ids(_: &IdPrefix) -> Vec<(Digest, Digest)> {
    Vec::new()
}

fn found(meaning: Meaning, record: Option<usize>, all: Vec<usize>) -> Option<Found> {
    (!all.is_empty()).then_some(Found {
        meaning,
        record,
        all,
    })
}

/// Reads a whole ID, with or without its algorithm.
fn whole_id(text: &str) -> Option<Digest> {
    let bare = || format!("sha256:{text}").parse().ok();
    text.parse().ok().or_else(bare)
}
