//! The filter `until`: a moment, given as an age, as a date or in Unix seconds.
//!
//! Follows Docker exactly, including its oddities, because the same command line must mean the
//! same here: what Docker would reject must not select images.
//!
//! Source of the rules: moby, `daemon/internal/timestamp/timestamp.go`.

mod duration;
mod layout;
mod scan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::IntErrorKind;

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

pub use duration::{GoDuration, GoDurationError, parse_go_duration};
pub use layout::LayoutError;
pub(crate) use layout::parse_rfc3339;

/// How many digits a fraction of Unix seconds may have. Those beyond the ninth are dropped.
const MAX_FRACTION_LEN: usize = 20;

/// What a time without date or zone is relative to. Read once per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeContext {
    /// The moment that ages are counted back from.
    pub now: Timestamp,
    /// The offset of the local zone *now*. It applies to every date without a zone, also to
    /// one on the other side of a daylight saving change, as in Docker.
    pub offset: Offset,
}

/// Why a text is not a moment. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UntilError {
    /// The text is only white space.
    #[error("failed to parse value as time or duration: value is empty")]
    Empty,
    /// The text has a `-`, so it was meant as a date, but is not one.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The text is neither age nor date, nor does it begin with whole Unix seconds.
    #[error("failed to parse value as time or duration: invalid seconds {text:?}: {problem}")]
    Seconds {
        /// What stands before the first dot.
        text: String,
        /// What is wrong with it, in Go's text.
        problem: &'static str,
    },
    /// The fraction of the Unix seconds has too many digits.
    #[error(
        "failed to parse value as time or duration: \
         invalid nanoseconds: length {0} exceeds maximum {MAX_FRACTION_LEN}"
    )]
    FractionLength(usize),
    /// The fraction of the Unix seconds is not made of digits.
    #[error(
        "failed to parse value as time or duration: \
         invalid nanoseconds: invalid character {character:?} at position {position}"
    )]
    FractionCharacter {
        /// The first byte that is not a digit.
        character: char,
        /// Its position behind the dot, in bytes.
        position: usize,
    },
}

/// Parses the value of an `until` filter.
///
/// In this order: an age such as `1h30m`, before [`TimeContext::now`] (a negative one lies in
/// the future); a date such as `2006-01-02` or `2006-01-02T15:04Z`; seconds since 1970, with
/// or without a fraction. A bare `0` is 1970, not now.
///
/// Moments that [`Timestamp`] cannot express become its first or last one.
///
/// # Errors
///
/// An [`UntilError`] if the text is none of these. The request is wrong and must be refused.
pub fn parse_until(text: &str, context: &TimeContext) -> Result<Timestamp, UntilError> {
    if text.trim().is_empty() {
        return Err(UntilError::Empty);
    }
    if text != "0"
        && let Ok(age) = parse_go_duration(text)
    {
        return Ok(before(context.now, age));
    }
    match layout::parse(text, context.offset) {
        Ok(moment) => Ok(moment),
        Err(error) if text.contains('-') => Err(error.into()),
        Err(_) => parse_unix(text),
    }
}

fn before(now: Timestamp, age: SignedDuration) -> Timestamp {
    now.checked_sub(age).unwrap_or(if age.is_negative() {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    })
}

/// Parses `seconds` or `seconds.fraction`.
///
/// Precondition: there is no `-` in `text`.
fn parse_unix(text: &str) -> Result<Timestamp, UntilError> {
    let (seconds_text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds_text.parse().map_err(|_| UntilError::Seconds {
        text: seconds_text.to_owned(),
        problem: number_problem(seconds_text),
    })?;
    let nanoseconds = parse_fraction(fraction)?;
    // A text with a minus sign was taken for a date: only the end of time can be passed.
    Ok(Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::MAX))
}

/// Returns Go's text for why `text` is not a number of 64 bits.
///
/// Go reads it without its sign first, and stops where it no longer fits.
fn number_problem(text: &str) -> &'static str {
    match text.parse::<u64>() {
        Err(error) if *error.kind() != IntErrorKind::PosOverflow => "invalid syntax",
        Ok(_) | Err(_) => "value out of range",
    }
}

fn parse_fraction(digits: &str) -> Result<i32, UntilError> {
    if digits.len() > MAX_FRACTION_LEN {
        return Err(UntilError::FractionLength(digits.len()));
    }
    if let Some(position) = digits.bytes().position(|byte| !byte.is_ascii_digit()) {
        return Err(UntilError::FractionCharacter {
            character: char::from(digits.as_bytes()[position]),
            position,
        });
    }
    Ok(nanoseconds(digits))
}

/// Reads the digits behind a decimal point as nanoseconds; those beyond the ninth are dropped.
///
/// Precondition: `digits` are ASCII digits.
fn nanoseconds(digits: &str) -> i32 {
    let padded = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    padded.fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'))
}

/// A text in quotes as the errors of Go's package `time` have it: whatever is not printable
/// ASCII shows as bytes in hexadecimal.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"")?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' => write!(formatter, "\\{}", char::from(byte))?,
                b' '..=0x7f => write!(formatter, "{}", char::from(byte))?,
                _ => write!(formatter, "\\x{byte:02x}")?,
            }
        }
        formatter.write_str("\"")
    }
}
