//! Values that check themselves while the file is parsed.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use reclaim_model::{ByteSize, ByteSizeError, parse_go_duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A value that is written as a text and read by its own rules.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text<T>(pub(crate) T);

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
pub(crate) enum SizeOrAuto {
    Auto,
    Size(ByteSize),
}

/// How [`SizeOrAuto::Auto`] is written.
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
pub(crate) trait Range {
    const MIN: u64;
    const MAX: u64;
}

/// Up to ten years: an age, or how long something is unused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Age;
/// From a second to thirty days: how often something happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Period;
/// From 15 seconds to an hour: how long a lease of a cluster lasts that is not renewed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lease;
/// Up to thirty days: for how long something is held or waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wait;

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
pub(crate) struct Span<R>(pub(crate) Duration, PhantomData<R>);

impl<R> Span<R> {
    pub(crate) fn of_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds), PhantomData)
    }
}

impl<R> Default for Span<R> {
    fn default() -> Self {
        Self::of_secs(0)
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
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Count<const MIN: u32, const MAX: u32>(pub(crate) u32);

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
