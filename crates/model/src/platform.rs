//! Platforms: the operating system and processor that an image is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The platform of an image, in Go's terms. Missing parts are empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The processor, such as `arm64`.
    pub architecture: String,
    /// The variant of the processor, such as `v7`.
    #[serde(default)]
    pub variant: String,
}

impl Platform {
    /// Returns the platform that this program was compiled for. The variant of the processor is unknown.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: String::new(),
        }
    }

    /// Returns it by its usual names.
    ///
    /// Source: containerd platforms, `database.go`, `normalizeOS` and `normalizeArch`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match &*self.os.to_lowercase() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = self.architecture.to_lowercase();
        let variant = self.variant.to_lowercase();
        let (architecture, variant) = match (&*architecture, &*variant) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", other) => ("arm64", other),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            (other, variant) => (other, variant),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// Whether a machine of this platform may run images of the other one: those of its processor in
    /// any variant, and of the 32-bit processor that it includes.
    pub fn may_run(&self, other: &Self) -> bool {
        let (host, other) = (self.normalized(), other.normalized());
        let is_included = matches!(
            (&*host.architecture, &*other.architecture),
            ("amd64", "386") | ("arm64", "arm")
        );
        host.os == other.os && (host.architecture == other.architecture || is_included)
    }
}

/// As people write it: `linux/arm64` or `linux/arm/v7`.
impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            os,
            architecture,
            variant,
        } = self;
        write!(formatter, "{os}/{architecture}")?;
        if !variant.is_empty() {
            write!(formatter, "/{variant}")?;
        }
        Ok(())
    }
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64")]
pub struct PlatformError(String);

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_part = |part: &&str| {
            let mut bytes = part.bytes();
            !part.is_empty() && bytes.all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it))
        };
        if !parts.iter().all(is_part) {
            return Err(PlatformError(text.to_owned()));
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => return Err(PlatformError(text.to_owned())),
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn is_written_as_it_is_read() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/x86_64"] {
            assert_eq!(platform(text).to_string(), text);
        }
        for text in [
            "",
            "linux",
            "linux/",
            "/arm64",
            "linux/arm/v7/x",
            "linux/arm64,",
            "a b/c",
            "linux//v7",
        ] {
            let error = text.parse::<Platform>().unwrap_err();
            assert!(error.to_string().contains("such as linux/arm64"), "{error}");
        }
    }

    #[test]
    fn a_machine_may_run_every_variant_of_its_processor() {
        for (host, other, expected) in [
            ("linux/amd64", "linux/x86_64/v3", true),
            ("linux/amd64", "linux/i386", true),
            ("linux/arm64", "linux/arm/v6", true),
            ("linux/arm64", "linux/aarch64/v8", true),
            ("linux/arm", "linux/arm64", false),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/amd64", "unknown/unknown", false),
        ] {
            let may_run = platform(host).may_run(&platform(other));
            assert_eq!(may_run, expected, "{host} {other}");
        }
    }
}
