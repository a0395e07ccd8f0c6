//! Which of an image's platforms stands for it.

use reclaim_engine::{ImageDetails, ManifestDetails};
use reclaim_model::Platform;
use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// A platform as requests and answers have it.
///
/// Source: OCI image specification, `image-index.md`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PlatformWords {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) variant: String,
}

impl PlatformWords {
    /// Reads the parameter `platform`; `None` if it is not there.
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

    /// Whether a configuration is for it. A variant that is not said may be any.
    pub(super) fn fits(&self, platform: &Platform) -> bool {
        self.os == platform.os
            && self.architecture == platform.architecture
            && (self.variant.is_empty() || self.variant == platform.variant)
    }
}

impl From<&Platform> for PlatformWords {
    fn from(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
        }
    }
}

/// Returns this machine's processor in Go's words.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Returns the manifest that stands for the image: this machine's if it is there, else the first
/// that is.
pub(super) fn best(image: &ImageDetails) -> Option<&ManifestDetails> {
    let ours = PlatformWords {
        architecture: architecture().to_owned(),
        os: "linux".to_owned(),
        variant: String::new(),
    };
    let of_ours = |it: &&ManifestDetails| platform_of(it).is_some_and(|it| ours.fits(it));
    let there = || platforms(image).filter(|it| it.is_available);
    there()
        .find(of_ours)
        .or_else(|| there().next())
        .or_else(|| platforms(image).find(|it| it.config.is_some()))
}

/// Returns the manifests of the image that are platforms.
pub(super) fn platforms(image: &ImageDetails) -> impl Iterator<Item = &ManifestDetails> {
    image.manifests.iter().filter(|it| !it.is_attestation)
}

/// Returns the platform of a manifest, if its configuration says one.
pub(super) fn platform_of(manifest: &ManifestDetails) -> Option<&Platform> {
    manifest.config.as_ref()?.config.platform.as_deref()
}
