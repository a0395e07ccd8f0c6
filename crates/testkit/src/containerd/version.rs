//! The version of a containerd.

use std::fmt;

/// A version of containerd. A suffix of the patch number is ignored: `1.6.20~ds1` is 1.6.20.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// The patch number, or 0 if it is missing.
    pub patch: u32,
}

impl Version {
    /// Parses the version that containerd reports, with or without a leading `v`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts = text.splitn(3, '.').map(leading_number);
        Some(Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next().flatten().unwrap_or(0),
        })
    }

    /// Whether this is `major.minor` or later.
    pub fn at_least(self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|character: char| !character.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_versions_of_distributions() {
        for (text, printed) in [
            ("1.6.20~ds1", "1.6.20"),
            ("v2.3.4", "2.3.4"),
            ("v2.1.0-rc.1", "2.1.0"),
            ("1.7", "1.7.0"),
        ] {
            assert_eq!(Version::parse(text).unwrap().to_string(), printed);
        }
        assert_eq!(Version::parse("unknown"), None);
    }

    #[test]
    fn compares_by_number() {
        let version = Version::parse("1.10.0").unwrap();
        assert!(version.at_least(1, 7));
        assert!(!version.at_least(2, 0));
    }
}
