//! Versions of Docker's API, and which of them are supported.

use std::fmt;

/// The newest supported version.
pub const NEWEST: &str = "1.57";

/// The oldest supported version.
pub const OLDEST: &str = "1.40";

/// The first version in which Docker's errors are JSON; before, they are plain text.
const JSON_ERRORS: &str = "1.24";

/// A version of the API, as in a path: numbers with dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiVersion {
    text: String,
    numbers: Vec<u64>,
}

/// Why a version is not supported. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum VersionError {
    /// Older than [`OLDEST`].
    #[error(
        "client version {0} is too old. Minimum supported API version is {OLDEST}, please upgrade \
         your client to a newer version"
    )]
    TooOld(String),
    /// Newer than [`NEWEST`].
    #[error("client version {0} is too new. Maximum supported API version is {NEWEST}")]
    TooNew(String),
}

impl ApiVersion {
    /// Parses digits and dots. As in Docker, a missing number is 0, and one that is too large is
    /// newer than any version.
    pub(super) fn parse(text: &str) -> Self {
        let numbers = text.split('.').map(|number| match number {
            "" => 0,
            number => number.parse().unwrap_or(u64::MAX),
        });
        Self {
            numbers: numbers.collect(),
            text: text.to_owned(),
        }
    }

    /// Returns the newest version, the default of a path without one.
    pub(super) fn newest() -> Self {
        Self::parse(NEWEST)
    }

    /// Checks that the version is supported.
    ///
    /// # Errors
    ///
    /// If the version is too old or too new.
    pub(super) fn check(&self) -> Result<(), VersionError> {
        if !self.is_at_least(OLDEST) {
            return Err(VersionError::TooOld(self.text.clone()));
        }
        if self.is_at_least(NEWEST) && *self != Self::newest() {
            return Err(VersionError::TooNew(self.text.clone()));
        }
        Ok(())
    }

    /// Whether the version is `other` or newer.
    pub(super) fn is_at_least(&self, other: &str) -> bool {
        let other = Self::parse(other);
        let length = self.numbers.len().max(other.numbers.len());
        let padded = |numbers: &[u64]| -> Vec<u64> {
            let zeros = std::iter::repeat(0);
            numbers.iter().copied().chain(zeros).take(length).collect()
        };
        padded(&self.numbers) >= padded(&other.numbers)
    }

    /// Whether errors are JSON in this version.
    pub(super) fn has_json_errors(&self) -> bool {
        self.is_at_least(JSON_ERRORS)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_supported_versions() {
        for version in ["1.40", "1.41", "1.51", "1.52", "1.55", "1.57"] {
            assert_eq!(ApiVersion::parse(version).check(), Ok(()), "{version}");
        }
    }

    #[test]
    fn refuses_other_versions_with_dockers_texts() {
        let refused = |version: &str| ApiVersion::parse(version).check().unwrap_err().to_string();
        assert_eq!(
            refused("1.39"),
            "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade \
             your client to a newer version"
        );
        assert_eq!(
            refused("1.99"),
            "client version 1.99 is too new. Maximum supported API version is 1.57"
        );
        for version in ["1", "1.4", "0", "1.39.9"] {
            assert!(refused(version).contains("too old"), "{version}");
        }
        for version in ["2", "1.57.1", "1.58", "1.520", "99999999999999999999"] {
            assert!(refused(version).contains("too new"), "{version}");
        }
    }

    #[test]
    fn compares_numbers_and_not_text() {
        assert!(ApiVersion::parse("1.100").is_at_least("1.51"));
        assert!(!ApiVersion::parse("1.9").is_at_least("1.24"));
        assert!(!ApiVersion::parse("1.23").has_json_errors());
        assert!(ApiVersion::parse("1.24").has_json_errors());
    }
}
