//! The manifests of an image: those of its platforms and their attestations.
//!
//! What an index says about a manifest, such as its platform and annotations, is read when it is
//! requested: no decision depends on it, and 100,000 indexes would take gigabytes.
//!
//! Source: moby, `daemon/containerd/image_list.go`, `multiPlatformSummary`, and
//! `daemon/containerd/image_manifest.go`.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_engine::{ImageDetails, ManifestDetails};
use reclaim_model::{Digest, DocumentKind, Target};
use serde::{Deserialize, Serialize};

use super::api::DockerApi;
use super::descriptor::Descriptor;
use super::error::ApiError;
use super::identity::Identity;
use super::list::bytes;
use super::platform::{DockerPlatform, platform_of};

/// A manifest of an image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ManifestSummary {
    #[serde(rename = "ID")]
    id: String,
    descriptor: Descriptor,
    available: bool,
    size: ManifestSize,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_data: Option<ImageData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation_data: Option<AttestationData>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestSize {
    content: i64,
    total: i64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImageData {
    platform: DockerPlatform,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
    size: UnpackedSize,
    /// Null if there are none, as in Docker.
    containers: Option<Vec<String>>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UnpackedSize {
    unpacked: i64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct AttestationData {
    r#for: String,
}

/// A manifest of an image, with the descriptor that names it.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) descriptor: Descriptor,
    pub(super) details: &'a ManifestDetails,
}

impl Entry<'_> {
    /// Whether it is the image of a platform, rather than an attestation or an artifact.
    pub(super) fn is_image(&self) -> bool {
        let platform = self.descriptor.platform.as_ref();
        let is_pseudo = self.descriptor.is_attestation()
            || platform.is_some_and(DockerPlatform::is_unknown)
            || !self.details.is_image;
        !is_pseudo
    }

    /// Returns the platform by the descriptor, or else by the configuration.
    pub(super) fn platform(&self) -> DockerPlatform {
        self.descriptor
            .platform
            .clone()
            .or_else(|| platform_of(self.details).map(DockerPlatform::from))
            .unwrap_or_default()
    }
}

/// Returns the manifests that an image lists, in the order of a walk through its indexes, with the
/// descriptors of `descriptors`.
pub(super) fn entries<'a>(image: &'a ImageDetails, descriptors: &[Descriptor]) -> Vec<Entry<'a>> {
    let manifests = image.manifests.iter();
    let by_digest: BTreeMap<String, &ManifestDetails> = manifests
        .map(|manifest| (manifest.digest.to_string(), manifest))
        .collect();
    let entry = |descriptor: &Descriptor| {
        let details = by_digest.get(&descriptor.digest)?;
        descriptor.is_manifest().then(|| Entry {
            descriptor: descriptor.clone(),
            details,
        })
    };
    descriptors.iter().filter_map(entry).collect()
}

/// An index, as far as its descriptors matter.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Index {
    manifests: Option<Vec<Descriptor>>,
}

/// Reads the descriptors of the manifests that a target leads to, in the order of a walk: its own if
/// it is a manifest, or else those of its indexes.
pub(super) async fn descriptors(
    api: &DockerApi,
    target: &Target,
) -> Result<Vec<Descriptor>, ApiError> {
    let mut found = Vec::new();
    let mut read = BTreeSet::new();
    let mut stack = vec![Descriptor::from(target)];
    while let Some(descriptor) = stack.pop() {
        if DocumentKind::of_media_type(&descriptor.media_type) != DocumentKind::Index {
            found.push(descriptor);
            continue;
        }
        let Ok(digest) = descriptor.digest.parse::<Digest>() else {
            continue;
        };
        if !read.insert(digest.clone()) {
            continue;
        }
        stack.extend(index(api, &digest).await?.into_iter().rev());
    }
    Ok(found)
}

/// Reads the descriptors of an index; none if it is not there or cannot be decoded.
pub(super) async fn index(api: &DockerApi, digest: &Digest) -> Result<Vec<Descriptor>, ApiError> {
    let document = api.engine().document(api.namespace(), digest).await?;
    let index: Index = serde_json::from_slice(&document.unwrap_or_default()).unwrap_or_default();
    Ok(index.manifests.unwrap_or_default())
}

/// Returns a summary of each manifest. `identity` is that of the image.
pub(super) fn summaries(
    entries: Vec<Entry<'_>>,
    identity: Option<&Identity>,
) -> Vec<ManifestSummary> {
    let entries = entries.into_iter();
    entries.map(|entry| summary(entry, identity)).collect()
}

fn summary(entry: Entry<'_>, identity: Option<&Identity>) -> ManifestSummary {
    let is_image = entry.is_image();
    let platform = entry.platform();
    let Entry {
        descriptor,
        details,
    } = entry;
    let attested = descriptor.attested().map(str::to_owned);
    let total = details.content_bytes.saturating_add(details.unpacked_bytes);
    let containers = &details.containers;
    ManifestSummary {
        id: descriptor.digest.clone(),
        available: details.is_available,
        size: ManifestSize {
            content: bytes(details.content_bytes),
            total: bytes(total),
        },
        kind: match (is_image, &attested) {
            (true, _) => "image",
            (false, Some(_)) => "attestation",
            (false, None) => "unknown",
        },
        image_data: is_image.then(|| ImageData {
            platform,
            identity: identity.filter(|_| details.is_available).cloned(),
            size: UnpackedSize {
                unpacked: bytes(details.unpacked_bytes),
            },
            containers: (!containers.is_empty()).then(|| containers.clone()),
        }),
        attestation_data: attested.map(|r#for| AttestationData { r#for }),
        descriptor,
    }
}
