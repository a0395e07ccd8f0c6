//! Why a document could not be read.

use reclaim_model::Digest;

use crate::kind::Kind;

/// How many characters of a foreign text an error quotes: enough to recognise it, little
/// enough for one line of a report.
const QUOTED_CHARACTERS: usize = 160;

/// Why bytes are not the document that their descriptor promised.
///
/// Which blob it was is the caller's to say; the digest is in no variant. Whatever the
/// variant, trying again with the same bytes gives the same answer: the caller keeps
/// everything that could lie behind the blob and says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The body is larger than [`Limits`](crate::Limits) allow. Nothing of it was parsed.
    #[error("{kind} is larger than {limit} bytes: {got}")]
    TooLarge {
        /// What was to be read.
        kind: Kind,
        /// The most that is read, in bytes.
        limit: u64,
        /// The size of the body or of its descriptor, in bytes.
        got: u64,
    },
    /// The body has not the size that its descriptor states.
    #[error("size differs from the {expected} bytes of the descriptor: {got}")]
    WrongSize {
        /// The descriptor's size, in bytes.
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
    /// Blobs of this kind are not documents; the caller should not have asked.
    #[error("blob holds no document to read: {0}")]
    NotADocument(Kind),
    /// The body is a Docker schema 1 manifest.
    #[error("docker schema 1 manifest is not supported")]
    Schema1,
    /// The body states a schema version that nobody has defined.
    #[error("schema version is not 2: {0}")]
    UnknownVersion(u64),
    /// The body says that it is something else than its descriptor says.
    #[error("body of the {expected} states another media type: `{got}`")]
    WrongMediaType {
        /// What the descriptor promised.
        expected: Kind,
        /// The body's `mediaType`, cut and escaped.
        got: String,
    },
    /// The body has keys of another kind: two readers could see two documents in it.
    #[error("body of the {expected} has a key of another document: `{key}`")]
    Ambiguous {
        /// What the descriptor promised.
        expected: Kind,
        /// The key that has no place there.
        key: &'static str,
    },
    /// The body is not JSON, or not of the shape that we judge by.
    ///
    /// The decoder's words are a text and not a source: they quote the document, which may
    /// be megabytes of control characters, so they are cut and escaped first.
    #[error("malformed {expected}: {detail}")]
    Malformed {
        /// What was to be read.
        expected: Kind,
        /// What the decoder said, with line and column.
        detail: String,
    },
    /// The document lists more than [`Limits`](crate::Limits) allow.
    #[error("more than {limit} {what}: {got}")]
    TooMany {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The most that is accepted.
        limit: usize,
        /// How many there are.
        got: usize,
    },
    /// Indexes lie in indexes deeper than [`Limits`](crate::Limits) allow.
    #[error("indexes nest deeper than {limit} levels")]
    TooDeep {
        /// The deepest level that is read.
        limit: usize,
    },
}

impl ReadError {
    /// Wraps what the decoder said about a body that was to be `expected`.
    pub(crate) fn malformed(expected: Kind, error: &serde_json::Error) -> Self {
        Self::Malformed {
            expected,
            detail: quote(&error.to_string()),
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
            "size differs from the 17 bytes of the descriptor: 16"
        );
        let error = ReadError::Ambiguous {
            expected: Kind::Index,
            key: "layers",
        };
        assert_eq!(
            error.to_string(),
            "body of the index has a key of another document: `layers`"
        );
    }
}
