//! Image configs: the labels that filters look at, and the diff IDs that name snapshots.

use std::collections::BTreeMap;

use reclaim_model::Digest;
use serde::Deserialize;

use crate::error::ReadError;
use crate::json::{Folded, decode, list};
use crate::kind::Kind;
use crate::platform::Platform;
use crate::text::lenient_text;

/// An image config, as far as we read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The labels of the image (`config.Labels`), not those of a containerd record. A label
    /// that is written twice has its last value, as in Go.
    pub labels: BTreeMap<String, String>,
    /// The digests of the unpacked layers, the base first. See [`chain_ids`](crate::chain_ids).
    pub diff_ids: Vec<Digest>,
    /// The platform, if any of it is stated.
    pub platform: Option<Platform>,
    /// When the image was built, in the builder's words: should be RFC 3339, is not checked.
    /// Reproducible builds write constants here; it is no evidence of age.
    pub created: Option<String>,
}

// Every key may be absent or `null`: `{}` is a config without labels and layers. What is
// there is strict if we judge by it, because labels and diff IDs that we failed to see would
// remove an image that they protect.

#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    config: Option<Folded<RunShape>>,
    #[serde(default)]
    rootfs: Option<Folded<RootfsShape>>,
    #[serde(default, deserialize_with = "lenient_text")]
    os: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    architecture: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    variant: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    created: Option<String>,
}

#[derive(Deserialize)]
struct RunShape {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RootfsShape {
    #[serde(default, deserialize_with = "list")]
    diff_ids: Vec<Digest>,
}

/// Reads an image config. Size and digest are not checked here; [`read`](crate::read) does.
///
/// Precondition: the descriptor's media type is that of an image config ([`Kind::Config`]).
/// Other configs (the empty one, Helm's) are JSON objects as well and would be read as configs
/// without labels, which is not what they are.
///
/// # Errors
///
/// The body is not a JSON object, or labels or diff IDs are there and not what they must be.
pub fn parse_config(body: &[u8]) -> Result<ImageConfig, ReadError> {
    let Folded(Shape {
        config,
        rootfs,
        os,
        architecture,
        variant,
        created,
    }) = decode(Kind::Config, body)?;
    Ok(ImageConfig {
        labels: config
            .and_then(|Folded(run)| run.labels)
            .unwrap_or_default(),
        diff_ids: rootfs
            .map(|Folded(rootfs)| rootfs.diff_ids)
            .unwrap_or_default(),
        platform: Platform::from_words(os, architecture, variant),
        created,
    })
}
