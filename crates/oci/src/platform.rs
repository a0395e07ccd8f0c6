//! Which machine an image is for, as far as it says so.

use std::fmt;

use serde::de::MapAccess;

use crate::json::{Object, Refusals};
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

impl Platform {
    /// Returns the platform, or `None` when nothing of it is stated.
    pub(crate) fn stated(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }

    /// Reads the value of `os`, `architecture` or `variant`.
    pub(crate) fn word<'de, A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let word = match key {
            "os" => &mut self.os,
            "architecture" => &mut self.architecture,
            _ => &mut self.variant,
        };
        *word = lenient_text(map)?;
        Ok(())
    }
}

impl<'de> Object<'de> for Platform {
    const KEYS: &'static [&'static str] = &["os", "architecture", "variant"];

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
        _: &Refusals,
    ) -> Result<(), A::Error> {
        self.word(key, map)
    }
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
            let platform = Platform {
                os: given(os),
                architecture: given(architecture),
                variant: given(variant),
            };
            platform.stated()
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
