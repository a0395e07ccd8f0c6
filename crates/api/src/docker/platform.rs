//! The platforms of an image, and which of them represents it.

use jiff::Timestamp;
use reclaim_engine::{ImageDetails, ManifestDetails};
use reclaim_model::Platform;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ApiError;
use super::go_json::syntax_error;

/// A platform, as in requests and responses.
///
/// Source: OCI image specification, `image-index.md`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DockerPlatform {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub(super) os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    os_features: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) variant: String,
}

/// The texts of a platform.
const TEXTS: [&str; 4] = ["architecture", "os", "os.version", "variant"];

impl DockerPlatform {
    /// Parses the parameter `platform`; `None` if it is empty. The errors are Docker's, with those of
    /// Go's decoder.
    ///
    /// Source: moby, `daemon/server/httputils/form.go`, `DecodePlatform`.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, ApiError> {
        if text.is_empty() {
            return Ok(None);
        }
        let failed = |cause| ApiError::bad(format!("failed to parse platform: {cause}"));
        let value: Value =
            serde_json::from_str(text).map_err(|error| failed(syntax_error(text, &error)))?;
        let platform = Self::decode(&value).map_err(failed)?;
        if !platform.os.is_empty() && !platform.architecture.is_empty() {
            return Ok(Some(platform));
        }
        let has_options = !platform.variant.is_empty()
            || !platform.os_version.is_empty()
            || !platform.os_features.is_empty();
        let has_neither = platform.os.is_empty() && platform.architecture.is_empty();
        Err(ApiError::bad(if has_neither && has_options {
            "optional platform fields provided, but OS and Architecture are missing"
        } else {
            "both OS and Architecture must be provided"
        }))
    }

    /// Decodes a platform; the error is Go's.
    fn decode(value: &Value) -> Result<Self, String> {
        if value.is_null() {
            return Ok(Self::default());
        }
        let Value::Object(fields) = value else {
            let kind = go_kind(value);
            return Err(format!(
                "json: cannot unmarshal {kind} into Go value of type v1.Platform"
            ));
        };
        let wrong = |key: &str, value: &Value, go_type: &str| {
            let kind = go_kind(value);
            format!(
                "json: cannot unmarshal {kind} into Go struct field Platform.{key} of type {go_type}"
            )
        };
        let field = |key: &str| {
            let mut named = fields
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(key));
            let (_, value) = named.next_back()?;
            Some(value).filter(|value| !value.is_null())
        };
        let mut texts = [const { String::new() }; TEXTS.len()];
        for (text, key) in texts.iter_mut().zip(TEXTS) {
            match field(key) {
                None => {}
                Some(Value::String(value)) => text.clone_from(value),
                Some(other) => return Err(wrong(key, other, "string")),
            }
        }
        let os_features = match field("os.features") {
            None => Vec::new(),
            Some(Value::Array(list)) => {
                let feature = |value: &Value| match value {
                    Value::Null => Ok(String::new()),
                    Value::String(text) => Ok(text.clone()),
                    Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                        Err(wrong("os.features", value, "string"))
                    }
                };
                list.iter().map(feature).collect::<Result<_, _>>()?
            }
            Some(other) => return Err(wrong("os.features", other, "[]string")),
        };
        let [architecture, os, os_version, variant] = texts;
        Ok(Self {
            architecture,
            os,
            os_version,
            os_features,
            variant,
        })
    }

    /// Whether it is the one that `BuildKit` writes for an attestation.
    pub(super) fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// Returns it as Docker prints it, such as `linux/arm/v7`.
    ///
    /// Source: containerd platforms, `FormatAll`.
    pub(super) fn text(&self) -> String {
        let mut options = self.os_version.clone();
        let mut features = self.os_features.clone();
        features.sort();
        for feature in features {
            options.push('+');
            options.push_str(&feature);
        }
        let os = if options.is_empty() {
            self.os.clone()
        } else {
            format!("{}({options})", self.os)
        };
        let parts = [&*os, &*self.architecture, &*self.variant];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("/")
    }

    /// Returns it as Go prints a pointer to it.
    pub(super) fn in_go(&self) -> String {
        let features = self.os_features.join(" ");
        format!(
            "&{{Architecture:{} OS:{} OSVersion:{} OSFeatures:[{features}] Variant:{}}}",
            self.architecture, self.os, self.os_version, self.variant
        )
    }

    /// Returns operating system, architecture and variant by their usual names.
    fn normalized(&self) -> Platform {
        Platform::from(self).normalized()
    }

    /// Whether a platform is this one, by the usual names of both.
    ///
    /// Source: containerd platforms, `OnlyStrict`.
    pub(super) fn is(&self, platform: &Self) -> bool {
        self.normalized() == platform.normalized()
    }

    /// Returns the place of a platform among those that a machine of this one runs, the best being 0;
    /// `None` if it does not run it.
    ///
    /// Source: containerd platforms, `Only` and `platformVector`.
    pub(super) fn rank(&self, platform: &Self) -> Option<usize> {
        let Platform {
            os,
            architecture,
            variant,
        } = self.normalized();
        let other = platform.normalized();
        if os != other.os {
            return None;
        }
        let level = |variant: &str, default: usize| match variant {
            "" => Some(default),
            text => text.strip_prefix('v')?.parse().ok(),
        };
        match (&*architecture, &*other.architecture) {
            ("amd64", "386") => Some(usize::MAX),
            ("amd64", "amd64") => level(&variant, 1)?.checked_sub(level(&other.variant, 1)?),
            ("arm", "arm") => level(&variant, 7)?.checked_sub(level(&other.variant, 7)?),
            // 64 bits first, then arm v8, v7 and so on.
            ("arm64", "arm") => Some(1 + 8_usize.checked_sub(level(&other.variant, 7)?)?),
            _ => (architecture == other.architecture && variant == other.variant).then_some(0),
        }
    }

    /// Returns the platform of this machine.
    pub(super) fn host() -> Self {
        Self::from(&Platform::host())
    }
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl From<&DockerPlatform> for Platform {
    fn from(platform: &DockerPlatform) -> Self {
        Self {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
        }
    }
}

impl From<&Platform> for DockerPlatform {
    fn from(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..Self::default()
        }
    }
}

/// Returns the manifest that represents the image: the best for this machine if its content is
/// there, else the first one whose content is; of incomplete ones the first that can be read.
pub(super) fn best(image: &ImageDetails) -> Option<&ManifestDetails> {
    let host = DockerPlatform::host();
    let rank = |manifest: &&ManifestDetails| {
        let platform = platform_of(manifest).map(DockerPlatform::from);
        platform.and_then(|platform| host.rank(&platform))
    };
    let available = images(image).filter(|manifest| manifest.is_available);
    // Those that do not run here come last; of equal ones the first is taken.
    let best = available.min_by_key(|manifest| {
        let rank = rank(manifest);
        (rank.is_none(), rank)
    });
    best.or_else(|| images(image).find(|manifest| manifest.config.is_some()))
}

/// Returns the manifests of the image that are not attestations.
pub(super) fn platforms(image: &ImageDetails) -> impl Iterator<Item = &ManifestDetails> {
    image
        .manifests
        .iter()
        .filter(|manifest| !manifest.is_attestation)
}

/// Returns the manifests that may be images: neither attestations nor artifacts.
pub(super) fn images(image: &ImageDetails) -> impl Iterator<Item = &ManifestDetails> {
    image.manifests.iter().filter(|manifest| manifest.is_image)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> DockerPlatform {
        let mut parts = text.split('/').map(str::to_owned);
        DockerPlatform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next().unwrap_or_default(),
            ..DockerPlatform::default()
        }
    }

    /// The texts are those of a Docker Engine 28.5.2.
    #[test]
    fn refuses_a_bad_platform_with_its_cause() {
        let unmarshal = "failed to parse platform: json: cannot unmarshal";
        for (text, message) in [
            (
                "{",
                "failed to parse platform: unexpected end of JSON input".to_owned(),
            ),
            (
                r#"{"os":1}"#,
                format!("{unmarshal} number into Go struct field Platform.os of type string"),
            ),
            (
                r#"{"os.features":["a",1]}"#,
                format!(
                    "{unmarshal} number into Go struct field Platform.os.features of type string"
                ),
            ),
            (
                r#""x""#,
                format!("{unmarshal} string into Go value of type v1.Platform"),
            ),
            (
                "[]",
                format!("{unmarshal} array into Go value of type v1.Platform"),
            ),
            (
                r#"{"os":"linux"}"#,
                "both OS and Architecture must be provided".to_owned(),
            ),
            (
                "null",
                "both OS and Architecture must be provided".to_owned(),
            ),
            (
                r#"{"variant":"v7"}"#,
                "optional platform fields provided, but OS and Architecture are missing".to_owned(),
            ),
        ] {
            assert_eq!(
                DockerPlatform::parse(text).unwrap_err().message,
                message,
                "{text}"
            );
        }
        let odd = r#"{"OS":"linux","Architecture":"arm","variant":null,"x":1}"#;
        let parsed = DockerPlatform::parse(odd).unwrap().unwrap();
        assert_eq!(parsed.text(), "linux/arm");
    }

    #[test]
    fn prints_a_platform_as_docker_does() {
        let text = r#"{"os":"linux","architecture":"arm","variant":"v7","os.version":"10",
                       "os.features":["b","a"]}"#;
        let parsed = DockerPlatform::parse(text).unwrap().unwrap();
        assert_eq!(parsed.text(), "linux(10+a+b)/arm/v7");
    }

    #[test]
    fn platforms_have_several_names() {
        for (one, other) in [
            ("linux/amd64", "linux/x86_64"),
            ("linux/amd64", "linux/amd64/v1"),
            ("linux/arm64", "linux/aarch64/v8"),
            ("linux/arm", "linux/armhf"),
            ("linux/arm/v7", "linux/arm/7"),
        ] {
            assert!(platform(one).is(&platform(other)), "{one} {other}");
        }
        for (one, other) in [
            ("linux/arm", "linux/arm/v6"),
            ("linux/amd64", "linux/amd64/v2"),
            ("linux/amd64", "windows/amd64"),
            ("linux/amd64", "linux/386"),
        ] {
            assert!(!platform(one).is(&platform(other)), "{one} {other}");
        }
    }

    #[test]
    fn a_machine_prefers_its_own_platform() {
        let rank = |host: &str, other: &str| platform(host).rank(&platform(other));
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/386"), Some(usize::MAX));
        assert_eq!(rank("linux/amd64/v3", "linux/amd64/v2"), Some(1));
        assert_eq!(rank("linux/amd64", "linux/amd64/v2"), None);
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert_eq!(rank("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(rank("linux/arm64", "linux/arm/v8"), Some(1));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/s390x", "linux/s390x"), Some(0));
    }
}
