//! Descriptors: how a document names another blob.

use std::fmt;

use reclaim_model::Digest;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::json::Folded;
use crate::kind::Kind;
use crate::platform::{self, Platform};

/// The annotation by which `BuildKit` marks a manifest in an index as an attestation (an SBOM, a
/// provenance) of another one. Its value names the sort; being there is enough.
///
/// Source: moby's label filter, which skips manifests that carry it.
pub const ATTESTATION_ANNOTATION: &str = "vnd.docker.reference.type";

/// What a document says about one blob that it names.
///
/// All of it is claimed by the document and none of it is checked until the blob was
/// [`read`](crate::read).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type, as it stands; never empty.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes; at most `i64::MAX`, because it is signed in Go and
    /// containerd's answers. Sums over many can still overflow.
    pub size: u64,
    /// The platform, if any of it is stated.
    pub platform: Option<Platform>,
    /// Whether it carries [`ATTESTATION_ANNOTATION`].
    pub attestation: bool,
}

impl Descriptor {
    /// Returns how the blob is read, by its media type.
    pub fn kind(&self) -> Kind {
        Kind::of(&self.media_type)
    }
}

/// The keys that are read. `urls`, `data` and `artifactType` change no edge: embedded data is
/// a copy of the blob, and we look at the blob.
#[derive(serde::Deserialize)]
struct Shape {
    #[serde(rename = "mediatype")]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, deserialize_with = "platform::decode")]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Folded(Shape {
            media_type,
            digest,
            size,
            platform,
            annotations,
        }) = Folded::deserialize(deserializer)?;
        if media_type.is_empty() {
            return Err(de::Error::custom("descriptor has an empty `mediaType`"));
        }
        if i64::try_from(size).is_err() {
            let message = format_args!("descriptor has a `size` above 2^63-1: {size}");
            return Err(de::Error::custom(message));
        }
        Ok(Self {
            media_type,
            digest,
            size,
            platform,
            attestation: annotations.is_some_and(|annotations| annotations.attestation),
        })
    }
}

/// All that is looked for in annotations, without keeping the others.
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
        while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
            // Not folded: to Go these are the keys of a map, not the fields of a struct.
            attestation |= key == ATTESTATION_ANNOTATION;
        }
        Ok(Annotations { attestation })
    }
}
