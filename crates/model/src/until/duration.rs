//! Durations as Go writes them: `1h30m`, `-1.5h`, `300ms`.
//!
//! Source of the rules: Go, `time.ParseDuration`. It knows no days, because in a zone with
//! daylight saving they have no fixed length.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use super::Quoted;

/// The most nanoseconds that a duration may have, and that only if it is negative.
const LIMIT: u64 = 1 << 63;

/// Why a text is not a [Go duration](parse_go_duration). The texts are Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GoDurationError {
    /// It has no number where one must be, or is longer than 2⁶³ nanoseconds (292 years).
    #[error("time: invalid duration {}", Quoted(.0))]
    Invalid(String),
    /// A number without a unit. Only zero may do without.
    #[error("time: missing unit in duration {}", Quoted(.0))]
    MissingUnit(String),
    /// Something else where a unit must be.
    #[error("time: unknown unit {} in duration {}", Quoted(.unit), Quoted(.text))]
    UnknownUnit {
        /// What stands after the number.
        unit: String,
        /// The text that was given.
        text: String,
    },
}

/// A duration that is not negative, written as Go does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

impl FromStr for GoDuration {
    type Err = GoDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = Duration::try_from(parse_go_duration(text)?);
        duration
            .map(Self)
            .map_err(|_| GoDurationError::Invalid(text.to_owned()))
    }
}

impl fmt::Display for GoDuration {
    /// Writes the duration in the largest unit in which it is whole, so that it reads back equal.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HOUR: u64 = 60 * 60;
        let seconds = self.0.as_secs();
        if self.0.subsec_nanos() > 0 {
            write!(formatter, "{}ns", self.0.as_nanos())
        } else if seconds > 0 && seconds.is_multiple_of(HOUR) {
            write!(formatter, "{}h", seconds / HOUR)
        } else if seconds > 0 && seconds.is_multiple_of(60) {
            write!(formatter, "{}m", seconds / 60)
        } else {
            write!(formatter, "{seconds}s")
        }
    }
}

/// What is wrong with one part of a duration; says nothing about the whole.
enum Problem<'a> {
    Invalid,
    MissingUnit,
    UnknownUnit(&'a str),
}

/// Parses a duration: a sign, then numbers with a unit each, all added up.
///
/// Numbers may have a fraction. Units are `ns`, `us` (also `µs`), `ms`, `s`, `m` and `h`. The
/// resolution is one nanosecond.
///
/// # Errors
///
/// A [`GoDurationError`] that shows the text.
pub fn parse_go_duration(text: &str) -> Result<SignedDuration, GoDurationError> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let total = match sum(unsigned) {
        Ok(total) => total,
        Err(Problem::Invalid) => return Err(GoDurationError::Invalid(text.to_owned())),
        Err(Problem::MissingUnit) => return Err(GoDurationError::MissingUnit(text.to_owned())),
        Err(Problem::UnknownUnit(unit)) => {
            return Err(GoDurationError::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            });
        }
    };
    let signed = if negative {
        0_i64.checked_sub_unsigned(total)
    } else {
        i64::try_from(total).ok()
    };
    match signed {
        Some(nanoseconds) => Ok(SignedDuration::from_nanos(nanoseconds)),
        None => Err(GoDurationError::Invalid(text.to_owned())),
    }
}

/// Adds up the parts, in nanoseconds.
fn sum(text: &str) -> Result<u64, Problem<'_>> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(Problem::Invalid);
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (part, after) = part(rest)?;
        let sum = total.checked_add(part).filter(|sum| *sum <= LIMIT);
        total = sum.ok_or(Problem::Invalid)?;
        rest = after;
    }
    Ok(total)
}

/// Parses a number and its unit; returns nanoseconds and what follows.
fn part(text: &str) -> Result<(u64, &str), Problem<'_>> {
    let (whole, after_whole) = take_digits(text);
    let (fraction, after_number) = match after_whole.strip_prefix('.') {
        Some(after_dot) => take_digits(after_dot),
        None => ("", after_whole),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(Problem::Invalid);
    }
    let unit_end = after_number
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(after_number.len());
    let (unit, rest) = after_number.split_at(unit_end);
    // Go finds a number too long before it looks at the unit.
    let whole = match whole {
        "" => 0,
        digits => {
            let parsed = digits.parse().ok();
            parsed
                .filter(|whole| *whole <= LIMIT)
                .ok_or(Problem::Invalid)?
        }
    };
    if unit.is_empty() {
        return Err(Problem::MissingUnit);
    }
    let scale = nanoseconds_per(unit).ok_or(Problem::UnknownUnit(unit))?;
    let nanoseconds = whole
        .checked_mul(scale)
        .and_then(|whole| whole.checked_add(scaled_fraction(fraction, scale)))
        .ok_or(Problem::Invalid)?;
    Ok((nanoseconds, rest))
}

fn take_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn nanoseconds_per(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter look the same.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        _ => return None,
    })
}

/// Returns `0.digits × scale`, rounded as Go does it.
///
/// In floating point, because Go does: exact arithmetic would make a nanosecond less of a
/// third of an hour that was written with nineteen digits.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the loss is Go's; the result is at least zero and at most `scale`"
)]
fn scaled_fraction(digits: &str, scale: u64) -> u64 {
    // Digits that no longer fit are dropped, as they do not change the result.
    let mut value = 0_u64;
    let mut divisor = 1.0_f64;
    for digit in digits.bytes() {
        let next = (value <= (LIMIT - 1) / 10).then(|| value * 10 + u64::from(digit - b'0'));
        match next {
            Some(next) if next <= LIMIT => value = next,
            Some(_) | None => break,
        }
        divisor *= 10.0;
    }
    (value as f64 * (scale as f64 / divisor)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_as_go_does() {
        const SECOND: i64 = 1_000_000_000;
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5 * SECOND),
            ("-5s", -5 * SECOND),
            ("+5s", 5 * SECOND),
            ("5.6s", 5_600_000_000),
            ("5.s", 5 * SECOND),
            (".5s", 500_000_000),
            ("1.004s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s10ns", 12_010),
            ("13ms", 13_000_000),
            ("15m", 900 * SECOND),
            ("16h", 57_600 * SECOND),
            ("3h30m", 12_600 * SECOND),
            ("10.5s4m", 250_500_000_000),
            ("-2m3.4s", -123_400_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("39h9m14.425s", 140_954_425_000_000),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 1_200 * SECOND),
            ("9007199254740993ns", 9_007_199_254_740_993),
            ("9223372036854775807ns", i64::MAX),
            ("9223372036854775.807us", i64::MAX),
            ("9223372036s854ms775us807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("-2562047h47m16.854775808s", i64::MIN),
            ("0.100000000000000000000h", 360 * SECOND),
            ("0.830103483285477580700h", 2_988_372_539_827),
        ] {
            let expected = SignedDuration::from_nanos(nanoseconds);
            assert_eq!(parse_go_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn prints_in_the_largest_whole_unit() {
        for text in [
            "0s",
            "1s",
            "59s",
            "61s",
            "1m",
            "59m",
            "61m",
            "1h",
            "25h",
            "1500000000ns",
        ] {
            let duration: GoDuration = text.parse().unwrap();
            assert_eq!(duration.to_string(), text);
        }
        assert!("-1s".parse::<GoDuration>().is_err());
    }

    #[test]
    fn rejects_as_go_does() {
        for (text, message) in [
            ("", r#"time: invalid duration """#),
            ("3", r#"time: missing unit in duration "3""#),
            ("-", r#"time: invalid duration "-""#),
            ("s", r#"time: invalid duration "s""#),
            (".", r#"time: invalid duration ".""#),
            ("-.", r#"time: invalid duration "-.""#),
            (".s", r#"time: invalid duration ".s""#),
            ("+.s", r#"time: invalid duration "+.s""#),
            ("--1s", r#"time: invalid duration "--1s""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("1h 30m", r#"time: unknown unit "h " in duration "1h 30m""#),
            ("1s-", r#"time: unknown unit "s-" in duration "1s-""#),
            ("00", r#"time: missing unit in duration "00""#),
            (
                "9223372036854775808ns",
                r#"time: invalid duration "9223372036854775808ns""#,
            ),
            (
                "-9223372036854775809ns",
                r#"time: invalid duration "-9223372036854775809ns""#,
            ),
            (
                "9223372036854775.808us",
                r#"time: invalid duration "9223372036854775.808us""#,
            ),
            ("3000000h", r#"time: invalid duration "3000000h""#),
            (
                "99999999999999999999d",
                r#"time: invalid duration "99999999999999999999d""#,
            ),
        ] {
            assert_eq!(parse_go_duration(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn does_not_wrap_round_when_adding_up() {
        let half = "9223372036854775808ns";
        assert!(parse_go_duration(&format!("{half}{half}")).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-+]?([0-9]{0,22}[.]?[0-9]{0,22}(ns|us|µs|ms|s|m|h|é)?){0,4}") {
            let _outcome = parse_go_duration(&text);
        }

        #[test]
        fn reads_nanoseconds_back(nanoseconds: i64) {
            let expected = SignedDuration::from_nanos(nanoseconds);
            prop_assert_eq!(parse_go_duration(&format!("{nanoseconds}ns")), Ok(expected));
        }
    }
}
