//! When a policy runs. Pure: the time and the random draw of the jitter are passed in.

use std::fmt;
use std::time::Duration;

use cronexpr::Crontab;
use jiff::{SignedDuration, Timestamp};

/// When a policy runs.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// Only on request.
    OnDemand,
    /// At an interval after the end of the last run.
    Interval {
        /// The shortest wait.
        every: Duration,
        /// The longest random addition to it, so that nodes do not act in step.
        jitter: Duration,
    },
    /// At the times of a crontab line.
    Cron(Cron),
}

/// A crontab line in a time zone.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    zone: String,
    crontab: Crontab,
}

/// Why [`Cron::new`] fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The line is not a crontab line.
    #[error(
        "cron is not five fields (minute, hour, day of month, month, day of week) such as \
         `0 3 * * *`: `{text}`: {problem}"
    )]
    Line {
        /// The line.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The time zone is not in the database of this machine.
    #[error("time zone is not `UTC` or a name such as `Europe/Vienna`: `{0}`")]
    Zone(String),
}

impl Cron {
    /// Parses a crontab line, without a zone in it, for a zone of the time zone database.
    ///
    /// # Errors
    ///
    /// [`CronError`] if either is not accepted.
    pub fn new(text: &str, zone: &str) -> Result<Self, CronError> {
        if zone != "UTC" && jiff::tz::TimeZone::get(zone).is_err() {
            return Err(CronError::Zone(zone.to_owned()));
        }
        let wrong = |problem: String| CronError::Line {
            text: text.to_owned(),
            problem,
        };
        if text.split_whitespace().count() != 5 {
            return Err(wrong("not five fields".to_owned()));
        }
        let crontab = cronexpr::parse_crontab(&format!("{text} {zone}"));
        // The library also draws the place of the error; only the reason fits into one line.
        let first = |text: String| text.lines().last().unwrap_or_default().trim().to_owned();
        Ok(Self {
            crontab: crontab.map_err(|error| wrong(first(error.to_string())))?,
            text: text.to_owned(),
            zone: zone.to_owned(),
        })
    }

    /// Returns the line.
    pub fn line(&self) -> &str {
        &self.text
    }

    /// Returns the name of its time zone.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Returns the first time of the line after a moment; `None` if there is none.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let next = self.crontab.find_next(moment.to_string().as_str()).ok()?;
        Some(next.timestamp())
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.text, self.zone)
    }
}

impl Schedule {
    /// Returns when a policy is due that last ran at `last`: the first time after that, however many
    /// were missed since. `draw`, from zero to one, chooses the jitter.
    pub fn due_after(&self, last: Timestamp, draw: f64) -> Option<Timestamp> {
        match self {
            Self::OnDemand => None,
            Self::Interval { every, jitter } => {
                let wait = every.saturating_add(jitter.mul_f64(draw.clamp(0.0, 1.0)));
                let wait = SignedDuration::try_from(wait).ok()?;
                last.checked_add(wait).ok()
            }
            Self::Cron(cron) => cron.after(last),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnDemand => formatter.write_str("on demand"),
            Self::Interval { every, jitter } if jitter.is_zero() => {
                write!(formatter, "every {every:?}")
            }
            Self::Interval { every, jitter } => {
                write!(formatter, "every {every:?} and up to {jitter:?}")
            }
            Self::Cron(cron) => write!(formatter, "cron {cron}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn cron_follows_daylight_saving_time() {
        let cron = Cron::new("30 3 * * *", "Europe/Vienna").unwrap();
        // Clocks went forward on 29 March 2026.
        let before = cron.after(at("2026-03-27T12:00:00Z")).unwrap();
        assert_eq!(before, at("2026-03-28T02:30:00Z"));
        let after = cron.after(at("2026-03-29T12:00:00Z")).unwrap();
        assert_eq!(after, at("2026-03-30T01:30:00Z"));
    }

    #[test]
    fn refuses_invalid_lines_and_zones() {
        for (text, zone) in [
            ("", "UTC"),
            ("* * * *", "UTC"),
            ("61 * * * *", "UTC"),
            ("* * * * * *", "UTC"),
            ("0 3 * * *", "Mars/Base"),
            ("0 3 * * *", ""),
        ] {
            assert!(Cron::new(text, zone).is_err(), "{text:?} {zone:?}");
        }
    }

    #[test]
    fn jitter_never_shortens_the_interval() {
        let schedule = Schedule::Interval {
            every: Duration::from_secs(300),
            jitter: Duration::from_secs(60),
        };
        let last = at("2026-01-01T00:00:00Z");
        let due = |draw| schedule.due_after(last, draw).unwrap();
        assert_eq!(due(0.0), at("2026-01-01T00:05:00Z"));
        assert_eq!(due(1.0), at("2026-01-01T00:06:00Z"));
        assert_eq!(due(7.0), at("2026-01-01T00:06:00Z"));
    }
}
