//! The grace period: how long a run waits after its last removal, so that the second look sees the
//! containers whose creators had resolved an image before.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reclaim_model::{GoDuration, GoDurationError};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a run waits between its last removal and the second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Grace {
    /// As long as creators of containers take on this host now: [`CHANGES`](Self::CHANGES) times what the
    /// run's own changes took, within [`SHORTEST`](Self::SHORTEST) and [`LONG`](Self::LONG). For runs from
    /// a command or an API.
    #[default]
    Adapted,
    /// Always so long.
    Fixed(Duration),
}

/// How an adapted grace period is written.
const AUTO: &str = "auto";

impl Grace {
    /// The longest that an adapted grace period gets, and the grace period of policies.
    pub const LONG: Duration = Duration::from_secs(1);

    /// The shortest that an adapted grace period gets. docs/benchmarks.md has what it follows from.
    pub const SHORTEST: Duration = Duration::from_millis(100);

    /// How many times as long as a hold and one removal an adapted grace period lasts. A creator makes
    /// about as many calls one after the other from resolving a name to preparing a snapshot.
    pub const CHANGES: u32 = 15;

    /// Returns how long it may get.
    pub fn longest(self) -> Duration {
        match self {
            Self::Adapted => Self::LONG,
            Self::Fixed(grace) => grace,
        }
    }

    /// Returns how long it is if writing the hold and one removal took this long together.
    pub fn after(self, changes: Duration) -> Duration {
        match self {
            Self::Adapted => {
                (changes.saturating_mul(Self::CHANGES)).clamp(Self::SHORTEST, Self::LONG)
            }
            Self::Fixed(grace) => grace,
        }
    }
}

impl fmt::Display for Grace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adapted => formatter.write_str(AUTO),
            Self::Fixed(grace) => GoDuration(*grace).fmt(formatter),
        }
    }
}

impl FromStr for Grace {
    type Err = GoDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AUTO {
            return Ok(Self::Adapted);
        }
        text.parse().map(|GoDuration(grace)| Self::Fixed(grace))
    }
}

impl TryFrom<String> for Grace {
    type Error = GoDurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Grace> for String {
    fn from(grace: Grace) -> Self {
        grace.to_string()
    }
}

/// How long a run took to write its hold; the longest of several.
#[derive(Debug, Default)]
pub(crate) struct HoldTime(AtomicU64);

impl HoldTime {
    /// Waits for the hold, and notes how long it took.
    pub(crate) async fn of<T>(&self, writing: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let written = writing.await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(took, Ordering::Relaxed);
        written
    }

    pub(crate) fn took(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The remaining grace period that a cancelled run still waits for, and its caller with it.
const LAST: Duration = Duration::from_secs(5);

/// Waits for the end of the grace period. Returns whether all of it has passed; a cancelled run waits
/// at most a few seconds more.
pub(crate) async fn wait_until(end: Instant, cancel: &CancellationToken) -> bool {
    tokio::select! {
        () = sleep_until(end) => return true,
        () = cancel.cancelled() => {}
    }
    let last = Instant::now() + LAST;
    sleep_until(end.min(last)).await;
    end <= last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn cancelling_cuts_only_a_long_grace_period_short() {
        let cancel = CancellationToken::new();
        let wait = |grace| wait_until(Instant::now() + grace, &cancel);
        assert!(wait(Duration::from_secs(60)).await);
        cancel.cancel();
        let began = Instant::now();
        assert!(wait(LAST).await);
        assert_eq!(began.elapsed(), LAST);
        let began = Instant::now();
        assert!(!wait(Duration::from_secs(60)).await);
        assert_eq!(began.elapsed(), LAST);
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_hold_sets_an_adapted_grace_period() {
        let hold = HoldTime::default();
        let after = |hold: &HoldTime| Grace::Adapted.after(hold.took());
        assert_eq!(after(&hold), Grace::SHORTEST);
        for (ms, expected) in [(5, 100), (40, 600), (20, 600), (60, 900), (3000, 1000)] {
            let writing = tokio::time::sleep(Duration::from_millis(ms));
            hold.of(writing).await;
            assert_eq!(after(&hold), Duration::from_millis(expected), "{ms}");
            let fixed = Grace::Fixed(Duration::from_secs(7));
            assert_eq!(fixed.after(hold.took()), fixed.longest());
        }
        assert_eq!(Grace::Adapted.longest(), after(&hold));
    }

    #[test]
    fn is_auto_or_a_duration() {
        for (text, grace) in [
            ("auto", Grace::Adapted),
            ("0s", Grace::Fixed(Duration::ZERO)),
            ("1500ms", Grace::Fixed(Duration::from_millis(1500))),
        ] {
            assert_eq!(text.parse(), Ok(grace), "{text}");
            assert_eq!(grace.to_string().parse(), Ok(grace), "{text}");
        }
        "Auto".parse::<Grace>().unwrap_err();
    }
}
