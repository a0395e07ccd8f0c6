//! The envelope of the JSON forms, which `docs/json.md` describes.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// The version of all JSON forms. A field is never taken away or given another meaning without a
/// new one.
const VERSION: u32 = 1;

/// A value as JSON: one object, with the version of its form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// The version of the form.
    pub version: u32,
    /// The value, whose fields stand beside the version.
    #[serde(flatten)]
    pub value: T,
}

impl<T> Versioned<T> {
    /// Puts a value into the envelope of the current version.
    pub fn new(value: T) -> Self {
        Self {
            version: VERSION,
            value,
        }
    }
}
