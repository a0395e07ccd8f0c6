//! What a policy frees, and in which order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Part;

/// What one step of a policy frees: a part of its images, or whole images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyPart {
    /// As [`Part::Snapshots`].
    Snapshots,
    /// As [`Part::Layers`].
    Layers,
    /// As [`Part::Platforms`].
    Platforms,
    /// As [`Part::BuildHistory`].
    BuildHistory,
    /// Image records, with all that only they keep.
    Images,
}

impl PolicyPart {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Snapshots,
        Self::Layers,
        Self::Platforms,
        Self::BuildHistory,
        Self::Images,
    ];

    /// Returns the part of images that the step frees; `None` for whole images.
    pub fn part(self) -> Option<Part> {
        match self {
            Self::Snapshots => Some(Part::Snapshots),
            Self::Layers => Some(Part::Layers),
            Self::Platforms => Some(Part::Platforms),
            Self::BuildHistory => Some(Part::BuildHistory),
            Self::Images => None,
        }
    }

    /// Returns its name in JSON and in metrics.
    pub fn key(self) -> &'static str {
        self.part().map_or("images", Part::key)
    }

    /// Returns it as people read it.
    pub fn text(self) -> &'static str {
        self.part().map_or("images", Part::text)
    }

    /// Returns its name in the configuration file.
    fn setting(self) -> &'static str {
        match self {
            Self::BuildHistory => "build-history",
            Self::Snapshots | Self::Layers | Self::Platforms | Self::Images => self.key(),
        }
    }
}

impl From<Part> for PolicyPart {
    fn from(part: Part) -> Self {
        match part {
            Part::Snapshots => Self::Snapshots,
            Part::Layers => Self::Layers,
            Part::Platforms => Self::Platforms,
            Part::BuildHistory => Self::BuildHistory,
        }
    }
}

impl fmt::Display for PolicyPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.setting())
    }
}

/// A word that is not the name of a [`PolicyPart`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{word}` cannot be freed; accepted are snapshots, layers, platforms, build-history and images"
)]
pub struct PolicyPartError {
    word: String,
}

impl FromStr for PolicyPart {
    type Err = PolicyPartError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|part| part.setting() == word);
        found.ok_or_else(|| PolicyPartError {
            word: word.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for part in PolicyPart::ALL {
            assert_eq!(part.to_string().parse(), Ok(part));
            assert_eq!(part.part().map_or(part, PolicyPart::from), part);
            assert_eq!(serde_json::to_value(part).unwrap(), part.key());
        }
        for word in ["", "Images", "build_history", "image"] {
            let error = PolicyPart::from_str(word).unwrap_err().to_string();
            let expected = format!("`{word}` cannot be freed; accepted are snapshots, ");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
