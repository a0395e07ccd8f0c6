//! Why a document could not be read.

use reclaim_model::Digest;

use crate::kind::Kind;

/// How many characters of a foreign text an error quotes: enough to recognise it, little
/// enough for one line of a report.
const QUOTED_CHARACTERS: usize = 160;

/// Why bytes are not a document that we read.
///
/// Which blob it was is the caller's to say; the digest is in no variant. Trying again with the
/// same bytes gives the same answer, so the caller keeps everything that could lie behind the blob,
/// unless [`Self::is_torn`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The body is larger than [`Limits`](crate::Limits) allow. Nothing of it was read.
    #[error("document is larger than {limit} bytes: {got}")]
    TooLarge {
        /// The most that is read, in bytes.
        limit: u64,
        /// The size of the body or of its descriptor, in bytes.
        got: u64,
    },
    /// The body has not the size that is stated for it.
    #[error("size differs from the {expected} bytes that are stated: {got}")]
    WrongSize {
        /// The stated size, in bytes.
        expected: u64,
        /// The body's size, in bytes.
        got: u64,
    },
    /// The body is not the content of its digest.
    #[error("content has another digest: `{got}`")]
    WrongDigest {
        /// The digest of the bytes that were given, of the same algorithm.
        got: Digest,
    },
    /// The body is a Docker schema 1 manifest.
    #[error("docker schema 1 manifest is not supported")]
    Schema1,
    /// The body states another media type than its keys show.
    #[error("{kind} states another media type: `{got}`")]
    WrongMediaType {
        /// What the keys show.
        kind: Kind,
        /// The body's `mediaType`, cut and escaped.
        got: String,
    },
    /// The body has keys of two kinds: two readers could see two documents in it.
    #[error("keys of two documents in one: `{first}` and `{second}`")]
    Ambiguous {
        /// A key of one kind.
        first: &'static str,
        /// A key of another.
        second: &'static str,
    },
    /// The body has a key twice, in one case or in two.
    #[error("key is there twice: `{0}`")]
    KeyTwice(&'static str),
    /// The body names a digest that nothing here can verify.
    #[error("not a digest of a known algorithm: `{0}`")]
    BadDigest(String),
    /// The body is not JSON.
    #[error("not JSON: {detail}")]
    NotJson {
        /// The decoder's message, with line and column.
        detail: String,
    },
    /// A value is not what it must be; Go refuses it, too.
    ///
    /// The decoder's message is a text and not a source: it quotes the document, which may be
    /// megabytes of control characters, so it is cut and escaped first.
    #[error("malformed {kind}: {detail}")]
    Malformed {
        /// What was read.
        kind: Kind,
        /// The decoder's message, with line and column.
        detail: String,
    },
    /// A value is nothing that we can represent, although Go may: a number beyond all bounds, a
    /// platform that is not UTF-8.
    #[error("unsupported value in the {kind}: {detail}")]
    Unsupported {
        /// What was read.
        kind: Kind,
        /// The decoder's message, with line and column.
        detail: String,
    },
    /// Indexes lie in indexes deeper than [`Limits`](crate::Limits) allow.
    #[error("indexes nest deeper than {limit} levels")]
    TooDeep {
        /// The deepest level that is read.
        limit: usize,
    },
}

impl ReadError {
    /// Whether nobody else can read the blob either, so that no container comes of it: its bytes
    /// are not those of its digest or size, or Go's `encoding/json` refuses them for containerd's
    /// and Docker's types.
    ///
    /// `false` for our own limits, for what only we refuse, and for schema 1, which old versions
    /// read.
    pub fn is_torn(&self) -> bool {
        match self {
            Self::WrongSize { .. }
            | Self::WrongDigest { .. }
            | Self::NotJson { .. }
            | Self::Malformed { .. } => true,
            Self::TooLarge { .. }
            | Self::Schema1
            | Self::WrongMediaType { .. }
            | Self::Ambiguous { .. }
            | Self::KeyTwice(_)
            | Self::BadDigest(_)
            | Self::Unsupported { .. }
            | Self::TooDeep { .. } => false,
        }
    }

    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        Self::NotJson {
            detail: quote(&error.to_string()),
        }
    }

    /// Wraps the decoder's error about a body of `kind` whose syntax was checked before: what is
    /// not about its types is about the decoder.
    pub(crate) fn undecodable(kind: Kind, error: &serde_json::Error) -> Self {
        let detail = quote(&error.to_string());
        if error.is_data() {
            Self::Malformed { kind, detail }
        } else {
            Self::Unsupported { kind, detail }
        }
    }
}

/// Returns the start of a foreign text, fit for one line of a terminal or a log.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for (position, character) in text.chars().enumerate() {
        if position == QUOTED_CHARACTERS {
            quoted.push('…');
            break;
        }
        if is_printable(character) {
            quoted.push(character);
        } else {
            quoted.extend(character.escape_default());
        }
    }
    quoted
}

/// Control characters could drive a terminal, directional ones could reorder the line.
fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_one_short_harmless_line() {
        assert_eq!(quote("a\u{1b}[2J\n\u{202e}é"), "a\\u{1b}[2J\\n\\u{202e}é");
        let long = quote(&"x".repeat(QUOTED_CHARACTERS + 1));
        assert_eq!(long.chars().count(), QUOTED_CHARACTERS + 1);
        assert!(long.ends_with("x…"));
        assert!(quote(&"x".repeat(QUOTED_CHARACTERS)).ends_with('x'));
    }

    #[test]
    fn says_what_was_wrong_and_ends_with_the_value() {
        let error = ReadError::WrongSize {
            expected: 17,
            got: 16,
        };
        assert_eq!(
            error.to_string(),
            "size differs from the 17 bytes that are stated: 16"
        );
        let error = ReadError::Ambiguous {
            first: "manifests",
            second: "layers",
        };
        assert_eq!(
            error.to_string(),
            "keys of two documents in one: `manifests` and `layers`"
        );
    }
}
