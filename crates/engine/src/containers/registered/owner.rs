//! The names of engines that register containers.

use std::fmt;
use std::str::FromStr;

/// The maximum length of a name.
const MAX_LENGTH: usize = 64;

/// The name of an engine that registers containers. It is also a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerName(String);

/// A text is not an [`OwnerName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an owner name; accepted are 1 to {MAX_LENGTH} letters, digits, `-`, `_` and `.`, \
     the first of them a letter or digit"
)]
pub struct OwnerNameError(String);

impl FromStr for OwnerName {
    type Err = OwnerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = text.len() <= MAX_LENGTH
            && text.bytes().all(is_inner)
            && text
                .bytes()
                .next()
                .is_some_and(|it| it.is_ascii_alphanumeric());
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(OwnerNameError(text.to_owned()))
        }
    }
}

impl OwnerName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
