//! Dates and times in the layouts that Docker accepts, read by Go's rules.
//!
//! Go describes a layout by how it would write one certain moment, `2006-01-02T15:04:05`; so
//! do its errors. Go is more generous than RFC 3339: an hour may have one digit, and a comma
//! may take the place of the decimal point.
//!
//! Source of the rules: moby, `daemon/internal/timestamp/timestamp.go`; Go, `time.Parse`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::scan::{Problem, in_range, take_fraction, take_number, take_zone};
use super::{Quoted, nanoseconds};

/// Why a text does not follow the layout that was chosen for it. The texts are Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// An element is missing, or has the wrong form.
    #[error(
        "parsing time {} as {}: cannot parse {} as {}",
        Quoted(.text), Quoted(.layout), Quoted(.rest), Quoted(.element)
    )]
    Mismatch {
        /// The text that was given.
        text: String,
        /// The layout, as Go writes it.
        layout: String,
        /// What was left of the text.
        rest: String,
        /// The element of the layout that should be there.
        element: &'static str,
    },
    /// A number is too large for what it stands for.
    #[error("parsing time {}: {field} out of range", Quoted(.text))]
    OutOfRange {
        /// The text that was given.
        text: String,
        /// What the number stands for.
        field: &'static str,
    },
    /// The text goes on after the layout's end.
    #[error("parsing time {}: extra text: {}", Quoted(.text), Quoted(.rest))]
    ExtraText {
        /// The text that was given.
        text: String,
        /// What was left of the text.
        rest: String,
    },
}

/// A part of a layout.
#[derive(Debug, Clone, Copy)]
enum Element {
    Literal(&'static str),
    Year,
    Month,
    Day,
    Hour,
    Minute,
    /// Also takes the fraction, which may follow whether the layout has one or not.
    Second,
    Fraction,
    Zone,
}

/// The longest layout but for the zone. Shorter ones are its beginnings.
const ELEMENTS: [Element; 12] = [
    Element::Year,
    Element::Literal("-"),
    Element::Month,
    Element::Literal("-"),
    Element::Day,
    Element::Literal("T"),
    Element::Hour,
    Element::Literal(":"),
    Element::Minute,
    Element::Literal(":"),
    Element::Second,
    Element::Fraction,
];

impl Element {
    /// How Go writes this element in a layout.
    fn text(self) -> &'static str {
        match self {
            Self::Literal(text) => text,
            Self::Year => "2006",
            Self::Month => "01",
            Self::Day => "02",
            Self::Hour => "15",
            Self::Minute => "04",
            Self::Second => "05",
            Self::Fraction => ".999999999",
            Self::Zone => "Z07:00",
        }
    }
}

/// What has been read so far. The numbers are in range, but the day may be none of its month.
#[derive(Debug, Default)]
struct Fields {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    offset: Option<Offset>,
}

/// Parses a date, with or without time, with or without zone.
///
/// A date without a zone is taken to be at `local`.
///
/// # Errors
///
/// A [`LayoutError`] about the layout that [`choose`] thought best.
pub(super) fn parse(text: &str, local: Offset) -> Result<Timestamp, LayoutError> {
    let elements = choose(text);
    let mut fields = Fields::default();
    let mut rest = text;
    for element in &elements {
        rest = fields
            .read(*element, rest)
            .map_err(|problem| problem.describe(text, &elements, rest, *element))?;
    }
    if !rest.is_empty() {
        return Err(LayoutError::ExtraText {
            text: text.to_owned(),
            rest: rest.to_owned(),
        });
    }
    let day_out_of_range = |_| LayoutError::OutOfRange {
        text: text.to_owned(),
        field: "day",
    };
    let civil = fields.civil().map_err(day_out_of_range)?;
    let offset = fields.offset.unwrap_or(local);
    // Years are 0 to 9999: only the last day of the last one can be out of range.
    Ok(offset.to_timestamp(civil).unwrap_or(Timestamp::MAX))
}

/// Parses a time in RFC 3339 as Go's `time.Parse` does; `None` if it is not one.
///
/// Years are 0 to 9999; what a zone moves beyond that becomes the last moment there is.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    // A fraction belongs to the second.
    const DATE_AND_TIME: usize = 11;
    let mut fields = Fields::default();
    let mut rest = text;
    for element in ELEMENTS[..DATE_AND_TIME].iter().chain([&Element::Zone]) {
        rest = fields.read(*element, rest).ok()?;
    }
    let civil = fields.civil().ok().filter(|_| rest.is_empty())?;
    Some(fields.offset?.to_timestamp(civil).unwrap_or(Timestamp::MAX))
}

/// Chooses the layout by what the text contains, before anything is parsed.
fn choose(text: &str) -> Vec<Element> {
    // Three dashes: two of the date, and one of a zone west of Greenwich.
    let zoned = text.contains(['z', 'Z', '+']) || text.matches('-').count() == 3;
    let mut colons = text.matches(':').count();
    if zoned && !text.contains(['z', 'Z']) {
        // The zone has one of its own.
        colons = colons.saturating_sub(1);
    }
    let count = if text.contains('.') {
        ELEMENTS.len()
    } else if text.contains('T') {
        match colons {
            0 => 7,
            1 => 9,
            _ => 11,
        }
    } else {
        5
    };
    let mut elements = ELEMENTS[..count].to_vec();
    if zoned {
        elements.push(Element::Zone);
    }
    elements
}

impl Fields {
    /// Reads one element off the beginning of `text`; returns what follows.
    fn read<'a>(&mut self, element: Element, text: &'a str) -> Result<&'a str, Problem> {
        let rest = match element {
            Element::Literal(literal) => text.strip_prefix(literal).ok_or(Problem::Mismatch)?,
            Element::Year => {
                let (year, rest) = take_number(text, 4)?;
                self.year = year;
                rest
            }
            Element::Month => {
                let (month, rest) = take_number(text, 2)?;
                self.month = in_range(month, 1..=12, "month")?;
                rest
            }
            Element::Day => {
                let (day, rest) = take_number(text, 2)?;
                self.day = in_range(day, 0..=99, "day")?;
                rest
            }
            Element::Hour => {
                let (hour, rest) = take_number(text, 2).or_else(|_| take_number(text, 1))?;
                self.hour = in_range(hour, 0..=23, "hour")?;
                rest
            }
            Element::Minute => {
                let (minute, rest) = take_number(text, 2)?;
                self.minute = in_range(minute, 0..=59, "minute")?;
                rest
            }
            Element::Second => {
                let (second, rest) = take_number(text, 2)?;
                self.second = in_range(second, 0..=59, "second")?;
                let (fraction, rest) = take_fraction(rest);
                self.nanosecond = nanoseconds(fraction);
                rest
            }
            Element::Fraction => text,
            Element::Zone => {
                let (offset, rest) = take_zone(text)?;
                self.offset = Some(offset);
                rest
            }
        };
        Ok(rest)
    }

    fn civil(&self) -> Result<DateTime, jiff::Error> {
        DateTime::new(
            self.year,
            self.month,
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.nanosecond,
        )
    }
}

impl Problem {
    fn describe(self, text: &str, elements: &[Element], rest: &str, at: Element) -> LayoutError {
        match self {
            Self::Mismatch => LayoutError::Mismatch {
                text: text.to_owned(),
                layout: elements.iter().map(|element| element.text()).collect(),
                rest: rest.to_owned(),
                element: at.text(),
            },
            Self::OutOfRange(field) => LayoutError::OutOfRange {
                text: text.to_owned(),
                field,
            },
        }
    }
}
