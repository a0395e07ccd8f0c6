//! Watermarks: above the high one a run begins, at the low one it ends.

use std::fmt;
use std::str::FromStr;

use crate::ByteSize;

/// How full a filesystem is: `85%` used, or `20GB` left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watermark {
    /// A used percentage, from 1 to 99.
    Used(u8),
    /// A number of bytes (or inodes) left; never zero.
    Left(u64),
}

/// Why a text is not a [`Watermark`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "watermark is neither a used part from 1% to 99% nor a size that must be left, such as \
     20GB: `{0}`"
)]
pub struct WatermarkError(String);

/// A high and a low mark.
///
/// Invariant: both are of one kind, and at the low one there is more room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    high: Watermark,
    low: Watermark,
}

/// Why two marks do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatermarksError {
    /// One is a percentage, the other a size.
    #[error("one is a percentage and the other a size: high `{high}`, low `{low}`")]
    Mixed {
        /// The high mark.
        high: Watermark,
        /// The low mark.
        low: Watermark,
    },
    /// The low mark is not below the high one.
    #[error("at the low mark must be more room than at the high mark: high `{high}`, low `{low}`")]
    Order {
        /// The high mark.
        high: Watermark,
        /// The low mark.
        low: Watermark,
    },
}

impl Watermark {
    /// Returns how much must be left of `total` at the mark.
    pub fn left_of(self, total: u64) -> u64 {
        match self {
            Self::Used(percent) => {
                let left = u128::from(total) * u128::from(100 - percent) / 100;
                u64::try_from(left).unwrap_or(u64::MAX)
            }
            Self::Left(left) => left,
        }
    }

    /// Whether `left` of `total` is above the mark. At the mark is not above it.
    pub fn is_exceeded(self, total: u64, left: u64) -> bool {
        left < self.left_of(total)
    }
}

impl Watermarks {
    /// Combines two marks.
    ///
    /// # Errors
    ///
    /// [`WatermarksError`] if they are not of one kind, or in the wrong order.
    pub fn new(high: Watermark, low: Watermark) -> Result<Self, WatermarksError> {
        let is_ordered = match (high, low) {
            (Watermark::Used(high), Watermark::Used(low)) => low < high,
            (Watermark::Left(high), Watermark::Left(low)) => low > high,
            (Watermark::Used(_), Watermark::Left(_)) | (Watermark::Left(_), Watermark::Used(_)) => {
                return Err(WatermarksError::Mixed { high, low });
            }
        };
        if is_ordered {
            Ok(Self { high, low })
        } else {
            Err(WatermarksError::Order { high, low })
        }
    }

    /// Returns the mark above which a run begins.
    pub fn high(self) -> Watermark {
        self.high
    }

    /// Returns the mark at which a run ends.
    pub fn low(self) -> Watermark {
        self.low
    }

    /// Returns how much is to be freed when `left` of `total` is left: nothing unless that is
    /// above the high mark, else as much as leads to the low one.
    pub fn needed(self, total: u64, left: u64) -> u64 {
        if self.high.is_exceeded(total, left) {
            self.missing(total, left)
        } else {
            0
        }
    }

    /// Returns how much is missing to the low mark when `left` of `total` is left.
    pub fn missing(self, total: u64, left: u64) -> u64 {
        self.low.left_of(total).saturating_sub(left)
    }
}

impl FromStr for Watermark {
    type Err = WatermarkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || WatermarkError(text.to_owned());
        if let Some(percent) = text.strip_suffix('%') {
            let is_digits = !percent.is_empty() && percent.bytes().all(|it| it.is_ascii_digit());
            let percent: u8 = percent.parse().map_err(|_| wrong())?;
            return if is_digits && (1..=99).contains(&percent) {
                Ok(Self::Used(percent))
            } else {
                Err(wrong())
            };
        }
        match text.parse() {
            Ok(ByteSize(left)) if left > 0 => Ok(Self::Left(left)),
            Ok(_) | Err(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used(percent) => write!(formatter, "{percent}%"),
            Self::Left(left) => ByteSize(*left).fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(high: &str, low: &str) -> Result<Watermarks, WatermarksError> {
        Watermarks::new(high.parse().unwrap(), low.parse().unwrap())
    }

    #[test]
    fn needs_nothing_up_to_the_high_mark_and_then_all_down_to_the_low_one() {
        let percent = marks("85%", "80%").unwrap();
        assert_eq!(percent.needed(1000, 151), 0);
        assert_eq!(percent.needed(1000, 150), 0);
        assert_eq!(percent.needed(1000, 149), 51);
        assert_eq!(percent.needed(1000, 0), 200);
        let bytes = marks("10GB", "20GB").unwrap();
        assert_eq!(bytes.needed(u64::MAX, 10_000_000_000), 0);
        assert_eq!(bytes.needed(u64::MAX, 9_999_999_999), 10_000_000_001);
        assert_eq!(percent.needed(u64::MAX, 0), u64::MAX / 5);
    }

    #[test]
    fn refuses_marks_that_do_not_go_together() {
        assert!(matches!(
            marks("85%", "85%"),
            Err(WatermarksError::Order { .. })
        ));
        assert!(matches!(
            marks("80%", "85%"),
            Err(WatermarksError::Order { .. })
        ));
        assert!(matches!(
            marks("20GB", "10GB"),
            Err(WatermarksError::Order { .. })
        ));
        assert!(matches!(
            marks("85%", "10GB"),
            Err(WatermarksError::Mixed { .. })
        ));
    }

    #[test]
    fn refuses_what_is_no_mark() {
        for text in ["0%", "100%", "300%", "%", "+5%", "85", "0", "", "high"] {
            // A bare number is a number of bytes.
            assert_eq!(text.parse::<Watermark>().is_ok(), text == "85", "{text}");
        }
    }

    #[test]
    fn prints_what_reads_the_same() {
        for text in ["85%", "10GB", "12345B"] {
            assert_eq!(text.parse::<Watermark>().unwrap().to_string(), text);
        }
    }
}
