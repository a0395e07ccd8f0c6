//! The contents of an image, read from the documents behind its target.
//!
//! Several records may share a target, and several targets a manifest or config; each target
//! is read once for each kind that its records call it.
//!
//! # An image is read by its own descriptors
//!
//! A document is what its bytes say, whichever image names it. If a descriptor of this image
//! calls it something else, only this image is uncertain, not the document nor any other image
//! that has it. The depth of a document also counts within this image. So no image can change
//! how another one is read.

use std::collections::BTreeSet;

use reclaim_model::{Child, Config, Digest, Document, DocumentKind, MAX_DOCUMENT_DEPTH};

use crate::finder::{Blobs, Documents};

/// What the documents behind one target say.
#[derive(Debug, Default)]
pub(crate) struct ImageContents<'a> {
    /// The target, and every index, manifest and config below it, present or not, sorted. A lease
    /// or container that names one of these means this image; layers are shared and do not count.
    pub(crate) identity: Vec<&'a Digest>,
    /// Chain IDs under which its platforms are unpacked, sorted.
    pub(crate) chains: Vec<&'a Digest>,
    /// Configurations of the platforms that are present in the namespace. Attestations describe
    /// an image and are not one of its platforms.
    pub(crate) configs: Vec<&'a Config>,
    /// The worst defect among the documents that are there and cannot be read.
    pub(crate) defect: Option<Defect<'a>>,
    /// Whether it may have more chains than are known: a document cannot be read, or the target,
    /// a config or every manifest of an index is absent. Single platforms of an index usually are.
    pub(crate) is_incomplete: bool,
}

/// A document of an image that is there and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Defect<'a> {
    pub(crate) what: What<'a>,
    /// Which blob.
    pub(crate) digest: &'a Digest,
}

/// Why a document cannot be read, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What<'a> {
    /// Its bytes are wrong; no reader accepts it.
    Torn(&'a str),
    /// It was not read.
    NotRead(&'a str),
    /// It nests deeper than documents are read.
    TooDeep,
    /// A descriptor of this image calls it something else than it is.
    Misnamed {
        called: DocumentKind,
        is: DocumentKind,
    },
}

impl Defect<'_> {
    /// Whether no reader accepts it, so that the image cannot be used.
    pub(crate) fn is_torn(&self) -> bool {
        matches!(self.what, What::Torn(_))
    }

    /// Returns what is wrong as people read it.
    pub(crate) fn text(&self) -> String {
        let digest = self.digest;
        match self.what {
            What::Torn(why) => format!("`{digest}` is damaged: {why}"),
            What::NotRead(why) => format!("`{digest}` cannot be read: {why}"),
            What::TooDeep => format!("`{digest}` nests deeper than {MAX_DOCUMENT_DEPTH} levels"),
            What::Misnamed { called, is } => {
                format!("a descriptor names `{digest}` as {called}, but its bytes are {is}")
            }
        }
    }
}

/// A document to visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Visit<'a> {
    digest: &'a Digest,
    /// What the descriptor calls it.
    called: DocumentKind,
    role: Role,
}

impl<'a> ImageContents<'a> {
    /// Walks the documents below `target`, which its records call a `called`.
    ///
    /// `blobs` are those of the image's namespace; `documents` may come from any namespace,
    /// since a digest means the same everywhere.
    pub(crate) fn of(
        target: &'a Digest,
        called: DocumentKind,
        blobs: &Blobs<'a>,
        documents: &Documents<'a>,
    ) -> Self {
        let first = Visit {
            digest: target,
            called,
            role: Role::Platform,
        };
        let mut contents = Self::default();
        let mut seen = BTreeSet::from([first]);
        let mut level = vec![first];
        for depth in 0.. {
            let mut next = Vec::new();
            for visit in level {
                for child in contents.visit(visit, depth, blobs, documents) {
                    let child = Visit {
                        digest: &child.digest,
                        called: child.kind,
                        role: visit.role.of_child(child),
                    };
                    if seen.insert(child) {
                        next.push(child);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        contents.is_incomplete |= contents.defect.is_some()
            || called == DocumentKind::Leaf
            || !documents.contains(target);
        contents.identity = seen.into_iter().map(|visit| visit.digest).collect();
        contents.identity.dedup();
        contents.chains.sort_unstable();
        contents.chains.dedup();
        contents
    }

    /// Adds what one document says, and returns the documents that it names.
    fn visit(
        &mut self,
        visit: Visit<'a>,
        depth: usize,
        blobs: &Blobs<'a>,
        documents: &Documents<'a>,
    ) -> impl Iterator<Item = &'a Child> + use<'a> {
        let Visit {
            digest,
            called,
            role,
        } = visit;
        // The image itself says that a leaf is not to be read.
        let is_read = depth <= MAX_DOCUMENT_DEPTH && called != DocumentKind::Leaf;
        let found = documents.get(digest).filter(|_| is_read);
        let what = match found {
            // Even if it is there: the store reads no deeper.
            _ if depth > MAX_DOCUMENT_DEPTH => Some(What::TooDeep),
            Some(Document::Torn(why)) => Some(What::Torn(why)),
            Some(Document::NotRead(why)) => Some(What::NotRead(why)),
            Some(document) => {
                let is = document.kind().filter(|is| *is != called);
                is.map(|is| What::Misnamed { called, is })
            }
            None => None,
        };
        let defect = what.map(|what| Defect { what, digest });
        self.defect = self.defect.max(defect);
        match found {
            Some(Document::Index(children)) => {
                let mut manifests = documents_among(children).peekable();
                self.is_incomplete |= manifests.peek().is_some()
                    && !manifests.any(|it| documents.contains(&it.digest));
            }
            Some(Document::Manifest(children)) => {
                let mut configs = documents_among(children);
                self.is_incomplete |= configs.any(|it| !documents.contains(&it.digest));
            }
            Some(Document::Config(config)) => {
                self.chains.extend(&config.chain_id);
                if role == Role::Platform && blobs.contains(digest) {
                    self.configs.push(config);
                }
            }
            Some(Document::Torn(_) | Document::NotRead(_)) | None => {}
        }
        documents_among(found.map_or(&[], Document::children))
    }
}

/// The role of a document in the image. A digest that has both roles is a platform.
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

/// Returns the children that describe the image.
fn documents_among(children: &[Child]) -> impl Iterator<Item = &Child> {
    children.iter().filter(|it| it.kind != DocumentKind::Leaf)
}
