//! One entry for all documents: check the claim, then read.

use std::slice;

use reclaim_model::Digest;

use crate::config::{ImageConfig, parse_config};
use crate::descriptor::Descriptor;
use crate::error::ReadError;
use crate::index::{Index, parse_index};
use crate::kind::Kind;
use crate::limits::{Limits, check_count};
use crate::manifest::{Manifest, parse_manifest};
use crate::verify::verify;

/// A document whose bytes are those of its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An index.
    Index(Index),
    /// A manifest.
    Manifest(Manifest),
    /// An image config.
    Config(ImageConfig),
}

impl Document {
    /// Returns the blobs that the document names, in the order of a walk: the config, then the
    /// layers; the manifests in order. Duplicates stay: whoever counts bytes counts each
    /// digest once. A config has no children.
    ///
    /// Source: containerd `core/images/image.go`, `Children`.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let (first, rest): (&[Descriptor], &[Descriptor]) = match self {
            Self::Index(index) => (&[], &index.manifests),
            Self::Manifest(manifest) => (slice::from_ref(&manifest.config), &manifest.layers),
            Self::Config(_) => (&[], &[]),
        };
        first.iter().chain(rest)
    }
}

/// Reads the document of `kind` from the `bytes` that a store returned for `digest`.
///
/// `expected_size` is the size in bytes that the descriptor states, where one is known.
///
/// The checks run from cheap to dear and stop at the first that fails: size limit, size,
/// digest, shape, counts. So no byte is parsed that is not the content of the digest.
///
/// # Errors
///
/// Any [`ReadError`] but [`ReadError::TooDeep`]. Schema 1 and leaves are errors, too: ask
/// [`Kind::of`] first.
pub fn read(
    kind: Kind,
    digest: &Digest,
    expected_size: Option<u64>,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Document, ReadError> {
    let size = bytes.len() as u64;
    limits.check_size(kind, size)?;
    if let Some(expected) = expected_size.filter(|expected| *expected != size) {
        return Err(ReadError::WrongSize {
            expected,
            got: size,
        });
    }
    verify(digest, bytes)?;
    let document = match kind {
        Kind::Index => Document::Index(parse_index(bytes)?),
        Kind::Manifest => Document::Manifest(parse_manifest(bytes)?),
        Kind::Config => Document::Config(parse_config(bytes)?),
        Kind::Schema1 => return Err(ReadError::Schema1),
        Kind::Leaf => return Err(ReadError::NotADocument(kind)),
    };
    check_counts(&document, limits)?;
    Ok(document)
}

fn check_counts(document: &Document, limits: &Limits) -> Result<(), ReadError> {
    check_count("children", document.children().count(), limits.max_children)?;
    match document {
        Document::Index(_) | Document::Manifest(_) => Ok(()),
        Document::Config(config) => {
            check_count("diff IDs", config.diff_ids.len(), limits.max_children)?;
            check_count("labels", config.labels.len(), limits.max_labels)
        }
    }
}
