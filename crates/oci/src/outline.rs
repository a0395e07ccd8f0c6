//! What a body says it is, before it is read as that.
//!
//! A manifest and an index are both objects of mostly optional keys, so a body could be read
//! as either, and two readers could disagree about its children. This file settles which it
//! is, by containerd's rules, and refuses what could be both.

use serde::Deserialize;

use crate::error::{ReadError, quote};
use crate::json::{Folded, Present, decode, present};
use crate::kind::Kind;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Outline {
    #[serde(rename = "schemaversion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediatype")]
    media_type: Option<String>,
    #[serde(deserialize_with = "present")]
    manifests: Option<Present>,
    #[serde(deserialize_with = "present")]
    config: Option<Present>,
    #[serde(deserialize_with = "present")]
    layers: Option<Present>,
    #[serde(rename = "fslayers", deserialize_with = "present")]
    fs_layers: Option<Present>,
}

/// Checks that `body` can be read as `expected`, a manifest or an index, and as nothing else.
///
/// The rules, where containerd's are the last two:
/// - `schemaVersion` is 2 if given (both specifications say that it must be);
/// - `mediaType` is of the expected kind if given and not empty;
/// - a key of schema 1 (`fsLayers`) makes it schema 1;
/// - a manifest has no `manifests`; an index has neither `config` nor `layers`; not even as
///   `null`.
///
/// Source: containerd `core/images/image.go`, `validateMediaType` (CVE-2021-41190).
pub(crate) fn check(expected: Kind, body: &[u8]) -> Result<(), ReadError> {
    let Folded(Outline {
        schema_version,
        media_type,
        manifests,
        config,
        layers,
        fs_layers,
    }) = decode(expected, body)?;
    if fs_layers.is_some() || schema_version == Some(1) {
        return Err(ReadError::Schema1);
    }
    if let Some(version) = schema_version.filter(|version| *version != 2) {
        return Err(ReadError::UnknownVersion(version));
    }
    // Go writes a field that was never set as the empty text.
    if let Some(media_type) = media_type.filter(|text| !text.is_empty()) {
        let stated = Kind::of(&media_type);
        if stated == Kind::Schema1 {
            return Err(ReadError::Schema1);
        }
        if stated != expected {
            let got = quote(&media_type);
            return Err(ReadError::WrongMediaType { expected, got });
        }
    }
    let is_index = expected == Kind::Index;
    for (key, is_foreign) in [
        ("manifests", manifests.is_some() && !is_index),
        ("config", config.is_some() && is_index),
        ("layers", layers.is_some() && is_index),
    ] {
        if is_foreign {
            return Err(ReadError::Ambiguous { expected, key });
        }
    }
    Ok(())
}
