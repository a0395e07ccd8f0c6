//! Reads numbers and zone offsets off the beginning of a text, by Go's rules.
//!
//! Called by [`super::layout`] only, which knows what stands where.
//!
//! Source of the rules: Go, `time.Parse`.

use std::ops::RangeInclusive;

use jiff::tz::Offset;

/// Why an element cannot be read; says nothing about the whole.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is not there, or not of its form.
    Mismatch,
    /// The number is too large for what it stands for, which is named here.
    OutOfRange(&'static str),
}

/// Narrows a number that lies in `range`; `field` is what it stands for.
pub(super) fn in_range(
    number: i16,
    range: RangeInclusive<i16>,
    field: &'static str,
) -> Result<i8, Problem> {
    match i8::try_from(number) {
        Ok(small) if range.contains(&number) => Ok(small),
        Ok(_) | Err(_) => Err(Problem::OutOfRange(field)),
    }
}

/// Takes exactly `length` digits.
pub(super) fn take_number(text: &str, length: usize) -> Result<(i16, &str), Problem> {
    let (digits, rest) = text.split_at_checked(length).ok_or(Problem::Mismatch)?;
    // Parsing alone would accept a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::Mismatch);
    }
    let number = digits.parse().map_err(|_| Problem::Mismatch)?;
    Ok((number, rest))
}

/// Takes a decimal point or comma and the digits after it, if there are any.
pub(super) fn take_fraction(text: &str) -> (&str, &str) {
    let Some(after_point) = text.strip_prefix(['.', ',']) else {
        return ("", text);
    };
    let end = after_point
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(after_point.len());
    if end == 0 {
        return ("", text);
    }
    after_point.split_at(end)
}

/// Takes `Z` or a signed offset in hours and minutes.
pub(super) fn take_zone(text: &str) -> Result<(Offset, &str), Problem> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Ok((Offset::UTC, rest));
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (-1, unsigned),
        None => (1, text.strip_prefix('+').ok_or(Problem::Mismatch)?),
    };
    let (hours, after_hours) = take_number(unsigned, 2)?;
    let after_colon = after_hours.strip_prefix(':').ok_or(Problem::Mismatch)?;
    let (minutes, rest) = take_number(after_colon, 2)?;
    // Go lets the last hour and the last minute pass, because people write them.
    let hours = in_range(hours, 0..=24, "time zone offset hour")?;
    let minutes = in_range(minutes, 0..=60, "time zone offset minute")?;
    let seconds = (i32::from(hours) * 60 + i32::from(minutes)) * 60;
    let offset = Offset::from_seconds(sign * seconds).map_err(|_| Problem::Mismatch)?;
    Ok((offset, rest))
}
