//! Indexes: OCI image indexes and Docker manifest lists.

use serde::Deserialize;

use crate::descriptor::Descriptor;
use crate::error::ReadError;
use crate::json::{Folded, decode, list};
use crate::kind::Kind;
use crate::outline;

/// An index, as far as we read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Manifests and further indexes in the order of the document, duplicates included.
    pub manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Shape {
    #[serde(default, deserialize_with = "list")]
    manifests: Vec<Descriptor>,
}

/// Reads an index. Size and digest are not checked here; [`read`](crate::read) does.
///
/// `manifests` may be absent or `null`: Go writes an empty list so.
///
/// # Errors
///
/// The body is not JSON, could be read as something else, or has a malformed descriptor.
pub fn parse_index(body: &[u8]) -> Result<Index, ReadError> {
    outline::check(Kind::Index, body)?;
    let Folded(Shape { manifests }) = decode(Kind::Index, body)?;
    Ok(Index { manifests })
}
