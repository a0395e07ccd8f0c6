//! What an image is, put together from the documents behind its target.
//!
//! Several records may share a target, and several targets a manifest or config; each target
//! is looked at once.

use std::collections::BTreeSet;

use reclaim_model::{Child, Config, Digest, Document, DocumentKind};

use crate::finder::{Blobs, Documents};

/// What the documents behind one target say.
#[derive(Debug, Default)]
pub(crate) struct Anatomy<'a> {
    /// The target, and every index, manifest and config below it, present or not: a lease or
    /// container that names one of these means this image. Layers are shared and mean nothing.
    /// Sorted.
    pub(crate) identity: Vec<&'a Digest>,
    /// Chain IDs under which its platforms are unpacked, sorted.
    pub(crate) chains: Vec<&'a Digest>,
    /// Configurations of the platforms that are present in the namespace. Attestations describe
    /// an image and are no platform of it.
    pub(crate) configs: Vec<&'a Config>,
    /// A document that is there but cannot be read, and why.
    pub(crate) unreadable: Option<(&'a Digest, &'a str)>,
    /// Whether its chains may be more than those known: the target is not there, or a config, or
    /// of an index every manifest. Single platforms of an index are absent as a rule.
    pub(crate) is_incomplete: bool,
}

impl<'a> Anatomy<'a> {
    /// Walks the documents below `target`.
    ///
    /// `blobs` are those of the image's namespace; `documents` may come from any namespace,
    /// since a digest means the same everywhere.
    pub(crate) fn of(target: &'a Digest, blobs: &Blobs<'a>, documents: &Documents<'a>) -> Self {
        let mut anatomy = Self::default();
        let mut seen = BTreeSet::from([(target, Role::Platform)]);
        let mut queue = vec![(target, Role::Platform)];
        while let Some((digest, role)) = queue.pop() {
            let Some(document) = documents.get(digest) else {
                anatomy.is_incomplete |= digest == target;
                continue;
            };
            let children = match document {
                Document::Index(children) => {
                    let mut manifests = documents_among(children).peekable();
                    anatomy.is_incomplete |= manifests.peek().is_some()
                        && !manifests.any(|it| documents.contains(&it.digest));
                    children.as_slice()
                }
                Document::Manifest(children) => {
                    let mut configs = documents_among(children);
                    anatomy.is_incomplete |= configs.any(|it| !documents.contains(&it.digest));
                    children.as_slice()
                }
                Document::Config(config) => {
                    anatomy.chains.extend(&config.chain_id);
                    if role == Role::Platform && blobs.contains(digest) {
                        anatomy.configs.push(config);
                    }
                    &[]
                }
                Document::Unreadable(why) => {
                    anatomy.unreadable = Some((digest, why));
                    &[]
                }
            };
            for child in documents_among(children) {
                let role = role.of_child(child);
                if seen.insert((&child.digest, role)) {
                    queue.push((&child.digest, role));
                }
            }
        }
        anatomy.identity = seen.into_iter().map(|(digest, _)| digest).collect();
        anatomy.identity.dedup();
        anatomy.chains.sort_unstable();
        anatomy.chains.dedup();
        anatomy
    }
}

/// What a document is to the image. One digest may be both: then it is a platform, whatever
/// else an index says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Platform,
    Attestation,
}

impl Role {
    fn of_child(self, child: &Child) -> Self {
        if child.is_attestation {
            Self::Attestation
        } else {
            self
        }
    }
}

/// The children that say something about the image.
fn documents_among(children: &[Child]) -> impl Iterator<Item = &Child> {
    children.iter().filter(|it| it.kind != DocumentKind::Leaf)
}
