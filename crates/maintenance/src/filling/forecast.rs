//! When a filesystem will be full. Pure: samples and the room at this moment are passed in.
//!
//! The rate is that of the growth between removals, because a removal that comes in time hides how fast
//! the disk fills, and the next one may not. So the samples are divided at each drop, and the median of
//! the rises counts, each with the weight of its duration. The rate of a rise is the median of the slopes
//! between all of its samples (Theil and Sen), so that a file that comes and goes does not count.
//!
//! All of it is computed with whole numbers, so growth at a constant rate gives the exact time.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::time::Duration;

use super::FillSample;

/// The latest samples by which the rate is found, and the time between two of them, in seconds. The larger
/// rate of both counts: growth that began today is not hidden by a quiet week, nor that of working days
/// by a quiet day.
const WINDOWS: [(i64, i64); 2] = [(DAY, 10 * 60), (7 * DAY, HOUR)];

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

/// The fewest samples of a rise that counts.
const MIN_SAMPLES: usize = 6;

/// The shortest rise that counts, in seconds.
const MIN_SECONDS: i64 = 50 * 60;

/// A rise ends where more than this part of the filesystem became free between two samples.
const DROP_PART: u64 = 100;

/// How fast a filesystem fills; never zero.
#[derive(Debug, Clone, Copy)]
pub struct FillRate {
    /// So many bytes, more than none,
    bytes: u64,
    /// in so many seconds, more than none.
    seconds: u64,
}

impl FillRate {
    /// Returns the bytes per day, rounded down.
    pub fn bytes_per_day(self) -> u64 {
        self.bytes_within(DAY.unsigned_abs())
    }

    /// Returns the time until only `mark` bytes are left of the `left` ones, in whole seconds, rounded
    /// down; zero if there are no more than that.
    pub fn time_until(self, left: u64, mark: u64) -> Duration {
        let bytes = u128::from(left.saturating_sub(mark));
        let seconds = bytes * u128::from(self.seconds) / u128::from(self.bytes);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
    }

    fn bytes_within(self, seconds: u64) -> u64 {
        let bytes = u128::from(self.bytes) * u128::from(seconds) / u128::from(self.seconds);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// Whether a filesystem fills.
#[derive(Debug, Clone, Copy)]
pub enum FillTrend {
    /// There are too few samples of the last week.
    Unknown,
    /// It does not fill.
    Steady,
    /// It fills at this rate.
    Growing(FillRate),
}

impl FillTrend {
    /// Returns the trend of these samples, which may be in any order.
    pub fn of(samples: &[FillSample]) -> Self {
        let mut points: Vec<Point> = samples.iter().map(Point::of).collect();
        points.sort_unstable();
        let rates = WINDOWS.iter();
        let rates = rates.filter_map(|(length, every)| rate_within(&points, *length, *every));
        match rates.max_by(Slope::cmp) {
            None => Self::Unknown,
            Some(slope) if slope.bytes <= 0 => Self::Steady,
            Some(slope) => Self::Growing(slope.rate()),
        }
    }

    /// Returns the rate if it fills.
    pub fn rate(self) -> Option<FillRate> {
        match self {
            Self::Growing(rate) => Some(rate),
            Self::Unknown | Self::Steady => None,
        }
    }
}

/// A sample; ordered by time. The most that was left at one time comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    second: i64,
    left: u64,
    total: u64,
}

impl Point {
    fn of(sample: &FillSample) -> Self {
        Self {
            second: sample.at.as_second(),
            left: sample.left_bytes,
            total: sample.total_bytes,
        }
    }
}

/// Bytes that were filled in seconds, which are more than none.
#[derive(Debug, Clone, Copy)]
struct Slope {
    bytes: i128,
    seconds: i64,
}

impl Slope {
    fn between(first: &Point, second: &Point) -> Self {
        Self {
            bytes: i128::from(first.left) - i128::from(second.left),
            seconds: second.second - first.second,
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let ours = self.bytes * i128::from(other.seconds);
        ours.cmp(&(other.bytes * i128::from(self.seconds)))
    }

    fn rate(self) -> FillRate {
        FillRate {
            bytes: u64::try_from(self.bytes).unwrap_or(u64::MAX),
            seconds: self.seconds.unsigned_abs(),
        }
    }
}

/// Returns the rate of the samples of the last `length` seconds, one each `every` seconds.
fn rate_within(points: &[Point], length: i64, every: i64) -> Option<Slope> {
    let newest = points.last()?.second;
    let mut last = None;
    let points: Vec<Point> = points
        .iter()
        .filter(|point| newest.saturating_sub(point.second) <= length)
        .filter(|point| {
            let slot = point.second.div_euclid(every);
            last.replace(slot) != Some(slot)
        })
        .copied()
        .collect();
    let mut rises: Vec<(Slope, i64)> = points
        .chunk_by(|a, b| !is_drop(a, b))
        .filter_map(rise)
        .collect();
    if rises.is_empty() {
        return rise(&points).map(|(slope, _)| slope);
    }
    rises.sort_by(|(a, _), (b, _)| a.cmp(b));
    let half: i64 = rises.iter().map(|(_, seconds)| seconds).sum::<i64>() / 2;
    let mut passed = 0;
    let middle = rises.into_iter().find(|(_, seconds)| {
        passed += seconds;
        passed > half
    });
    middle.map(|(slope, _)| slope)
}

fn is_drop(before: &Point, after: &Point) -> bool {
    let freed = after.left.saturating_sub(before.left);
    freed > before.total.max(after.total) / DROP_PART
}

/// Returns the rate of a rise, and its duration; `None` if it has too few samples.
fn rise(points: &[Point]) -> Option<(Slope, i64)> {
    let (first, last) = (points.first()?, points.last()?);
    let seconds = last.second - first.second;
    if points.len() < MIN_SAMPLES || seconds < MIN_SECONDS {
        return None;
    }
    let pairs = points.iter().enumerate().flat_map(|(place, first)| {
        let later = points[place + 1..].iter();
        later.map(move |second| Slope::between(first, second))
    });
    let mut slopes: Vec<Slope> = pairs.filter(|it| it.seconds > 0).collect();
    let middle = slopes.len().checked_sub(1)? / 2;
    let (_, median, _) = slopes.select_nth_unstable_by(middle, Slope::cmp);
    Some((*median, seconds))
}
