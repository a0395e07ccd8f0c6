//! The name of a policy. It is a label of metrics and a word of the command line.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A name of letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName(Arc<str>);

/// Why a text is not a [`PolicyName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "policy name is not 1 to {max} letters, digits, `-` and `_`: `{0}`",
    max = PolicyName::MAX_LENGTH
)]
pub struct PolicyNameError(String);

impl PolicyName {
    /// The maximum number of characters.
    pub const MAX_LENGTH: usize = 63;

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PolicyName {
    type Err = PolicyNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
        let is_name = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_name {
            Ok(Self(text.into()))
        } else {
            Err(PolicyNameError(text.to_owned()))
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_words_of_metrics_and_command_lines() {
        for text in ["a", "night-run_2", &"x".repeat(63)] {
            let name: PolicyName = text.parse().unwrap();
            assert_eq!((name.as_str(), &*name.to_string()), (text, text));
        }
        for text in ["", "a b", "a.b", "a/b", "é", &"x".repeat(64)] {
            let error = PolicyNameError(text.to_owned());
            assert_eq!(text.parse::<PolicyName>(), Err(error));
        }
    }
}
