//! Time that really passed.
//!
//! Policies compare ages, such as "unused for a week", and a wall clock cannot tell them: a board
//! without a battery starts in 1970 until it has the network, a wrong server sets it to 2036, a
//! person sets it back. So ages are measured on a monotonic time, which counts
//!
//! - the time since boot, suspend included, over all boots;
//! - the time between two boots, as soon as the wall clock is synchronized, if it was synchronized
//!   in an earlier boot, too. Otherwise the host counts as switched off for no time at all. What was
//!   recorded since is moved by as much ([`TimeOff`]), because it happened after that time.
//!
//! A time of the wall clock, such as the creation time of a record, is converted when it is read.
//! Monotonic times look like those of the wall clock, because the count begins there, but only
//! differences between them mean anything.

mod host_clock;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use host_clock::HostClock;

/// What the clocks of a host show at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockReading {
    /// The wall clock.
    pub wall: Timestamp,
    /// Whether the wall clock is synchronized, for example by NTP.
    pub is_synchronized: bool,
    /// The boot, by an ID that no other boot has.
    pub boot: String,
    /// The time since that boot, including suspend.
    pub since_boot: SignedDuration,
}

/// One moment in monotonic time and by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub(crate) monotonic: Timestamp,
    pub(crate) wall: Timestamp,
    /// How much time off was counted late before it, by this process.
    late: SignedDuration,
}

/// Time for which the host was switched off, counted late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeOff {
    /// It began here, or later.
    since: Timestamp,
    length: SignedDuration,
}

impl TimeOff {
    /// Moves a time that may have been recorded after it. Returns whether it did.
    pub(crate) fn shift(&self, time: &mut Timestamp) -> bool {
        let is_after = *time > self.since;
        if is_after {
            *time = before(*time, -self.length);
        }
        is_after
    }
}

impl Moment {
    /// Makes a moment of recorded times.
    pub(crate) fn new(monotonic: Timestamp, wall: Timestamp) -> Self {
        Self {
            monotonic,
            wall,
            late: SignedDuration::ZERO,
        }
    }

    /// Converts a time of the wall clock to monotonic time. A time in the future becomes this moment.
    pub(crate) fn monotonic_of(self, time: Timestamp) -> Timestamp {
        before(self.monotonic, self.wall.duration_since(time)).min(self.monotonic)
    }
}

/// Returns the time that was this long before another.
fn before(time: Timestamp, by: SignedDuration) -> Timestamp {
    let limit = if by.is_negative() {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    };
    time.checked_sub(by).unwrap_or(limit)
}

/// The monotonic time, as of the last reading of the clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MonotonicTime {
    now: Timestamp,
    boot: String,
    since_boot: SignedDuration,
    synchronized: Option<Synchronized>,
    #[serde(skip)]
    late: SignedDuration,
}

/// The last moment at which the wall clock was synchronized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Synchronized {
    boot: String,
    now: Timestamp,
    wall: Timestamp,
}

impl MonotonicTime {
    /// Begins at `now` with the first reading of the clocks.
    pub(crate) fn begin(now: Timestamp, reading: &ClockReading) -> Self {
        let mut time = Self {
            now,
            boot: reading.boot.clone(),
            since_boot: reading.since_boot,
            synchronized: None,
            late: SignedDuration::ZERO,
        };
        time.advance(reading);
        time
    }

    /// Returns an earlier moment of this process as it counts now.
    pub(crate) fn recount(&self, moment: Moment) -> Moment {
        Moment {
            monotonic: before(moment.monotonic, moment.late - self.late),
            late: self.late,
            ..moment
        }
    }

    /// Returns the monotonic time of the last reading.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Advances to the next reading of the clocks. Returns time off that counts from now on: all
    /// recorded times have to be shifted by it.
    pub(crate) fn advance(&mut self, reading: &ClockReading) -> (Moment, Option<TimeOff>) {
        let passed = if self.boot == reading.boot {
            reading.since_boot.saturating_sub(self.since_boot)
        } else {
            reading.since_boot
        };
        // A virtual machine that is reset to an earlier snapshot reads less than before.
        let passed = passed.max(SignedDuration::ZERO);
        self.now = before(self.now, -passed);
        let mut off = None;
        if reading.is_synchronized {
            let earlier = self.synchronized.as_ref();
            if let Some(last) = earlier.filter(|last| last.boot != reading.boot) {
                let now = before(last.now, last.wall.duration_since(reading.wall));
                let length = now.duration_since(self.now);
                if length.is_positive() {
                    self.now = now;
                    self.late = self.late.saturating_add(length);
                    let since = last.now;
                    off = Some(TimeOff { since, length });
                }
            }
            self.synchronized = Some(Synchronized {
                boot: reading.boot.clone(),
                now: self.now,
                wall: reading.wall,
            });
        }
        self.boot.clone_from(&reading.boot);
        self.since_boot = reading.since_boot;
        let moment = Moment {
            monotonic: self.now,
            wall: reading.wall,
            late: self.late,
        };
        (moment, off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn began() -> Timestamp {
        time("2026-01-10T12:00:00Z")
    }

    fn reading(boot: &str, hours: i64, wall: Timestamp, is_synchronized: bool) -> ClockReading {
        ClockReading {
            wall,
            is_synchronized,
            boot: boot.to_owned(),
            since_boot: HOUR * i32::try_from(hours).unwrap(),
        }
    }

    /// Returns the hours that passed by each of these readings, since the first.
    fn hours(readings: &[ClockReading]) -> Vec<i64> {
        let mut time = MonotonicTime::begin(began(), &readings[0]);
        let later = readings[1..].iter();
        later
            .map(|reading| {
                // As after a restart.
                let saved = serde_json::to_string(&time).unwrap();
                time = serde_json::from_str(&saved).unwrap();
                let (moment, _) = time.advance(reading);
                moment.monotonic.duration_since(began()).as_hours()
            })
            .collect()
    }

    #[test]
    fn within_a_boot_the_wall_clock_does_not_matter() {
        let walls = [
            "1970-01-01T00:00:00Z",
            "2026-01-10T12:00:00Z",
            "2036-02-07T06:28:16Z",
            "2026-01-10T14:00:00Z",
        ];
        for is_synchronized in [false, true] {
            let readings = walls.into_iter().zip(5..);
            let readings = readings.map(|(wall, n)| reading("a", n, time(wall), is_synchronized));
            assert_eq!(hours(&readings.collect::<Vec<_>>()), [1, 2, 3]);
        }
    }

    #[test]
    fn time_off_counts_between_synchronized_clocks() {
        let later = |hours: i32| began() + HOUR * hours;
        let off = |before: bool, after: bool| {
            hours(&[
                reading("a", 1, began(), before),
                reading("b", 1, time("1970-01-01T01:00:00Z"), false),
                reading("b", 2, later(20), after),
                reading("b", 3, later(21), after),
            ])
        };
        assert_eq!(off(true, true), [1, 20, 21]);
        assert_eq!(off(true, false), [1, 2, 3]);
        assert_eq!(off(false, true), [1, 2, 3]);
    }

    #[test]
    fn a_boot_without_network_counts_with_the_next() {
        let later = |hours: i32| began() + HOUR * hours;
        let passed = hours(&[
            reading("a", 1, began(), true),
            reading("b", 3, time("1970-01-01T00:00:00Z"), false),
            reading("c", 1, time("1970-01-01T00:00:00Z"), false),
            reading("c", 2, later(48), true),
            // Counted once.
            reading("c", 3, later(500), true),
        ]);
        assert_eq!(passed, [3, 4, 48, 49]);
    }

    #[test]
    fn time_off_ages_nothing_that_came_after_it() {
        let mut time = MonotonicTime::begin(began(), &reading("a", 1, began(), true));
        let (before, none) = time.advance(&reading("b", 1, Timestamp::UNIX_EPOCH, false));
        assert_eq!((before.monotonic, none), (began() + HOUR, None));
        let (now, off) = time.advance(&reading("b", 3, began() + HOUR * 24, true));
        assert_eq!(now.monotonic, began() + HOUR * 24);
        let off = off.unwrap();
        let shifted = |mut time: Timestamp| (off.shift(&mut time), time);
        assert_eq!(shifted(began()), (false, began()));
        let after = now.monotonic - HOUR * 2;
        assert_eq!(shifted(before.monotonic), (true, after));
        assert_eq!(time.recount(before).monotonic, after);
        assert_eq!(time.recount(now), now);
        assert_eq!(shifted(Timestamp::MAX), (true, Timestamp::MAX));
    }

    #[test]
    fn no_reading_turns_it_back() {
        let passed = hours(&[
            reading("a", 5, began(), true),
            // Reset to a snapshot of the same boot.
            reading("a", 2, began(), true),
            reading("a", 3, began(), true),
            // Synchronized, and earlier than before.
            reading("b", 1, began() - HOUR * 100, true),
        ]);
        assert_eq!(passed, [0, 1, 2]);
    }

    #[test]
    fn converts_times_of_the_wall_clock() {
        let moment = Moment::new(began(), time("2030-01-01T00:00:00Z"));
        assert_eq!(moment.monotonic_of(moment.wall - HOUR), began() - HOUR);
        assert_eq!(moment.monotonic_of(moment.wall + HOUR), began());
        assert_eq!(moment.monotonic_of(Timestamp::MAX), began());
        assert_eq!(moment.monotonic_of(Timestamp::MIN), Timestamp::MIN);
    }
}
