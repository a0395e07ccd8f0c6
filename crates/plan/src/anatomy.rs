//! What an image is, put together from the documents behind its target.
//!
//! Several records may share a target, and several targets a manifest or config; each target
//! is looked at once.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{Blob, Child, Config, Digest, Document, DocumentKind, ImageRecord};

/// What the documents behind one target say.
#[derive(Debug, Default)]
pub(crate) struct Anatomy<'a> {
    /// The target, and every index, manifest and config below it, present or not: a lease or
    /// container that names one of these means this image. Layers are shared and mean nothing.
    pub(crate) identity: BTreeSet<&'a Digest>,
    /// Chain IDs under which its platforms are unpacked.
    pub(crate) chains: BTreeSet<&'a Digest>,
    /// Configurations of the platforms that are present in the namespace.
    pub(crate) configs: Vec<&'a Config>,
    /// A document that is there but cannot be read, and why.
    pub(crate) unreadable: Option<(&'a Digest, &'a str)>,
    /// Whether something without which its chain cannot be known is not there at all.
    pub(crate) is_incomplete: bool,
}

impl<'a> Anatomy<'a> {
    /// Walks the documents below the target of `image`.
    ///
    /// `blobs` are those of the image's namespace, sorted; `documents` may come from any
    /// namespace, since a digest means the same everywhere.
    pub(crate) fn of(
        image: &'a ImageRecord,
        blobs: &[Blob],
        documents: &'a BTreeMap<Digest, Document>,
    ) -> Self {
        let mut anatomy = Self::default();
        let target = &image.target.digest;
        anatomy.identity.insert(target);
        let mut queue = vec![target];
        while let Some(digest) = queue.pop() {
            let Some(document) = documents.get(digest) else {
                anatomy.is_incomplete |= digest == target && !is_present(blobs, digest);
                continue;
            };
            match document {
                Document::Index(children) => anatomy.add_children(children, &mut queue),
                Document::Manifest(children) => {
                    let config = children.iter().find(|it| it.kind == DocumentKind::Config);
                    anatomy.is_incomplete |=
                        config.is_some_and(|config| !documents.contains_key(&config.digest));
                    anatomy.add_children(children, &mut queue);
                }
                Document::Config(config) => {
                    anatomy.chains.extend(&config.chain_id);
                    if is_present(blobs, digest) {
                        anatomy.configs.push(config);
                    }
                }
                Document::Unreadable(why) => anatomy.unreadable = Some((digest, why)),
            }
        }
        anatomy
    }

    /// Queues the children that say something about the image. Attestations describe it and
    /// are no platform of it; as parts of its identity they count all the same.
    fn add_children(&mut self, children: &'a [Child], queue: &mut Vec<&'a Digest>) {
        for child in children.iter().filter(|it| it.kind != DocumentKind::Leaf) {
            let is_new = self.identity.insert(&child.digest);
            if is_new && !child.is_attestation {
                queue.push(&child.digest);
            }
        }
    }
}

/// Whether the namespace has the blob.
pub(crate) fn is_present(blobs: &[Blob], digest: &Digest) -> bool {
    blobs
        .binary_search_by(|blob| blob.digest.cmp(digest))
        .is_ok()
}
