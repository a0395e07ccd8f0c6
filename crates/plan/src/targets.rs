//! The distinct targets of a namespace's images, their contents, and how to find them.

use std::ops::Range;

use reclaim_model::{Digest, DocumentKind, IdPrefix, Inventory, NamespaceInventory};

use crate::contents::ImageContents;
use crate::finder::{Blobs, Documents, digest_tag};
use crate::parallel::in_parts;

/// One target, by position.
pub(crate) type TargetId = usize;

/// One target with all records that point at it and call it the same kind of document.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) digest: &'a Digest,
    pub(crate) contents: ImageContents<'a>,
    /// Indexes of the images, ascending.
    pub(crate) images: Vec<usize>,
}

/// Every target once for each kind that records call it: the description in one record says
/// nothing about another.
#[derive(Debug)]
pub(crate) struct Targets<'a> {
    targets: Vec<Target<'a>>,
    of_images: Vec<TargetId>,
}

impl<'a> Targets<'a> {
    /// Finds the targets of a namespace and reads the contents of each.
    pub(crate) fn new(
        namespace: &'a NamespaceInventory,
        blobs: &Blobs<'a>,
        inventory: &'a Inventory,
    ) -> Self {
        let documents = Documents::new(&inventory.documents);
        let digest = |image: usize| &namespace.images[image].target.digest;
        let called = |image: usize| namespace.images[image].target.kind();
        let images = 0..namespace.images.len();
        // With the tag first, most comparisons need not look at the records.
        let mut images: Vec<_> = images.map(|it| (digest_tag(digest(it)), it)).collect();
        images.sort_unstable_by(|(tag, image), (other_tag, other)| {
            let by_digest = || digest(*image).cmp(digest(*other));
            let by_tag = tag.cmp(other_tag);
            // A leaf first: the last target with a digest is the one that the digest means.
            let by_kind = || called(*other).cmp(&called(*image));
            let by_target = by_tag.then_with(by_digest).then_with(by_kind);
            by_target.then(image.cmp(other))
        });
        let same = |(_, one): &(u64, usize), (_, other): &(u64, usize)| {
            digest(*one) == digest(*other) && called(*one) == called(*other)
        };
        let groups: Vec<_> = images.chunk_by(same).collect();
        let mut of_images = vec![0; images.len()];
        for (id, group) in groups.iter().enumerate() {
            for (_, image) in *group {
                of_images[*image] = id;
            }
        }
        let target = |group: &[(u64, usize)]| {
            let (digest, called): (&Digest, DocumentKind) =
                (digest(group[0].1), called(group[0].1));
            Target {
                digest,
                contents: ImageContents::of(digest, called, blobs, &documents),
                images: group.iter().map(|(_, image)| *image).collect(),
            }
        };
        let parts = in_parts(groups.len(), |part| {
            let groups = groups[part].iter();
            groups.map(|group| target(group)).collect::<Vec<_>>()
        });
        Self {
            targets: parts.into_iter().flatten().collect(),
            of_images,
        }
    }

    /// Number of targets.
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Returns every target.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TargetId, &Target<'a>)> {
        self.targets.iter().enumerate()
    }

    /// Returns the target of every image, in the order of the images.
    pub(crate) fn of_images(&self) -> &[TargetId] {
        &self.of_images
    }

    /// Returns all targets with the digest of an image's target, by the image's index: more than
    /// one if records call it different things.
    pub(crate) fn of_digest(&self, image: usize) -> Range<TargetId> {
        let id = self.of_images[image];
        let digest = self.targets[id].digest;
        let is_same = |target: &&Target<'_>| target.digest == digest;
        let before = self.targets[..id].iter().rev().take_while(is_same).count();
        let after = self.targets[id..].iter().take_while(is_same).count();
        id - before..id + after
    }

    /// Returns a target.
    pub(crate) fn get(&self, id: TargetId) -> &Target<'a> {
        &self.targets[id]
    }

    /// Returns the target of an image, by the image's index.
    pub(crate) fn of_image(&self, image: usize) -> &Target<'a> {
        &self.targets[self.of_images[image]]
    }
}

/// Which targets have a digest in common: in their identity, or as a chain.
#[derive(Debug)]
pub(crate) struct TargetsByDigest<'a> {
    /// Sorted; with the tag first, most comparisons need not look at the digests.
    entries: Vec<(u64, &'a Digest, TargetId)>,
}

impl<'a> TargetsByDigest<'a> {
    /// Finds the targets by their index, manifests and configurations.
    pub(crate) fn by_identity(targets: &Targets<'a>) -> Self {
        Self::new(targets, |contents| &contents.identity)
    }

    /// Finds the targets by the chains to which they are unpacked.
    pub(crate) fn by_chain(targets: &Targets<'a>) -> Self {
        Self::new(targets, |contents| &contents.chains)
    }

    fn new<'t>(
        targets: &'t Targets<'a>,
        digests: impl Fn(&'t ImageContents<'a>) -> &'t [&'a Digest],
    ) -> Self {
        let mut entries = Vec::with_capacity(targets.targets.len());
        for (id, target) in targets.iter() {
            let digests = digests(&target.contents).iter();
            entries.extend(digests.map(|digest| (digest_tag(digest), *digest, id)));
        }
        entries.sort_unstable();
        Self { entries }
    }

    /// Returns the targets that have this digest.
    pub(crate) fn get(
        &self,
        digest: &Digest,
    ) -> impl Iterator<Item = TargetId> + Clone + use<'_, 'a> {
        let key = (digest_tag(digest), digest);
        let first = self.entries.partition_point(|it| (it.0, it.1) < key);
        let rest = &self.entries[first..];
        let found = rest.partition_point(|it| (it.0, it.1) == key);
        rest[..found].iter().map(|it| it.2)
    }

    /// Returns the targets that have a digest which begins so.
    pub(crate) fn matching(&self, prefix: &IdPrefix) -> impl Iterator<Item = TargetId> {
        // Digests of other algorithms may stand between those that match.
        let (first, last) = tags(prefix);
        let from = self.entries.partition_point(|it| it.0 < first);
        let within = self.entries[from..]
            .iter()
            .take_while(move |it| it.0 <= last);
        let matching = within.filter(|it| prefix.matches(it.1));
        matching.map(|it| it.2)
    }
}

/// The lowest and highest tag of a digest that begins so.
fn tags(prefix: &IdPrefix) -> (u64, u64) {
    const NIBBLES: usize = 16;
    let hex = prefix.to_string();
    let hex = &hex[..hex.len().min(NIBBLES)];
    let tag = |filler| {
        let filled = format!("{hex}{}", String::from(filler).repeat(NIBBLES - hex.len()));
        u64::from_str_radix(&filled, 16).expect("sixteen hexadecimal characters")
    };
    (tag('0'), tag('f'))
}
