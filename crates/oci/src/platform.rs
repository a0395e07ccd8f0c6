//! The platform of an image.

use std::fmt;

use serde::de::MapAccess;

use crate::json::{Object, Refusals};
use crate::text::lenient_text;

/// The platform that a descriptor or a config states.
///
/// It is informative and decides nothing, so a field that is missing, empty or not a text is `None`
/// and not an error. Names are not normalised (`x86_64` stays `x86_64`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// The operating system by Go's name, such as `linux`.
    pub os: Option<String>,
    /// The processor by Go's name, such as `arm64`.
    pub architecture: Option<String>,
    /// The variant of the processor, such as `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// Returns the platform; `None` if all fields are.
    pub(crate) fn stated(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }

    /// Reads the value of `os`, `architecture` or `variant`.
    pub(crate) fn set<'de, A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let field = match key {
            "os" => &mut self.os,
            "architecture" => &mut self.architecture,
            _ => &mut self.variant,
        };
        *field = lenient_text(map)?;
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
        self.set(key, map)
    }
}

impl fmt::Display for Platform {
    /// Prints `os/architecture` or `os/architecture/variant`; a missing part is `unknown`, as
    /// `BuildKit` writes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let os = self.os.as_deref().unwrap_or("unknown");
        let architecture = self.architecture.as_deref().unwrap_or("unknown");
        write!(formatter, "{os}/{architecture}")?;
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
    fn prints_known_parts() {
        let stated = |os: &str, architecture: &str, variant: &str| {
            let field = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let platform = Platform {
                os: field(os),
                architecture: field(architecture),
                variant: field(variant),
            };
            platform.stated()
        };
        for (platform, text) in [
            (stated("linux", "arm", "v7"), "linux/arm/v7"),
            (stated("windows", "amd64", ""), "windows/amd64"),
            (stated("", "s390x", ""), "unknown/s390x"),
        ] {
            assert_eq!(platform.unwrap().to_string(), text);
        }
        assert_eq!(stated("", "", ""), None);
    }
}
