//! Short image IDs: the beginning of a digest, as people copy it from a listing.

use std::fmt;

use crate::Digest;

/// The only algorithm whose digests Docker lets one abbreviate.
const ALGORITHM_PREFIX: &str = "sha256:";

/// How many hexadecimal characters a SHA-256 digest has.
const FULL_LEN: usize = 64;

/// The beginning of a SHA-256 digest, of 1 to 64 lower-case hexadecimal characters.
///
/// Whether a short one may be trusted is for the caller. For the image of a container moby
/// accepts any length, for an image given by a user at least four characters. A text such as
/// `cafe` is also a valid [`Reference`](super::Reference), and may mean either.
///
/// Source: moby, `daemon/containerd/image_prune.go` and `image.go`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdPrefix {
    /// One hexadecimal digit each.
    nibbles: Vec<u8>,
}

impl IdPrefix {
    /// Parses bare hexadecimal characters, with or without `sha256:` in front.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(ALGORITHM_PREFIX).unwrap_or(text);
        if hex.is_empty() || hex.len() > FULL_LEN {
            return None;
        }
        let nibbles = hex.bytes().map(|byte| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        });
        Some(Self {
            nibbles: nibbles.collect::<Option<_>>()?,
        })
    }

    /// Whether `digest` is a SHA-256 digest that begins so.
    pub fn matches(&self, digest: &Digest) -> bool {
        match digest {
            Digest::Sha256(bytes) => {
                let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                self.nibbles
                    .iter()
                    .copied()
                    .eq(nibbles.take(self.nibbles.len()))
            }
            Digest::Sha384(_) | Digest::Sha512(_) => false,
        }
    }

    /// Returns how many hexadecimal characters were given.
    pub fn hex_len(&self) -> usize {
        self.nibbles.len()
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for nibble in &self.nibbles {
            write!(formatter, "{nibble:x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for IdPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b";

    #[test]
    fn matches_the_beginning_of_a_sha256_digest() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        let other: Digest = format!("sha512:{HEX}{HEX}").parse().unwrap();
        for length in 1..=HEX.len() {
            for text in [
                HEX[..length].to_owned(),
                format!("sha256:{}", &HEX[..length]),
            ] {
                let prefix = IdPrefix::parse(&text).unwrap();
                assert_eq!(prefix.hex_len(), length);
                assert_eq!(prefix.to_string(), HEX[..length]);
                assert_eq!(format!("{prefix:?}"), HEX[..length]);
                assert!(prefix.matches(&digest), "{text}");
                assert!(!prefix.matches(&other), "{text}");
            }
        }
        for text in ["7", "6d", "6c3d", "6c3c6", "3c62"] {
            let expected = HEX.starts_with(text);
            assert_eq!(
                IdPrefix::parse(text).unwrap().matches(&digest),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn rejects_what_cannot_begin_a_digest() {
        for text in [
            "",
            "sha256:",
            "6C",
            "6g",
            " 6c",
            "sha512:6c",
            "sha256:sha256:6c",
            "busybox",
            &format!("{HEX}0"),
        ] {
            assert_eq!(IdPrefix::parse(text), None, "{text}");
        }
    }
}
