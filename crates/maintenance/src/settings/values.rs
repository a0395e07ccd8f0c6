//! Types of values that are checked while the file is parsed.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use reclaim_model::{ByteSize, ByteSizeError, PolicyName, Watermark, parse_go_duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Kind, Setting};

/// A value that is written as text, and parsed by its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Text<T>(pub T);

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A size, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeOrAuto {
    /// `auto`.
    Auto,
    /// A size.
    Size(ByteSize),
}

/// The text of [`SizeOrAuto::Auto`].
const AUTO: &str = "auto";

impl FromStr for SizeOrAuto {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        let size = text.parse().map(Self::Size);
        size.map_err(|error: ByteSizeError| format!("neither {AUTO} nor a size: {error}"))
    }
}

impl fmt::Display for SizeOrAuto {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.pad(AUTO),
            Self::Size(size) => size.fmt(formatter),
        }
    }
}

/// The range of a [`Span`], in seconds.
pub trait Range {
    /// The shortest duration.
    const MIN: u64;
    /// The longest duration.
    const MAX: u64;
}

/// Up to ten years: the range of ages, and of how long something was unused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Age;
/// From a second to thirty days: the range of intervals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Period;
/// From 15 seconds to an hour: the range of how long a cluster lock lasts without renewal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lease;
/// Up to thirty days: the range of holds and delays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait;

const HOUR: u64 = 60 * 60;

impl Range for Age {
    const MIN: u64 = 0;
    const MAX: u64 = 87_600 * HOUR;
}

impl Range for Period {
    const MIN: u64 = 1;
    const MAX: u64 = 720 * HOUR;
}

impl Range for Lease {
    const MIN: u64 = 15;
    const MAX: u64 = HOUR;
}

impl Range for Wait {
    const MIN: u64 = 0;
    const MAX: u64 = 720 * HOUR;
}

/// A duration as Go and docker write it, within a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span<R>(pub Duration, PhantomData<R>);

impl<R> Span<R> {
    /// Makes a duration of seconds, which the caller keeps in the range.
    pub fn of_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds), PhantomData)
    }
}

impl<'de, R: Range> Deserialize<'de> for Span<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let range = Duration::from_secs(R::MIN)..=Duration::from_secs(R::MAX);
        let within = duration_within(&text, &range).map_err(de::Error::custom)?;
        Ok(Self(within, PhantomData))
    }
}

impl<R> Serialize for Span<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration_text(self.0))
    }
}

/// Reads a duration as Go and docker write it, such as `1h30m`.
///
/// # Errors
///
/// A message if it is not a duration, or outside of `range`.
pub fn duration_within(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let parsed = parse_go_duration(text).ok();
    let duration = parsed.and_then(|it| Duration::try_from(it).ok());
    duration.filter(|it| range.contains(it)).ok_or_else(|| {
        format!(
            "duration is not one such as 90s, 10m or 1h30m, from {} to {}: `{text}`",
            duration_text(*range.start()),
            duration_text(*range.end()),
        )
    })
}

/// Formats a duration in the largest unit that is exact, so that it reads back the same.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() > 0 {
        format!("{}ns", duration.as_nanos())
    } else if seconds > 0 && seconds.is_multiple_of(HOUR) {
        format!("{}h", seconds / HOUR)
    } else if seconds > 0 && seconds.is_multiple_of(60) {
        format!("{}m", seconds / 60)
    } else {
        format!("{seconds}s")
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Count<const MIN: u32, const MAX: u32>(pub u32);

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let within = u32::try_from(number).ok();
        let within = within.filter(|it| (MIN..=MAX).contains(it));
        within.map(Self).ok_or_else(|| {
            de::Error::custom(format!("number is not from {MIN} to {MAX}: `{number}`"))
        })
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for Count<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

/// The form of a duration, as a regular expression.
const DURATION: &str = r"^([0-9.]+(ns|us|ms|s|m|h))+$|^0$";

impl<T: TextForm> Setting for Text<T> {
    const KIND: Kind = T::KIND;

    fn accepts() -> String {
        T::ACCEPTS.to_owned()
    }
}

impl<R: Range> Setting for Span<R> {
    const KIND: Kind = Kind::Pattern(DURATION);

    fn accepts() -> String {
        let [min, max] = [R::MIN, R::MAX].map(Duration::from_secs);
        format!("{} to {}", duration_text(min), duration_text(max))
    }
}

impl<const MIN: u32, const MAX: u32> Setting for Count<MIN, MAX> {
    const KIND: Kind = Kind::Integer(MIN, MAX);

    fn accepts() -> String {
        format!("{MIN} to {MAX}")
    }
}

/// The form of a [`Text`].
pub trait TextForm {
    /// What it is in a schema.
    const KIND: Kind;
    /// What it accepts, for the manual.
    const ACCEPTS: &str;
}

impl TextForm for PolicyName {
    const KIND: Kind = Kind::Text;
    const ACCEPTS: &str = "1 to 63 letters, digits, - and _";
}

impl TextForm for ByteSize {
    const KIND: Kind = Kind::Pattern(r"^[0-9]+(\.[0-9]+)?([kKmMgGtTpP]?(i?[bB])?)$");
    const ACCEPTS: &str = "a size";
}

impl TextForm for SizeOrAuto {
    const KIND: Kind = Kind::Pattern(r"^(auto|[0-9]+(\.[0-9]+)?([kKmMgGtTpP]?(i?[bB])?))$");
    const ACCEPTS: &str = "auto or a size";
}

impl TextForm for Watermark {
    const KIND: Kind = Kind::Pattern(r"^([1-9][0-9]?%|[0-9]+(\.[0-9]+)?[kKmMgGtTpP]?(i?[bB])?)$");
    const ACCEPTS: &str = "1% to 99% used, or a size that must stay free";
}
