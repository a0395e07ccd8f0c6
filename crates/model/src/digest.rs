//! Content digests: the identity of every blob.
//!
//! Stored as raw bytes, because an inventory holds millions of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A content digest in the form `algorithm:hex`, of an algorithm that containerd verifies.
///
/// Parsing is strict: lower-case hexadecimal of the algorithm's exact length. Ordering is that
/// of the textual form.
///
/// Source: github.com/opencontainers/go-digest, the three algorithms that containerd accepts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-256, the one that containerd's content store computes.
    Sha256([u8; 32]),
    /// SHA-384. Boxed: rare, and larger than the common case.
    Sha384(Box<[u8; 48]>),
    /// SHA-512. Boxed: rare, and twice the size of the common case.
    Sha512(Box<[u8; 64]>),
}

/// Why a text is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestError {
    /// There is no `:` between algorithm and hex.
    #[error("digest has no `algorithm:` prefix: `{0}`")]
    NoAlgorithm(String),
    /// The algorithm is not one of those known.
    #[error("digest algorithm is not sha256, sha384 or sha512: `{0}`")]
    UnknownAlgorithm(String),
    /// The part after the colon is not lower-case hex of the algorithm's length.
    #[error("digest is not {expected} lower-case hexadecimal characters: `{got}`")]
    BadHex {
        /// How many characters the algorithm has.
        expected: usize,
        /// The text that was given.
        got: String,
    },
}

impl Digest {
    /// Returns the hexadecimal part, without the algorithm.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(self.bytes().len() * 2);
        for byte in self.bytes() {
            push_hex(&mut text, *byte);
        }
        text
    }

    /// Returns the algorithm's name, which precedes the colon.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha384(_) => "sha384",
            Self::Sha512(_) => "sha512",
        }
    }

    /// Returns the raw bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha384(bytes) => bytes.as_slice(),
            Self::Sha512(bytes) => bytes.as_slice(),
        }
    }
}

fn push_hex(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Decodes exactly `N` bytes of lower-case hex.
fn parse_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    fn nibble(character: u8) -> Option<u8> {
        match character {
            b'0'..=b'9' => Some(character - b'0'),
            b'a'..=b'f' => Some(character - b'a' + 10),
            _ => None,
        }
    }
    if hex.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((algorithm, hex)) = text.split_once(':') else {
            return Err(DigestError::NoAlgorithm(text.to_owned()));
        };
        let bad = |expected| DigestError::BadHex {
            expected,
            got: text.to_owned(),
        };
        match algorithm {
            "sha256" => parse_hex(hex).map(Self::Sha256).ok_or_else(|| bad(64)),
            "sha384" => parse_hex(hex)
                .map(|bytes| Self::Sha384(Box::new(bytes)))
                .ok_or_else(|| bad(96)),
            "sha512" => parse_hex(hex)
                .map(|bytes| Self::Sha512(Box::new(bytes)))
                .ok_or_else(|| bad(128)),
            _ => Err(DigestError::UnknownAlgorithm(text.to_owned())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b";

    #[test]
    fn prints_what_it_parsed() {
        for text in [
            format!("sha256:{HEX}"),
            format!("sha384:{HEX}{}", &HEX[..32]),
            format!("sha512:{HEX}{HEX}"),
        ] {
            let digest: Digest = text.parse().unwrap();
            assert_eq!(digest.to_string(), text);
            assert_eq!(format!("{digest:?}"), text);
        }
    }

    #[test]
    fn rejects_everything_but_strict_digests() {
        for text in [
            "",
            ":",
            HEX,
            "sha256:",
            &format!("sha256:{}", HEX.to_uppercase()),
            &format!("sha256:{}", &HEX[1..]),
            &format!("sha256:{HEX}0"),
            &format!("sha512:{HEX}"),
            &format!("sha384:{HEX}"),
            &format!("sha224:{}", &HEX[..56]),
            &format!("SHA256:{HEX}"),
            &format!(" sha256:{HEX}"),
            &format!("sha256:{}é", &HEX[..62]),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn orders_as_its_text() {
        let texts = [
            format!("sha512:00{}{HEX}", &HEX[2..]),
            format!("sha256:ff{}", &HEX[2..]),
            format!("sha256:0f{}", &HEX[2..]),
        ];
        let mut digests: Vec<Digest> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let mut sorted = texts.to_vec();
        sorted.sort();
        digests.sort();
        let printed: Vec<String> = digests.iter().map(Digest::to_string).collect();
        assert_eq!(printed, sorted);
    }
}
