//! Descriptors, by which a document names other blobs.

use std::borrow::Cow;
use std::fmt;

use oci_spec::image::MediaType;
use reclaim_model::Digest;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::{ReadError, quote};
use crate::json::{Fill, Object, Refusals, Text, integer, text};
use crate::kind::Kind;
use crate::platform::Platform;

/// The annotation by which `BuildKit` marks a manifest in an index as an attestation (an SBOM, a
/// provenance) of another one. Its value, the type of attestation, does not matter.
///
/// Source: moby's label filter, which skips manifests with it.
pub const ATTESTATION_ANNOTATION: &str = "vnd.docker.reference.type";

/// A descriptor of a blob.
///
/// It is only a claim of the document; the blob may be something else: see [`read`](crate::read).
///
/// A descriptor that is `null` or has no digest names no blob and is left out. Go reads it with an
/// empty digest, for which containerd has no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type; the text is unchanged, and empty if it is missing.
    pub media_type: MediaType,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes, at most `i64::MAX`, as in Go; 0 if it is missing or
    /// negative. The sum of several sizes can overflow.
    pub size: u64,
    /// The platform, if any of it is stated.
    pub platform: Option<Platform>,
    /// Whether it has the [`ATTESTATION_ANNOTATION`].
    pub attestation: bool,
}

impl Descriptor {
    /// Returns the kind that the media type claims. The blob's actual kind is
    /// [`Document::kind`](crate::Document::kind).
    pub fn kind(&self) -> Kind {
        Kind::from(&self.media_type)
    }
}

/// Decodes a descriptor; `None` for one that names no blob.
#[derive(Clone, Copy)]
pub(crate) struct DescriptorSeed<'a> {
    pub(crate) refusals: &'a Refusals,
}

impl<'de> DeserializeSeed<'de> for DescriptorSeed<'_> {
    type Value = Option<Descriptor>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let mut claim = Claim::default();
        Fill {
            object: &mut claim,
            refusals: self.refusals,
        }
        .deserialize(deserializer)?;
        Ok(claim.digest.map(|digest| Descriptor {
            media_type: MediaType::from(&*claim.media_type),
            digest,
            size: claim.size,
            platform: claim.platform.stated(),
            attestation: claim.attestation,
        }))
    }
}

/// The keys that are read. `urls`, `data` and `artifactType` are not, because they change no edge:
/// `data` is a copy of the blob, and the blob itself is read.
#[derive(Default)]
struct Claim<'de> {
    media_type: Cow<'de, str>,
    digest: Option<Digest>,
    size: u64,
    platform: Platform,
    attestation: bool,
}

impl<'de> Object<'de> for Claim<'de> {
    const KEYS: &'static [&'static str] =
        &["mediaType", "digest", "size", "platform", "annotations"];

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
        refusals: &Refusals,
    ) -> Result<(), A::Error> {
        match key {
            "mediaType" => self.media_type = text(map)?,
            "digest" => {
                let digest = text(map)?;
                if !digest.is_empty() {
                    self.digest = Some(parse_digest(&digest, refusals)?);
                }
            }
            "size" => self.size = u64::try_from(integer(map)?).unwrap_or_default(),
            "platform" => map.next_value_seed(Fill {
                object: &mut self.platform,
                refusals,
            })?,
            _ => {
                let annotations: Option<Annotations> = map.next_value()?;
                self.attestation = annotations.is_some_and(|annotations| annotations.attestation);
            }
        }
        Ok(())
    }
}

/// Parses a digest that a document names.
///
/// Go accepts any text. containerd can have a blob that Reclaim cannot verify, whose digest has
/// another algorithm, so the document is refused rather than read without it.
pub(crate) fn parse_digest<E: de::Error>(text: &str, refusals: &Refusals) -> Result<Digest, E> {
    text.parse()
        .map_err(|_| refusals.refuse(ReadError::BadDigest(quote(text))))
}

/// The annotations, reduced to whether the attestation one is among them.
struct Annotations {
    attestation: bool,
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}

struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = Annotations;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut attestation = false;
        while let Some((Text(key), _)) = map.next_entry::<Text<'de>, IgnoredAny>()? {
            // Compared exactly: for Go these are the keys of a map, not the fields of a struct.
            attestation |= key == ATTESTATION_ANNOTATION;
        }
        Ok(Annotations { attestation })
    }
}
