//! Reads any document: checks its digest and size, then its shape.

use reclaim_model::Digest;

use crate::config::{ConfigReader, ImageConfig};
use crate::descriptor::Descriptor;
use crate::error::ReadError;
use crate::json::{check_syntax, decode};
use crate::kind::Kind;
use crate::labels::LabelKeys;
use crate::limits::Limits;
use crate::manifest::{Index, Manifest};
use crate::outline::kind_of;
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
    /// Returns the kind that the bytes show, never [`Kind::Leaf`] or [`Kind::Schema1`].
    pub fn kind(&self) -> Kind {
        match self {
            Self::Index(_) => Kind::Index,
            Self::Manifest(_) => Kind::Manifest,
            Self::Config(_) => Kind::Config,
        }
    }

    /// Returns the blobs that the document names, in the order of a walk: of a manifest the config,
    /// then the layers; of an index the manifests. Duplicates stay, so a caller that sums sizes must
    /// count each digest once. A config has no children.
    ///
    /// Source: containerd `core/images/image.go`, `Children`.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let (first, rest): (_, &[Descriptor]) = match self {
            Self::Index(index) => (None, &index.manifests),
            Self::Manifest(manifest) => (manifest.config.as_ref(), &manifest.layers),
            Self::Config(_) => (None, &[]),
        };
        first.into_iter().chain(rest)
    }
}

/// Reads the document that a store returned as `bytes` for `digest`.
///
/// `expected_size` is the blob's size in bytes according to the store. It must not be that of a
/// descriptor: another image's document could have a wrong one. An image config keeps the labels in
/// `labels`, and as many of the others as `limits` allow.
///
/// The kind of the document follows from the bytes alone, never from a descriptor: an index that
/// lists another image's manifest as a config must not change how that image is read. A caller that
/// expects a kind compares it with [`Document::kind`].
///
/// The checks run from cheap to expensive and stop at the first that fails: size limit, size,
/// digest, syntax, kind, shape. Only bytes that have the digest are parsed.
///
/// # Errors
///
/// Any [`ReadError`] but [`ReadError::TooDeep`].
pub fn read(
    digest: &Digest,
    expected_size: Option<u64>,
    bytes: &[u8],
    limits: &Limits,
    labels: &LabelKeys,
) -> Result<Document, ReadError> {
    let size = bytes.len() as u64;
    limits.check_size(size)?;
    if let Some(expected) = expected_size.filter(|expected| *expected != size) {
        return Err(ReadError::WrongSize {
            expected,
            got: size,
        });
    }
    verify(digest, bytes)?;
    check_syntax(bytes)?;
    let kind = kind_of(bytes)?;
    limits.check_size_of(kind, size)?;
    Ok(match kind {
        Kind::Index => Document::Index(decode(kind, bytes, Index::default())?),
        Kind::Manifest => Document::Manifest(decode(kind, bytes, Manifest::default())?),
        Kind::Config | Kind::Schema1 | Kind::Leaf => {
            let reader = decode(kind, bytes, ConfigReader::new(labels, limits))?;
            Document::Config(reader.finish())
        }
    })
}
