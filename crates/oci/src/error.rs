//! Why a document could not be read.

use reclaim_model::{Digest, is_printable};

use crate::kind::Kind;

/// How many characters of a document's text an error quotes: enough to recognise it, and few enough
/// for one line of a report.
const QUOTED_CHARACTERS: usize = 160;

/// Why a document could not be read.
///
/// No variant has the digest of the blob; the caller knows it. The same bytes always give the same
/// error, so a retry is useless, and the caller keeps everything that the blob could name, unless
/// [`Self::is_torn`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The body is larger than [`Limits`](crate::Limits) allow, and was not read.
    #[error("document is larger than {limit} bytes: {got}")]
    TooLarge {
        /// The most that is read, in bytes.
        limit: u64,
        /// The size of the body, in bytes.
        got: u64,
    },
    /// The body does not have the expected size.
    #[error("expected {expected} bytes, got {got}")]
    WrongSize {
        /// The expected size, in bytes.
        expected: u64,
        /// The body's size, in bytes.
        got: u64,
    },
    /// The body is not the content of its digest.
    #[error("content has another digest: `{got}`")]
    WrongDigest {
        /// The digest of the bytes, with the same algorithm.
        got: Digest,
    },
    /// The body is a Docker schema 1 manifest.
    #[error("docker schema 1 manifest is not supported")]
    Schema1,
    /// The body states a media type that contradicts its keys.
    #[error("{kind} states the media type of another kind: `{got}`")]
    WrongMediaType {
        /// The kind according to the keys.
        kind: Kind,
        /// The body's `mediaType`, cut and escaped.
        got: String,
    },
    /// The body has keys of two kinds, so that two readers could read different documents.
    #[error("ambiguous document: has both `{first}` and `{second}`")]
    Ambiguous {
        /// A key of one kind.
        first: &'static str,
        /// A key of another.
        second: &'static str,
    },
    /// The body repeats a key, in the same case or in another.
    #[error("duplicate key: `{0}`")]
    DuplicateKey(&'static str),
    /// The body names a digest that Reclaim cannot verify.
    #[error("not a sha256, sha384 or sha512 digest: `{0}`")]
    BadDigest(String),
    /// The body is not JSON.
    #[error("not JSON: {detail}")]
    NotJson {
        /// The decoder's message, with line and column.
        detail: String,
    },
    /// A value has a type that Go refuses, too.
    ///
    /// The decoder's message is not the error's source, because it quotes the document, possibly
    /// megabytes of control characters: it is cut and escaped first.
    #[error("malformed {kind}: {detail}")]
    Malformed {
        /// The kind of the document.
        kind: Kind,
        /// The decoder's message, with line and column.
        detail: String,
    },
    /// A value that Go may accept, but not Reclaim's decoder: a number beyond the range of a float,
    /// a platform that is not UTF-8.
    #[error("unsupported value in {kind}: {detail}")]
    Unsupported {
        /// The kind of the document.
        kind: Kind,
        /// The decoder's message, with line and column.
        detail: String,
    },
    /// Indexes nest deeper than [`Limits`](crate::Limits) allow.
    #[error("indexes nest deeper than {limit} levels")]
    TooDeep {
        /// The deepest level that is read.
        limit: usize,
    },
}

impl ReadError {
    /// Whether containerd and Docker cannot read the blob either: its bytes do not have its digest
    /// or size, or Go's `encoding/json` refuses them for the types of image-spec and moby.
    ///
    /// `false` for Reclaim's own limits, for errors that only Reclaim reports, and for schema 1,
    /// which old versions read. If Go could read labels or diff IDs from a body as a config, the
    /// body is torn only if Go refuses it as a config.
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
            | Self::DuplicateKey(_)
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

    /// Wraps the decoder's error about a body of `kind`. The syntax was checked before, so an error
    /// that is not about types is about the decoder's own limits.
    pub(crate) fn undecodable(kind: Kind, error: &serde_json::Error) -> Self {
        let detail = quote(&error.to_string());
        if error.is_data() {
            Self::Malformed { kind, detail }
        } else {
            Self::Unsupported { kind, detail }
        }
    }
}

/// Returns the start of a document's text, escaped for one line of a terminal or a log.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_text_on_one_short_line() {
        assert_eq!(quote("a\u{1b}[2J\n\u{202e}é"), "a\\u{1b}[2J\\n\\u{202e}é");
        let long = quote(&"x".repeat(QUOTED_CHARACTERS + 1));
        assert_eq!(long.chars().count(), QUOTED_CHARACTERS + 1);
        assert!(long.ends_with("x…"));
        assert!(quote(&"x".repeat(QUOTED_CHARACTERS)).ends_with('x'));
    }

    #[test]
    fn error_texts_end_with_the_value() {
        let error = ReadError::WrongSize {
            expected: 17,
            got: 16,
        };
        assert_eq!(error.to_string(), "expected 17 bytes, got 16");
        let error = ReadError::Ambiguous {
            first: "manifests",
            second: "layers",
        };
        assert_eq!(
            error.to_string(),
            "ambiguous document: has both `manifests` and `layers`"
        );
    }
}
