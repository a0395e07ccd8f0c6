//! Manifests: OCI image manifests and Docker schema 2 manifests, of images and artifacts.

use serde::Deserialize;

use crate::descriptor::Descriptor;
use crate::error::ReadError;
use crate::json::{Folded, decode, list};
use crate::kind::Kind;
use crate::outline;
use crate::text::lenient_text;

/// A manifest, as far as we read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The config. Its kind is [`Kind::Config`] for images and [`Kind::Leaf`] for artifacts.
    pub config: Descriptor,
    /// The layers, the base first, duplicates included.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about (a signature's image). Not a child: the edge runs
    /// the other way, and containerd does not follow it from here. Boxed: rare, and the
    /// largest part of most manifests otherwise.
    pub subject: Option<Box<Descriptor>>,
    /// What sort of artifact this is, for people.
    pub artifact_type: Option<String>,
}

#[derive(Deserialize)]
struct Shape {
    config: Descriptor,
    #[serde(default, deserialize_with = "list")]
    layers: Vec<Descriptor>,
    #[serde(default)]
    subject: Option<Box<Descriptor>>,
    #[serde(rename = "artifacttype", default, deserialize_with = "lenient_text")]
    artifact_type: Option<String>,
}

/// Reads a manifest. Size and digest are not checked here; [`read`](crate::read) does.
///
/// `layers` may be absent or `null`: Go writes an empty list so.
///
/// # Errors
///
/// The body is not JSON, could be read as something else, has no config, or has a malformed
/// descriptor.
pub fn parse_manifest(body: &[u8]) -> Result<Manifest, ReadError> {
    outline::check(Kind::Manifest, body)?;
    let Folded(Shape {
        config,
        layers,
        subject,
        artifact_type,
    }) = decode(Kind::Manifest, body)?;
    Ok(Manifest {
        config,
        layers,
        subject,
        artifact_type,
    })
}
