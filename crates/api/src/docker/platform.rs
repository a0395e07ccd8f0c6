//! The platforms of an image, and which of them represents it.

use jiff::Timestamp;
use reclaim_engine::{ImageDetails, ManifestDetails};
use reclaim_model::Platform;
use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// A platform, as in requests and responses.
///
/// Source: OCI image specification, `image-index.md`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DockerPlatform {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) variant: String,
}

impl DockerPlatform {
    /// Parses the parameter `platform`; `None` if it is empty.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, ApiError> {
        if text.is_empty() {
            return Ok(None);
        }
        let parsed: Result<Self, _> = serde_json::from_str(text);
        match parsed {
            Ok(platform) if !platform.os.is_empty() && !platform.architecture.is_empty() => {
                Ok(Some(platform))
            }
            Ok(_) => Err(ApiError::bad("both OS and Architecture must be provided")),
            Err(_) => Err(ApiError::bad(format!("failed to parse platform: {text}"))),
        }
    }

    /// Whether the platform of a configuration is this one. Without a variant, any variant is.
    pub(super) fn fits(&self, platform: &Platform) -> bool {
        self.os == platform.os
            && self.architecture == platform.architecture
            && (self.variant.is_empty() || self.variant == platform.variant)
    }
}

impl From<&Platform> for DockerPlatform {
    fn from(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
        }
    }
}

/// Returns the architecture of this machine by Go's name.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Returns the manifest that represents the image: this machine's platform if its content is there,
/// else the first one whose content is.
pub(super) fn best(image: &ImageDetails) -> Option<&ManifestDetails> {
    let ours = DockerPlatform {
        architecture: architecture().to_owned(),
        os: "linux".to_owned(),
        variant: String::new(),
    };
    let is_ours = |manifest: &&ManifestDetails| {
        platform_of(manifest).is_some_and(|platform| ours.fits(platform))
    };
    let available = || platforms(image).filter(|manifest| manifest.is_available);
    available()
        .find(is_ours)
        .or_else(|| available().next())
        .or_else(|| platforms(image).find(|manifest| manifest.config.is_some()))
}

/// Returns the manifests of the image that are platforms, not attestations.
pub(super) fn platforms(image: &ImageDetails) -> impl Iterator<Item = &ManifestDetails> {
    image
        .manifests
        .iter()
        .filter(|manifest| !manifest.is_attestation)
}

/// Returns the platform of a manifest, if its configuration names one.
pub(super) fn platform_of(manifest: &ManifestDetails) -> Option<&Platform> {
    manifest.config.as_ref()?.config.platform.as_deref()
}

/// Returns when the image was built, by its configuration; else when its first record was created.
pub(super) fn created(image: &ImageDetails) -> Timestamp {
    let built_at = best(image).and_then(|manifest| manifest.config.as_ref()?.config.built_at);
    let records = image.records.iter();
    built_at
        .or_else(|| records.filter_map(|record| record.created_at).min())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}
