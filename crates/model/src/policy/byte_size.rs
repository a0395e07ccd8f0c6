//! A size in a configuration: `20GB`, and `0` for none.

use std::fmt;
use std::str::FromStr;

use crate::{FreeAmount, HumanSize};

/// A number of bytes, zero included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Why a text is not a [`ByteSize`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "size is not 0, or a number and B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB or PiB, such as \
     20GB: `{0}`"
)]
pub struct ByteSizeError(String);

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" || text == "0B" {
            return Ok(Self(0));
        }
        match text.parse() {
            Ok(FreeAmount::Bytes(bytes)) => Ok(Self(bytes)),
            Ok(FreeAmount::Percent(_)) | Err(_) => Err(ByteSizeError(text.to_owned())),
        }
    }
}

impl fmt::Display for ByteSize {
    /// Writes the exact number, rounded only where nothing is lost.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = HumanSize(self.0).to_string();
        if rounded.parse() == Ok(*self) {
            formatter.pad(&rounded)
        } else {
            write!(formatter, "{}B", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parsed_to_the_byte() {
        for (text, bytes) in [
            ("0", 0),
            ("0B", 0),
            ("20GB", 20_000_000_000),
            ("1KiB", 1024),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size, ByteSize(bytes), "{text}");
            assert_eq!(size.to_string().parse(), Ok(size), "{text}");
        }
        for (bytes, text) in [
            (20_000_000_000, "20GB"),
            (1024, "1.024kB"),
            (12_345, "12345B"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        for text in ["", "5%", "-1", "20 GB", "many"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
