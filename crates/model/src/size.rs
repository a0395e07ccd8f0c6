//! Sizes for people, as Docker prints them: `1.235MB`.
//!
//! Units are powers of 1000 and follow the number without a space. The number has a fixed
//! count of significant digits, without trailing zeros.
//!
//! Source of the rules: docker/go-units, `size.go`; Go, package `fmt`, verb `%g`.

use std::fmt;

/// One for each power of 1000 that a `u64` can reach.
const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// A size in bytes that prints with four significant digits, as in `Total reclaimed space`.
///
/// The unit is chosen before rounding: 999,999 bytes are `1000kB`, in Docker as here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanSize(pub u64);

/// A size in bytes that prints with three significant digits, as in the list of images.
///
/// The unit is chosen before rounding, and four digits do not fit: 999,999 bytes are
/// `1e+03kB`, in Docker as here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanSizeShort(pub u64);

impl fmt::Display for HumanSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&human_size(self.0, 4))
    }
}

impl fmt::Display for HumanSizeShort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&human_size(self.0, 3))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "as in Docker; a dozen more digits are exact than are printed"
)]
fn human_size(bytes: u64, precision: usize) -> String {
    let mut number = bytes as f64;
    let mut unit = 0;
    // Divided step by step, as in Docker, so that the last digit is rounded alike.
    while number >= 1000.0 && unit < UNITS.len() - 1 {
        number /= 1000.0;
        unit += 1;
    }
    general(number, precision) + UNITS[unit]
}

/// Formats as Go's `%.*g`.
///
/// Precondition: `number` is zero, or at least one and less than a million: Go's exponents
/// below zero and those of three digits are not needed here.
fn general(number: f64, precision: usize) -> String {
    // Rounding first, for it can make the number one digit longer.
    let scientific = format!("{number:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<usize>() {
        Ok(exponent) if exponent < precision => {
            let fixed = format!("{number:.*}", precision - 1 - exponent);
            without_trailing_zeros(&fixed).to_owned()
        }
        Ok(_) | Err(_) => format!("{}e+{exponent:0>2}", without_trailing_zeros(mantissa)),
    }
}

/// Drops zeros at the end of a fraction, and the point if nothing follows it.
fn without_trailing_zeros(decimal: &str) -> &str {
    if decimal.contains('.') {
        decimal.trim_end_matches('0').trim_end_matches('.')
    } else {
        decimal
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes, with four digits, with three.
    const SIZES: &[(u64, &str, &str)] = &[
        (0, "0B", "0B"),
        (1, "1B", "1B"),
        (10, "10B", "10B"),
        (100, "100B", "100B"),
        (999, "999B", "999B"),
        (1_000, "1kB", "1kB"),
        (1_024, "1.024kB", "1.02kB"),
        (1_050, "1.05kB", "1.05kB"),
        (12_000, "12kB", "12kB"),
        (123_456, "123.5kB", "123kB"),
        (999_499, "999.5kB", "999kB"),
        (999_949, "999.9kB", "1e+03kB"),
        (999_999, "1000kB", "1e+03kB"),
        (1_000_000, "1MB", "1MB"),
        (1_048_576, "1.049MB", "1.05MB"),
        (1_234_567, "1.235MB", "1.23MB"),
        (10_270_000, "10.27MB", "10.3MB"),
        (44_400_000, "44.4MB", "44.4MB"),
        (99_999_999, "100MB", "100MB"),
        (100_500_000, "100.5MB", "100MB"),
        (101_500_000, "101.5MB", "102MB"),
        (999_500_000, "999.5MB", "1e+03MB"),
        (3_420_000_000, "3.42GB", "3.42GB"),
        (5_372_000_000_000, "5.372TB", "5.37TB"),
        (2_220_000_000_000_000, "2.22PB", "2.22PB"),
        (999_999_999_999_999_999, "1EB", "1EB"),
        (u64::MAX, "18.45EB", "18.4EB"),
    ];

    #[test]
    fn prints_as_docker_does() {
        for &(bytes, four, three) in SIZES {
            assert_eq!(HumanSize(bytes).to_string(), four, "{bytes}");
            assert_eq!(HumanSizeShort(bytes).to_string(), three, "{bytes}");
        }
    }

    #[test]
    fn formats_numbers_as_go_does() {
        for (number, four, three) in [
            (0.0, "0", "0"),
            (1.0, "1", "1"),
            (9.9996, "10", "10"),
            (99.96, "99.96", "100"),
            (999.6, "999.6", "1e+03"),
            (999.96, "1000", "1e+03"),
            // Halves go to the even neighbour.
            (998.5, "998.5", "998"),
            (999.5, "999.5", "1e+03"),
            (1234.0, "1234", "1.23e+03"),
            (9999.6, "1e+04", "1e+04"),
            (123_456.0, "1.235e+05", "1.23e+05"),
        ] {
            assert_eq!(general(number, 4), four, "{number}");
            assert_eq!(general(number, 3), three, "{number}");
        }
    }

    #[test]
    fn pads_like_text() {
        assert_eq!(
            format!("{:>8}|{:<8}|", HumanSize(1_500), HumanSizeShort(0)),
            "   1.5kB|0B      |"
        );
    }

    proptest! {
        #[test]
        fn is_near_and_short(bytes: u64) {
            let text = HumanSize(bytes).to_string();
            prop_assert!(text.len() <= 7, "{}", text);
            let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            let number: f64 = text[..digits].parse().unwrap();
            let power = UNITS.iter().position(|unit| *unit == &text[digits..]).unwrap();
            let shown = number * 1000_f64.powi(i32::try_from(power).unwrap());
            #[expect(clippy::cast_precision_loss, reason = "compared within one in a thousand")]
            let exact = bytes as f64;
            prop_assert!((shown - exact).abs() <= exact / 1000.0, "{}", text);
        }
    }
}
