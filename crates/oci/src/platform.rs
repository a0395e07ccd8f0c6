//! Which machine an image is for, as far as it says so.

use std::fmt;

use serde::Deserialize;

use crate::json::Folded;
use crate::text::lenient_text;

/// The platform that a descriptor or a config states, in its own words.
///
/// For people and for reports: nothing is kept or removed by it, so what is missing, empty or
/// not a text is `None` and no error. Words are not normalised (`x86_64` stays `x86_64`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// The operating system in Go's words, such as `linux`.
    pub os: Option<String>,
    /// The processor in Go's words, such as `arm64`.
    pub architecture: Option<String>,
    /// The variant of the processor, such as `v7`.
    pub variant: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Shape {
    #[serde(deserialize_with = "lenient_text")]
    os: Option<String>,
    #[serde(deserialize_with = "lenient_text")]
    architecture: Option<String>,
    #[serde(deserialize_with = "lenient_text")]
    variant: Option<String>,
}

impl Platform {
    /// Returns the platform of these words, or `None` when none is given.
    pub(crate) fn from_words(
        os: Option<String>,
        architecture: Option<String>,
        variant: Option<String>,
    ) -> Option<Self> {
        let platform = Self {
            os,
            architecture,
            variant,
        };
        (platform != Self::default()).then_some(platform)
    }
}

/// Decodes the `platform` of a descriptor.
pub(crate) fn decode<'de, D>(deserializer: D) -> Result<Option<Platform>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let shape: Option<Folded<Shape>> = Option::deserialize(deserializer)?;
    Ok(shape.and_then(|Folded(shape)| {
        let Shape {
            os,
            architecture,
            variant,
        } = shape;
        Platform::from_words(os, architecture, variant)
    }))
}

impl fmt::Display for Platform {
    /// Prints `os/architecture` or `os/architecture/variant`; what is not given is `unknown`,
    /// the word that `BuildKit` writes for it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "unknown".to_owned());
        write!(formatter, "{}/{}", word(&self.os), word(&self.architecture))?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_is_given() {
        let words = |os: &str, architecture: &str, variant: &str| {
            let given = |word: &str| (!word.is_empty()).then(|| word.to_owned());
            Platform::from_words(given(os), given(architecture), given(variant))
        };
        for (platform, text) in [
            (words("linux", "arm", "v7"), "linux/arm/v7"),
            (words("windows", "amd64", ""), "windows/amd64"),
            (words("", "s390x", ""), "unknown/s390x"),
        ] {
            assert_eq!(platform.unwrap().to_string(), text);
        }
        assert_eq!(words("", "", ""), None);
    }
}
